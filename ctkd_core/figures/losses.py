"""Pictures of what losses make of one text: groups with a bar per method, predictions, what is heard, pushes.

All functions take the records of `loss_lab_records` and the two tokenizers, which turn ids into texts. A method keeps
its colour, hatch and letter in every picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ctkd_core.figures.theme import escape, figure
from ctkd_core.lab.records import Heard, LossView, Says, Scene
from ctkd_core.markup.colours import BLUE, GREEN, GREY, ORANGE, VERMILLION
from ctkd_core.markup.visible import shorten, visible_bytes

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from ctkd_core.tokenizers.tokenizer import Tokenizer

# A method's look by its place in the choice: colour, hatch of bars, letter.
LOOKS = ((BLUE, "", "A"), (ORANGE, "/", "B"), (GREEN, ".", "C"), (VERMILLION, "x", "D"))
PARTS = {"distil": "distillation only", "whole": "whole loss"}
OUTLINE = "#8A8A8A"  # of marked bars: to be seen on light and on dark
SHOWN = 8  # candidates of a prediction
TOKEN = 14  # characters of a token's label
ROW_HEIGHT = 26  # pixels of a horizontal bar
PUSH_TOKENS = 12
SQUEEZE = 1e4  # the scale of pushes is linear below a ten-thousandth of the strongest one
ELSE = "everything else"


@dataclass(frozen=True)
class Lab:
    """What the pictures are made of: scene, views in the order of the choice, both tokenizers, which part is shown."""

    scene: Scene
    views: tuple[LossView, ...]
    student: Tokenizer
    teacher: Tokenizer
    part: str = "distil"

    def text(self, side: str, token: int) -> str:
        """A token as it is shown; "#5" for an id beyond the tokenizer."""
        tokenizer = self.student if side == "student" else self.teacher
        if not 0 <= token < tokenizer.n_ids:
            return f"#{token}"
        return shorten(visible_bytes(tokenizer.token_bytes(token)) or "∅", TOKEN)

    def title(self, group: int) -> str:
        """The text of a group, as the student spells it."""
        s0, s1, _, _ = self.scene.groups[group]
        return shorten("".join(self.text("student", i) for i in self.scene.student_ids[s0:s1]), 2 * TOKEN)

    def values(self, view: LossView) -> tuple[float, ...]:
        """Value of each group for the chosen part."""
        return view.distil if self.part == "distil" else view.whole


def shares(values: Sequence[float]) -> tuple[float, ...]:
    """Each value's part of the sum of magnitudes, with its sign; zeros when there is nothing."""
    total = sum(abs(v) for v in values)
    return tuple(v / total if total else 0.0 for v in values)


def strip(lab: Lab) -> dict[str, Any]:
    """What the component of page Losses draws: groups of tokens with one bar a method.

    Keys: teacher, student (names), methods (list of {name, colour, hatch, letter}), groups (list of {g, t, s, bars,
    label}); a bar is [share of the tallest, negative?, text]. Texts are untrusted; the component escapes them.
    """
    every = [shares(lab.values(view)) for view in lab.views]
    tallest = max((abs(v) for row in every for v in row), default=0.0) or 1.0
    groups = []
    for g, (s0, s1, t0, t1) in enumerate(lab.scene.groups):
        bars = [[abs(row[g]) / tallest, row[g] < 0, percent(row[g])] if row else [0.0, False, "–"] for row in every]
        said = ", ".join(f"{name(view)} {bar[2]}" for view, bar in zip(lab.views, bars))
        t = [lab.text("teacher", i) for i in lab.scene.teacher_ids[t0:t1]]
        s = [lab.text("student", i) for i in lab.scene.student_ids[s0:s1]]
        label = f"group {g}: teacher {' '.join(t)}, student {' '.join(s)}; share of the loss: {said}"
        groups.append({"g": g, "t": t, "s": s, "bars": bars, "label": label})
    looks = [
        {"name": name(view), "colour": LOOKS[k][0], "hatch": LOOKS[k][1], "letter": LOOKS[k][2]}
        for k, view in enumerate(lab.views)
    ]
    return {
        "teacher": lab.scene.teacher,
        "student": lab.scene.student,
        "part": PARTS[lab.part],
        "methods": looks,
        "groups": groups,
    }


