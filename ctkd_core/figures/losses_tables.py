"""The tables beside the pictures of page Losses: the same figures in words, and what no picture shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ctkd_core.figures.losses import PARTS, Lab, heard_rows, name, push_values, says_rows, shares
from ctkd_core.lab.records import LossView

if TYPE_CHECKING:
    import pandas as pd


def groups_table(lab: Lab) -> pd.DataFrame:
    """One row a group: its tokens, and each method's value and share of the loss."""
    import pandas as pd

    scene = lab.scene
    columns: dict[str, list[Any]] = {"group": list(range(len(scene.groups))), "teacher": [], "student": []}
    for s0, s1, t0, t1 in scene.groups:
        columns["teacher"].append(" │ ".join(lab.text("teacher", i) for i in scene.teacher_ids[t0:t1]))
        columns["student"].append(" │ ".join(lab.text("student", i) for i in scene.student_ids[s0:s1]))
    for view in lab.views:
        values = lab.values(view) or (float("nan"),) * len(scene.groups)
        columns[f"{name(view)} value"] = [round(v, 5) for v in values]
        columns[f"{name(view)} share"] = [round(s, 4) for s in shares(values)]
    return pd.DataFrame(columns)


def terms_table(lab: Lab) -> pd.DataFrame:
    """One row a figure, one column a method: loss, its parts, gradient norm, groups, diagnostics; values as texts."""
    import pandas as pd

    rows = ["loss", PARTS["distil"], "gradient norm", "groups of its own"]
    terms = list(dict.fromkeys(f"term {key}" for view in lab.views for key in view.terms))
    facts = list(dict.fromkeys(key for view in lab.views for key in view.diagnostics))
    columns: dict[str, list[str]] = {"figure": [*rows, *terms, *(key.replace("_", " ") for key in facts)]}
    for view in lab.views:
        first = [view.loss, view.distil_loss, view.norm, view.own_groups]
        parts = [view.terms.get(key.removeprefix("term ")) for key in terms]
        known = [view.diagnostics.get(key) for key in facts]
        columns[name(view)] = ["–" if view.problem or v is None else _number(v) for v in [*first, *parts, *known]]
    return pd.DataFrame(columns)


def says_table(lab: Lab, student_position: int, teacher_position: int) -> pd.DataFrame:
    """Candidates of both models at one place."""
    import pandas as pd

    rows = []
    for side, position in (("teacher", teacher_position), ("student", student_position)):
        says = lab.scene.said(side, position)
        for token, text, p in says_rows(lab, side, says) if says else []:
            rows.append((side, text, token if token >= 0 else None, p, bool(says and token == says.target)))
    table = pd.DataFrame(rows, columns=["model", "token", "id", "probability", "stands in the text"])
    return table.astype({"id": "Int64"})


def heard_table(lab: Lab, group: int) -> pd.DataFrame:
    """What each method takes from the teacher in a group, against what it takes from the student; lost mass too."""
    import pandas as pd

    rows = []
    for view in lab.views:
        heard = view.hears(group)
        if heard is None:
            continue
        kept = heard_rows(lab, heard)[: len(heard.ids)]
        for k, (label, wants, has) in enumerate(kept):
            crowd = heard.crowd[k] if k < len(heard.crowd) else ()
            said = ", ".join(f"{lab.text('student', i)} {p:.2%}" for i, p in crowd)
            rows.append((name(view), f"{heard.space}", label, wants, has, said))
        rows += [(name(view), "lost", what, p, None, "") for what, p in heard.lost]
    columns = ["method", "kind of entry", "entry", "from the teacher", "student has", "most of it from"]
    return pd.DataFrame(rows, columns=columns)


def push_table(lab: Lab, position: int, tokens: Sequence[int]) -> pd.DataFrame:
    """Minus the gradient of each method on each token: positive is up."""
    import pandas as pd

    columns: dict[str, list[Any]] = {"token": [lab.text("student", i) for i in tokens], "id": list(tokens)}
    for view in lab.views:
        push = view.push(position)
        columns[name(view)] = push_values(lab, push, tokens) if push else [None] * len(tokens)
    return pd.DataFrame(columns)


def push_words(lab: Lab, position: int, token: int) -> str:
    """ "down under gold, up under xtoken-pkl"; "" when no method has a gradient there."""
    ways: dict[str, list[str]] = {"down": [], "up": [], "neither way": []}
    for view in lab.views:
        push = view.push(position)
        value = push_values(lab, push, [token])[0] if push else None
        if value is not None:
            ways["up" if value > 0 else "down" if value < 0 else "neither way"].append(name(view))
    said = [f"{way} under {_and(names)}" for way, names in ways.items() if names]
    return ", ".join(said)


def problems(views: Sequence[LossView]) -> list[tuple[str, str]]:
    """(method, why it has nothing to show)."""
    return [(name(view), view.problem) for view in views if view.problem]


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _number(value: float) -> str:
    if float(value).is_integer() and abs(value) < 1e6:
        return f"{int(value):,}"
    return f"{value:.4g}"
