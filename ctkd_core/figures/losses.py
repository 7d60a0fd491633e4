"""Pictures of what losses make of one text: groups with a bar per method, predictions, targets and gradients.

All functions take the records of `ctkd_core.lab.records` and the two tokenizers, which turn ids into texts. A method
keeps its colour, hatch and letter in every picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ctkd_core.figures.theme import escape, folded, habits
from ctkd_core.lab.records import LossView, Prediction, RowGradient, Scene
from ctkd_core.losses.views.target import SHORT, Target
from ctkd_core.markup.colours import BLUE, GREEN, GREY, ORANGE, VERMILLION
from ctkd_core.markup.direction import base_direction
from ctkd_core.markup.numbers import probability
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
ROW_HEIGHT = 36  # pixels of a horizontal bar with its label above it
BAR = {"width": 0.42, "offset": 0.02}  # of a row: the lower half; its label takes the upper one
MIDDLE = BAR["offset"] + BAR["width"] / 2  # of a bar, below its row's place
PANELS_ABREAST = 2  # more would leave no room for labels in a narrow window
TITLE = 30  # characters of a panel's title
GRADIENT_TOKENS = 12
SQUEEZE = 1e4  # the scale of gradients is linear below a ten-thousandth of the largest one
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

    def outcome(self, space: str, entry: int) -> str:
        """What an entry of a target stands for: a token, or a next byte."""
        if space != "byte":
            return self.text(space, entry)
        return {-1: ELSE, 256: "the answer ends"}.get(entry) or visible_bytes(bytes([entry]))

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
    label}), dir (of the text); a bar is [share of the tallest, negative?, text]. Texts are untrusted; the component
    escapes them.
    """
    every = [shares(lab.values(view)) for view in lab.views]
    tallest = max((abs(v) for row in every for v in row), default=0.0) or 1.0
    groups = []
    for g, (s0, s1, t0, t1) in enumerate(lab.scene.groups):
        bars = [[abs(row[g]) / tallest, row[g] < 0, percent(row[g])] if row else [0.0, False, "–"] for row in every]
        share = ", ".join(f"{name(view)} {bar[2]}" for view, bar in zip(lab.views, bars))
        t = [lab.text("teacher", i) for i in lab.scene.teacher_ids[t0:t1]]
        s = [lab.text("student", i) for i in lab.scene.student_ids[s0:s1]]
        label = f"group {g}: teacher {' '.join(t)}, student {' '.join(s)}; share of the loss: {share}"
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
        "dir": base_direction(lab.scene.text),
    }


def largest_group(lab: Lab) -> tuple[int, LossView] | None:
    """The group with the most of the first method's loss, and the method; None where no method has a value.

    A method without values, or with some that overflowed, is passed over.
    """
    for view in lab.views:
        values = lab.values(view)
        if any(values) and all(map(math.isfinite, values)):
            sizes = [abs(value) for value in values]
            return sizes.index(max(sizes)), view
    return None


def percent(share: float) -> str:
    """A share of a loss, with its sign when it is negative."""
    return f"{100 * share:.0f} %" if abs(share) >= 0.01 or share == 0 else ("<1 %" if share > 0 else ">−1 %")


def name(view: LossView) -> str:
    """The method with its variant and changed options: "gold (released, beta 0.9)"."""
    more = [] if view.variant == "clean" else [view.variant]
    more += [f"{key.replace('_', ' ')} {value}" for key, value in view.options.items()]
    return f"{view.method} ({', '.join(more)})" if more else view.method