def percent(share: float) -> str:
    """A share of a loss, with its sign when it is negative."""
    return f"{share:.0%}" if abs(share) >= 0.01 or share == 0 else ("<1%" if share > 0 else ">−1%")


def name(view: LossView) -> str:
    """The method with its variant and changed options: "gold (released, beta 0.9)"."""
    more = [] if view.variant == "clean" else [view.variant]
    more += [f"{key.replace('_', ' ')} {value}" for key, value in view.options.items()]
    return f"{view.method} ({', '.join(more)})" if more else view.method


def says_figure(lab: Lab, student_position: int, teacher_position: int) -> go.Figure:
    """What both models predict at one place, as horizontal bars side by side; the text's own token is outlined."""
    from plotly.subplots import make_subplots

    fig = make_subplots(1, 2, horizontal_spacing=0.16, subplot_titles=("Teacher says", "Student says now"))
    tallest = 0
    for column, (side, position) in enumerate((("teacher", teacher_position), ("student", student_position)), 1):
        says = lab.scene.said(side, position)
        if says is None:
            continue
        rows = says_rows(lab, side, says)
        tallest = max(tallest, len(rows))
        own = [says.target == token for token, _, _ in rows]
        colours = [GREY if token < 0 else (BLUE if side == "teacher" else ORANGE) for token, _, _ in rows]
        fig.add_bar(
            x=[p for _, _, p in rows],
            y=list(range(len(rows))),
            orientation="h",
            text=[_probability(p) for _, _, p in rows],
            textposition="outside",
            cliponaxis=False,
            marker={
                "color": colours,
                "line": {"color": OUTLINE, "width": [2.5 if mine else 0 for mine in own]},
                "pattern": {"shape": ["/" if token < 0 else "" for token, _, _ in rows]},
            },
            hovertemplate="%{y}: %{x:.3%}<extra></extra>",
            showlegend=False,
            row=1,
            col=column,
        )
        labels = [f"<b>{escape(text)}</b> ◂ text" if mine else escape(text) for (_, text, _), mine in zip(rows, own)]
        _token_axis(fig, labels, column)
        fig.update_xaxes(range=[0, 1.18], tickformat=".0%", row=1, col=column)
    return _finish(fig, "What both models predict here", 90 + ROW_HEIGHT * max(tallest, 3))


def says_rows(lab: Lab, side: str, says: Says) -> list[tuple[int, str, float]]:
    """(id, text, probability): top candidates, the text's own token if it isn't among them, and the rest as id -1."""
    rows = [(i, lab.text(side, i), p) for i, p in zip(says.ids[:SHOWN], says.p)]
    if says.target not in says.ids[:SHOWN]:
        rows.append((says.target, f"{lab.text(side, says.target)} (rank {says.rank:,})", says.target_p))
    rows.append((-1, ELSE, max(0.0, 1.0 - sum(p for _, _, p in rows))))
    return rows


def heard_figure(lab: Lab, group: int) -> go.Figure:
    """One panel a method: what it takes from the teacher (bars), what the student has there (marks), what is lost."""
    from plotly.subplots import make_subplots

    shown = [(k, view, view.hears(group)) for k, view in enumerate(lab.views)]
    panels = [(k, view, heard) for k, view, heard in shown if heard is not None]
    titles = [f"{LOOKS[k][2]} · {escape(name(view))}" for k, view, _ in panels]
    fig = make_subplots(1, max(1, len(panels)), horizontal_spacing=0.4 / (1 + len(panels)), subplot_titles=titles)
    tallest = 0
    for column, (k, _, heard) in enumerate(panels, 1):
        rows = heard_rows(lab, heard)
        tallest = max(tallest, len(rows))
        _heard_panel(fig, rows, LOOKS[k], column)
    title = "What the student gets to hear, by method (red line: what the student has there; grey: lost on the way)"
    return _finish(fig, title, 100 + ROW_HEIGHT * max(tallest, 4))


