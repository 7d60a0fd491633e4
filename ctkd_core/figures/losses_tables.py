"""The tables beside the pictures of page Losses: the same figures in words, and what no picture shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ctkd_core.figures.losses import (
    PARTS,
    Lab,
    name,
    percent,
    prediction_rows,
    shares,
    step_values,
    target_rows,
)
from ctkd_core.lab.records import LossView
from ctkd_core.markup.numbers import probability

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


def prediction_table(lab: Lab, student_position: int, teacher_position: int) -> pd.DataFrame:
    """Candidates of both models at one place."""
    import pandas as pd

    rows = []
    for side, position in (("teacher", teacher_position), ("student", student_position)):
        prediction = lab.scene.prediction(side, position)
        for token, text, p in prediction_rows(lab, side, prediction) if prediction else []:
            rows.append((side, text, token if token >= 0 else None, p, bool(prediction and token == prediction.token)))
    table = pd.DataFrame(rows, columns=["model", "token", "id", "probability", "stands in the text"])
    return table.astype({"id": "Int64"})


def target_table(lab: Lab, group: int) -> pd.DataFrame:
    """Each method's target in a group, what the student has there, and the teacher's probability that is lost."""
    import pandas as pd

    rows = []
    for view in lab.views:
        target = view.target(group)
        if target is None:
            continue
        kept = target_rows(lab, target)[: len(target.ids)]
        for k, (label, teacher, student) in enumerate(kept):
            sources = target.sources[k] if k < len(target.sources) else ()
            named = ", ".join(f"{lab.text('student', i)} {probability(p)}" for i, p in sources)
            rows.append((name(view), target.space, label, teacher, student, named))
        rows += [(name(view), "lost", what, p, None, "") for what, p in target.lost]
    columns = ["method", "kind of entry", "entry", "from the teacher", "student has", "most of it from"]
    return pd.DataFrame(rows, columns=columns)


def gradient_table(lab: Lab, position: int, tokens: Sequence[int]) -> pd.DataFrame:
    """Minus the gradient of each method on each token: positive is up."""
    import pandas as pd

    columns: dict[str, list[Any]] = {"token": [lab.text("student", i) for i in tokens], "id": list(tokens)}
    for view in lab.views:
        gradient = view.gradient(position)
        columns[name(view)] = step_values(lab, gradient, tokens) if gradient else [None] * len(tokens)
    return pd.DataFrame(columns)


def direction_words(lab: Lab, position: int, token: int) -> str:
    """ "down under gold, up under xtoken-pkl"; "" when no method has a gradient there."""
    ways: dict[str, list[str]] = {"down": [], "up": [], "neither way": []}
    for view in lab.views:
        gradient = view.gradient(position)
        value = step_values(lab, gradient, [token])[0] if gradient else None
        if value is not None:
            ways["up" if value > 0 else "down" if value < 0 else "neither way"].append(name(view))
    found = [f"{way} under {_and(names)}" for way, names in ways.items() if names]
    return ", ".join(found)


def finding(lab: Lab, group: int) -> str:
    """What the methods do to the text's own token in a group, as a sentence; "" where nothing is known of it."""
    position = lab.scene.groups[group][0]
    prediction = lab.scene.prediction("student", position)
    words = direction_words(lab, position, prediction.token) if prediction else ""
    if prediction is None or not words:
        return ""
    return f"Group {group}: a step of descent moves {lab.text('student', prediction.token)} {words}."


def opening(lab: Lab, group: int, view: LossView) -> str:
    """`finding`, and why a page that was asked for no group shows this one: it has the most of this method's loss."""
    share = percent(shares(lab.values(view))[group])
    why = f"Opened on group {group}, the one with the most of {name(view)}'s loss: {share}."
    return f"{finding(lab, group)} {why}".strip()


def problems(views: Sequence[LossView]) -> list[tuple[str, str]]:
    """(method, why it has nothing to show)."""
    return [(name(view), view.problem) for view in views if view.problem]


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _number(value: float) -> str:
    if float(value).is_integer() and abs(value) < 1e6:
        return f"{int(value):,}"
    return f"{value:.4g}"