def prediction_figure(lab: Lab, student_position: int, teacher_position: int) -> go.Figure:
    """What both models predict at one place, as horizontal bars side by side; the text's own token is outlined."""
    from plotly.subplots import make_subplots

    fig = make_subplots(1, 2, horizontal_spacing=0.06, subplot_titles=("Teacher predicts", "Student predicts now"))
    tallest = 0
    for column, (side, position) in enumerate((("teacher", teacher_position), ("student", student_position)), 1):
        prediction = lab.scene.prediction(side, position)
        if prediction is None:
            continue
        rows = prediction_rows(lab, side, prediction)
        tallest = max(tallest, len(rows))
        own = [prediction.token == token for token, _, _ in rows]
        colours = [GREY if token < 0 else (BLUE if side == "teacher" else ORANGE) for token, _, _ in rows]
        fig.add_bar(
            x=[p for _, _, p in rows],
            y=list(range(len(rows))),
            **BAR,
            orientation="h",
            text=[probability(p) for _, _, p in rows],
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
        _token_axis(fig, labels, 1, column)
        fig.update_xaxes(range=[0, 1.35], tickvals=[0, 0.5, 1], tickformat=".0%", row=1, col=column)
    return _finish(fig, "What both models predict here", 90 + ROW_HEIGHT * max(tallest, 3))


def prediction_rows(lab: Lab, side: str, prediction: Prediction) -> list[tuple[int, str, float]]:
    """(id, text, probability): top candidates, the text's own token if it isn't among them, and the rest as id -1."""
    rows = [(i, lab.text(side, i), p) for i, p in zip(prediction.ids[:SHOWN], prediction.p)]
    if prediction.token not in prediction.ids[:SHOWN]:
        rows.append(
            (prediction.token, f"{lab.text(side, prediction.token)} (rank {prediction.rank:,})", prediction.token_p)
        )
    rows.append((-1, ELSE, max(0.0, 1.0 - sum(p for _, _, p in rows))))
    return rows


def target_figure(lab: Lab, group: int) -> go.Figure:
    """One panel a method: its target from the teacher (bars), what the student has there (marks), what is lost.

    All panels have one scale, so a bar twice as long is twice the probability, whichever method's it is.
    """
    from plotly.subplots import make_subplots

    shown = [(k, view, view.target(group)) for k, view in enumerate(lab.views)]
    panels = [(k, view, target) for k, view, target in shown if target is not None]
    titles = [_panel_title(k, view) for k, view, _ in panels]
    columns = min(PANELS_ABREAST, max(1, len(panels)))
    lines = -(-max(1, len(panels)) // columns)
    tables = [target_rows(lab, target) for _, _, target in panels]
    tallest = [max([4, *map(len, tables[first : first + columns])]) for first in range(0, max(1, len(panels)), columns)]
    height = 90 + sum(ROW_HEIGHT * rows + 44 for rows in tallest)
    fig = make_subplots(
        lines,
        columns,
        row_heights=tallest,
        horizontal_spacing=0.06,
        vertical_spacing=66 / height if lines > 1 else 0,
        subplot_titles=titles,
    )
    top = _top(p for rows in tables for _, teacher, student in rows for p in (teacher, student))
    for place, ((k, _, _), rows) in enumerate(zip(panels, tables)):
        _target_panel(fig, rows, LOOKS[k], (place // columns + 1, place % columns + 1))
    form = ".0%" if top > 0.05 else ".2%"
    fig.update_xaxes(range=[0, 1.45 * top], tickformat=form, nticks=4, tickangle=0)
    title = "What each method compares (bars: its target, from the teacher; red lines: the student; grey: lost)"
    return _finish(fig, title, height)


def _top(values: Iterable[float | None]) -> float:
    """The largest magnitude, for the one scale of several panels; 1 where there is none, so that it is a scale."""
    return max((abs(v) for v in values if v is not None and math.isfinite(v)), default=0.0) or 1.0


def _panel_title(place: int, view: LossView) -> str:
    return f"{LOOKS[place][2]} · {escape(shorten(name(view), TITLE))}"


def _target_panel(
    fig: Any, rows: list[tuple[str, float, float | None]], look: tuple[str, str, str], place: tuple[int, int]
) -> None:
    colour, hatch, _ = look
    row, column = place
    lost = [student is None for _, _, student in rows]
    fig.add_bar(
        x=[teacher for _, teacher, _ in rows],
        y=list(range(len(rows))),
        **BAR,
        orientation="h",
        marker={
            "color": [GREY if gone else colour for gone in lost],
            "opacity": [0.55 if gone else 1.0 for gone in lost],
            "pattern": {"shape": ["/" if gone else hatch for gone in lost]},
        },
        hovertemplate="%{y}: %{x:.3%}<extra></extra>",
        showlegend=False,
        row=row,
        col=column,
    )
    places = [k for k, gone in enumerate(lost) if not gone]
    fig.add_scatter(
        x=[rows[k][2] for k in places],
        y=[k + MIDDLE for k in places],
        mode="markers",
        marker={"symbol": "line-ns", "size": 17, "line": {"width": 3, "color": VERMILLION}},
        customdata=[escape(rows[k][0]) for k in places],
        hovertemplate="%{customdata}: the student has %{x:.3%}<extra></extra>",
        showlegend=False,
        row=row,
        col=column,
    )
    # Behind the bar and behind the mark: at the bar's end a mark would stand in the digits.
    fig.add_scatter(
        x=[max(teacher, student or 0.0) for _, teacher, student in rows],
        y=[k + MIDDLE for k in range(len(rows))],
        mode="text",
        text=[f"\u2002{probability(teacher)}" for _, teacher, _ in rows],
        textposition="middle right",
        cliponaxis=False,
        hoverinfo="skip",
        showlegend=False,
        row=row,
        col=column,
    )
    _token_axis(fig, [escape(label) for label, _, _ in rows], row, column)


def target_rows(lab: Lab, target: Target) -> list[tuple[str, float, float | None]]:
    """(label, from the teacher, what the student has there); lost mass has None for the student."""
    rows: list[tuple[str, float, float | None]] = []
    events = ("this text", "any other text")
    for k, (token, teacher, student) in enumerate(zip(target.ids, target.teacher, target.student)):
        label = {"rank": f"rank {k + 1}", "event": events[k % 2]}.get(target.space) or lab.outcome(target.space, token)
        if target.space == "teacher" and k < len(target.source_counts):
            label += f" ← {_sources(lab, target, k)}"
        rows.append((label, teacher, student))
    return rows + [(shorten(SHORT.get(what, what), 26), p, None) for what, p in target.lost]


def _sources(lab: Lab, target: Target, k: int) -> str:
    """The student token behind an entry, or how many there are."""
    if target.source_counts[k] == 1 and len(target.sources) > k and target.sources[k]:
        return lab.text("student", target.sources[k][0][0])
    return f"{target.source_counts[k]:,} tokens"


def gradient_tokens(lab: Lab, position: int, named: Sequence[int] = ()) -> list[int]:
    """Tokens of the picture of gradients: the text's own, those asked for, then each method's largest."""
    gradients = [gradient for view in lab.views if (gradient := view.gradient(position))]
    prediction = lab.scene.prediction("student", position)
    first = [prediction.token] if prediction else []
    best = []
    for gradient in gradients:
        values = gradient.distil if lab.part == "distil" else gradient.whole
        best.append([i for v, i in sorted(zip((-abs(v) for v in values), gradient.ids)) if v])
    mixed = [order[k] for k in range(max(map(len, best), default=0)) for order in best if k < len(order)]
    known = {i for gradient in gradients for i in gradient.ids}
    wanted = [i for i in (*first, *named) if i in known]
    return list(dict.fromkeys([*wanted, *mixed]))[:GRADIENT_TOKENS]


def gradient_figure(lab: Lab, position: int, tokens: Sequence[int], named: Sequence[int] = ()) -> go.Figure:
    """One row a method: how a step of descent moves the logits of some student tokens, up or down; all on one scale."""
    from plotly.subplots import make_subplots

    shown = [(k, view, gradient) for k, view in enumerate(lab.views) if (gradient := view.gradient(position))]
    titles = [_panel_title(k, view) for k, view, _ in shown]
    rows = max(1, len(shown))
    fig = make_subplots(rows, 1, shared_xaxes=True, vertical_spacing=0.35 / (2 + rows), subplot_titles=titles)
    prediction = lab.scene.prediction("student", position)
    marked = {*named, *([prediction.token] if prediction else [])}
    steps = [step_values(lab, gradient, tokens) for _, _, gradient in shown]
    top = _top(v for values in steps for v in values)
    for row, ((k, _, _), values) in enumerate(zip(shown, steps), 1):
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
            hovertemplate="%{x}: %{customdata:+.3e}<extra></extra>",
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
    fig.update_xaxes(tickvals=list(range(len(tokens))), ticktext=labels, tickangle=-60, range=[-0.6, len(tokens) - 0.4])
    title = f"Which way each method moves a token ({PARTS[lab.part]}; steps of height are powers of ten)"
    return _finish(fig, title, 140 + 105 * rows)


def squeezed(value: float, top: float) -> float:
    """`value` on a scale that is logarithmic but near 0, so that small gradients can be seen too; `top` is 1."""
    return math.asinh(SQUEEZE * value / top) / math.asinh(SQUEEZE)


def step_values(lab: Lab, gradient: RowGradient, tokens: Sequence[int]) -> list[float | None]:
    """Minus the gradient of each token, None for one that wasn't kept."""
    values = dict(zip(gradient.ids, gradient.distil if lab.part == "distil" else gradient.whole))
    return [-values[i] + 0.0 if i in values else None for i in tokens]


def _token_axis(fig: Any, labels: list[str], row: int, column: int) -> None:
    """Labels above their bars, inside the panel: beside them they would run into the next one."""
    fig.update_yaxes(
        tickvals=list(range(len(labels))),
        ticktext=labels,
        ticklabelposition="inside",
        ticklabelshift=9,
        showgrid=False,
        range=[len(labels) - 0.4, -0.6],
        row=row,
        col=column,
    )


def _finish(fig: Any, title: str, height: int) -> Any:
    fig.update_layout(habits(title, height))
    fig.update_layout(margin={"l": 10, "r": 20, "t": 44 + 18 * len(folded(title)), "b": 34})
    for annotation in fig.layout.annotations:
        annotation.update(font={"size": 12.5})
    return fig