def _heard_panel(
    fig: Any, rows: list[tuple[str, float, float | None]], look: tuple[str, str, str], column: int
) -> None:
    colour, hatch, _ = look
    lost = [has is None for _, _, has in rows]
    fig.add_bar(
        x=[wants for _, wants, _ in rows],
        y=list(range(len(rows))),
        orientation="h",
        marker={
            "color": [GREY if gone else colour for gone in lost],
            "opacity": [0.55 if gone else 1.0 for gone in lost],
            "pattern": {"shape": ["/" if gone else hatch for gone in lost]},
        },
        text=[_probability(wants) for _, wants, _ in rows],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{x:.3%}<extra></extra>",
        showlegend=False,
        row=1,
        col=column,
    )
    places = [k for k, gone in enumerate(lost) if not gone]
    fig.add_scatter(
        x=[rows[k][2] for k in places],
        y=places,
        mode="markers",
        marker={"symbol": "line-ns", "size": 17, "line": {"width": 3, "color": VERMILLION}},
        hovertemplate="the student has %{x:.3%}<extra></extra>",
        showlegend=False,
        row=1,
        col=column,
    )
    _token_axis(fig, [escape(label) for label, _, _ in rows], column)
    top = max([wants for _, wants, _ in rows] + [has or 0.0 for _, _, has in rows], default=1.0) or 1.0
    fig.update_xaxes(range=[0, 1.45 * top], tickformat=".0%" if top > 0.05 else ".2%", nticks=4, row=1, col=column)


def heard_rows(lab: Lab, heard: Heard) -> list[tuple[str, float, float | None]]:
    """(label, from the teacher, what the student has there); lost mass has None for the student."""
    rows: list[tuple[str, float, float | None]] = []
    events = ("this text", "any other text")
    for k, (token, wants, has) in enumerate(zip(heard.ids, heard.wants, heard.has)):
        label = {"rank": f"rank {k + 1}", "event": events[k % 2]}.get(heard.space) or lab.text(heard.space, token)
        if heard.space == "teacher" and k < len(heard.crowd_sizes):
            label += f" ← {_crowd(lab, heard, k)}"
        rows.append((label, wants, has))
    return rows + [(shorten(LOST.get(what, what), 26), p, None) for what, p in heard.lost]


def _crowd(lab: Lab, heard: Heard, k: int) -> str:
    """The student token behind an entry, or how many there are."""
    if heard.crowd_sizes[k] == 1 and len(heard.crowd) > k and heard.crowd[k]:
        return lab.text("student", heard.crowd[k][0][0])
    return f"{heard.crowd_sizes[k]:,} tokens"


# Short words for the pictures; the sentences stand in the table.
LOST = {
    "no equal token: only its sorted shape counts": "lost: no equal token",
    "chance that the group's other tokens come so": "lost: merged away",
    "mean of the group's rows": "lost: mean of the rows",
    "which token it was": "lost: which token",
    "what the tokens mean: only their rank counts": "lost: what tokens mean",
    "everything the teacher says": "lost: the teacher",
    "outside the chosen teacher columns": "lost: other columns",
    "no student token points there": "lost: nobody points there",
    "can't be written by the student": "lost: can't be written",
    "collided with another candidate": "lost: collided",
    "no student token for it": "lost: no student token",
    "without a partner": "lost: no partner",
}


def push_tokens(lab: Lab, position: int, named: Sequence[int] = ()) -> list[int]:
    """Tokens of the picture of pushes: the text's own, those asked for, then the strongest pushes of each method."""
    pushes = [push for view in lab.views if (push := view.push(position))]
    says = lab.scene.said("student", position)
    first = [says.target] if says else []
    best = []
    for push in pushes:
        values = push.distil if lab.part == "distil" else push.whole
        best.append([i for v, i in sorted(zip((-abs(v) for v in values), push.ids)) if v])
    mixed = [order[k] for k in range(max(map(len, best), default=0)) for order in best if k < len(order)]
    known = {i for push in pushes for i in push.ids}
    wanted = [i for i in (*first, *named) if i in known]
    return list(dict.fromkeys([*wanted, *mixed]))[:PUSH_TOKENS]


def push_figure(lab: Lab, position: int, tokens: Sequence[int], named: Sequence[int] = ()) -> go.Figure:
    """One row a method: how a step of descent moves the logits of some student tokens, up or down."""
    from plotly.subplots import make_subplots

    shown = [(k, view, push) for k, view in enumerate(lab.views) if (push := view.push(position))]
    titles = [f"{LOOKS[k][2]} · {escape(name(view))}" for k, view, _ in shown]
    rows = max(1, len(shown))
    fig = make_subplots(rows, 1, shared_xaxes=True, vertical_spacing=0.35 / (2 + rows), subplot_titles=titles)
    says = lab.scene.said("student", position)
    marked = {*named, *([says.target] if says else [])}
    for row, (k, _, push) in enumerate(shown, 1):
        values = push_values(lab, push, tokens)
        top = max((abs(v) for v in values if v is not None), default=0.0) or 1.0
        fig.add_bar(
            x=list(range(len(tokens))),
            y=[None if v is None else squeezed(v, top) for v in values],
            customdata=values,
            marker={
                "color": LOOKS[k][0],
                "pattern": {"shape": LOOKS[k][1]},
                "line": {"color": OUTLINE, "width": [2.5 if i in marked else 0 for i in tokens]},
            },
            text=["" if v is None else ("▲" if v > 0 else "▼" if v < 0 else "0") for v in values],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{customdata:.3e}<extra></extra>",
            showlegend=False,
            row=row,
            col=1,
        )
        marks = [-top, -top / 100, 0.0, top / 100, top]
        fig.update_yaxes(
            range=[-1.4, 1.4],
            tickvals=[squeezed(v, top) for v in marks],
            ticktext=["0" if v == 0 else f"{v:+.0e}" for v in marks],
            zeroline=True,
            zerolinewidth=1.5,
            row=row,
            col=1,
        )
    labels = [
        f"<b>{escape(lab.text('student', i))}</b>" if i in marked else escape(lab.text("student", i)) for i in tokens
    ]
    fig.update_xaxes(tickvals=list(range(len(tokens))), ticktext=labels, tickangle=0, range=[-0.6, len(tokens) - 0.4])
    title = f"Which way each method pushes a token ({PARTS[lab.part]}; steps of height are powers of ten)"
    return _finish(fig, title, 80 + 105 * rows)


def squeezed(value: float, top: float) -> float:
    """`value` on a scale that is logarithmic but near 0, so that weak pushes can be seen too; `top` is 1."""
    return math.asinh(SQUEEZE * value / top) / math.asinh(SQUEEZE)


def push_values(lab: Lab, push: Any, tokens: Sequence[int]) -> list[float | None]:
    """Minus the gradient of each token, None for one that wasn't kept."""
    values = dict(zip(push.ids, push.distil if lab.part == "distil" else push.whole))
    return [-values[i] + 0.0 if i in values else None for i in tokens]


def _token_axis(fig: Any, labels: list[str], column: int) -> None:
    fig.update_yaxes(
        tickvals=list(range(len(labels))), ticktext=labels, autorange="reversed", automargin=True, row=1, col=column
    )


def _probability(p: float) -> str:
    return f"{p:.1%}" if p >= 0.001 else ("0" if p <= 0 else f"{p:.0e}")


def _finish(fig: Any, title: str, height: int) -> Any:
    fig.update_layout(figure([], title, height).layout)
    fig.update_layout(margin={"l": 10, "r": 20, "t": 62, "b": 34})
    for annotation in fig.layout.annotations:
        annotation.update(font={"size": 12.5})
    return fig
