"""Ordered pairs of several tokenizers ranked: a heat map of one figure, a table of all, the best in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ctkd_core.figures.cells import axes_of_pairs, clickable, frame
from ctkd_core.figures.theme import SEQUENTIAL, escape, figure
from ctkd_core.markup.numbers import percent
from ctkd_core.markup.visible import one_line, shorten
from ctkd_core.methods.options import option_words
from ctkd_core.pair.ranking import ORDERS, RankedPair, matrix

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Ranked:
    """A figure that pairs are ranked by: its name for people, what it says, and whether it is a share of 1."""

    name: str
    meaning: str
    share: bool = True


FIGURES: dict[str, Ranked] = {
    "boundaries": Ranked(
        "common boundaries", "F1 of the places at which the two end a token: 100 % where all tokens end alike."
    ),
    "canonical": Ranked("shared vocabulary", "Shared canonical forms over those of the smaller vocabulary."),
    "equal_tokens": Ranked(
        "equal tokens", "Of the student's tokens in the texts, the share that face one teacher token with equal bytes."
    ),
    "teacher_whole": Ranked(
        "whole for the student",
        "Of the teacher's tokens in the texts, the share that is one token of the student: what can be carried over.",
    ),
    "tokens": Ranked("student tokens a teacher token", "What the same text costs the student; less is better.", False),
}
assert set(FIGURES) == set(ORDERS)
LABEL = 22  # characters of a name at an axis


def ranking_figure(rows: Sequence[RankedPair], by: str, chosen: tuple[str, str] | None = None) -> go.Figure:
    """Heat map of one of FIGURES: students in rows, teachers in columns; cells carry [student, teacher] as customdata.

    Pairs that aren't among the rows stay blank; `chosen` (student, teacher) is framed. Raises CtkdError for another
    figure.
    """
    import plotly.graph_objects as go

    students, teachers, values = matrix(rows, by)
    shown = FIGURES[by]
    down, across = _labels(students), _labels(teachers)
    known = [v for row in values for v in row if v is not None]
    heat = go.Heatmap(
        x=list(across.values()),
        y=list(down.values()),
        z=values,
        zmin=0 if shown.share else min(known, default=0),
        zmax=1 if shown.share else max(known, default=1),
        colorscale=SEQUENTIAL,
        reversescale=not ORDERS[by],  # bright is good
        text=[["" if v is None else _cell(v, shown) for v in row] for row in values],
        texttemplate="%{text}",
        hoverinfo="skip",
        xgap=2,
        ygap=2,
    )
    points = clickable(
        x=[across[row.teacher] for row in rows],
        y=[down[row.student] for row in rows],
        customdata=[[row.student, row.teacher] for row in rows],
        text=[_hover(row, by) for row in rows],
        hovertemplate="%{text}<extra></extra>",
    )
    title = shown.name.capitalize() + (
        ", %" if shown.share else ""
    )  # here, not in each cell: narrow ones hold three digits
    fig = figure([heat, points], title, height=max(260, 140 + 52 * len(students)))
    if chosen is not None and chosen[0] in down and chosen[1] in across:
        frame(fig, teachers.index(chosen[1]), students.index(chosen[0]))
    return axes_of_pairs(fig)


def ranking_table(rows: Sequence[RankedPair]) -> pd.DataFrame:
    """The twin of `ranking_figure`: one row a pair in the order given, a column for each figure and for the advice.

    Columns: student, teacher, names of FIGURES (numbers), numbers, train with, options, skipped, same tokenizer.
    """
    import pandas as pd

    found = []
    for row in rows:
        found.append(
            {"student": row.student, "teacher": row.teacher}
            | {shown.name: float(getattr(row, key)) for key, shown in FIGURES.items()}
            | {
                "numbers": row.numbers,
                "train with": row.method,
                "options": ", ".join(option_words(row.options)),
                "evidence": row.confidence,
                "skipped": "; ".join(f"{count} {reason}" for reason, count in row.skipped.items()),
                "same tokenizer": row.same_tokenizer,
            }
        )
    columns = ["student", "teacher", *(shown.name for shown in FIGURES.values()), "numbers", "train with", "options"]
    return pd.DataFrame(found, columns=[*columns, "evidence", "skipped", "same tokenizer"])


def share_names() -> list[str]:
    """Columns of `ranking_table` that are shares of 1."""
    return [shown.name for shown in FIGURES.values() if shown.share]


def ranking_sentence(rows: Sequence[RankedPair], by: str) -> str:
    """The first pair of rows ranked by a figure, in words; for alternative texts, too."""
    if not rows:
        return "No pair is measured yet."
    best, shown = rows[0], FIGURES[by]
    value = percent(getattr(best, by)) if shown.share else f"{getattr(best, by):.2f}"
    return f"First of {len(rows)}: student {best.student}, teacher {best.teacher} ({shown.name}: {value})."


def _labels(names: Sequence[str]) -> dict[str, str]:
    """Names as labels of an axis: short, visible, no markup, all different."""
    labels: dict[str, str] = {}
    for name in names:
        label = escape(shorten(one_line(name), LABEL))
        labels[name] = label if label not in labels.values() else f"{label} ({len(labels) + 1})"
    return labels


def _cell(value: float, shown: Ranked) -> str:
    return f"{100 * value:.0f}" if shown.share else f"{value:.2f}"


def _hover(row: RankedPair, by: str) -> str:
    pair = f"student {escape(one_line(row.student))}, teacher {escape(one_line(row.teacher))}"
    shown = FIGURES[by]
    value = percent(getattr(row, by)) if shown.share else f"{getattr(row, by):.2f}"
    return f"{pair}<br>{shown.name}: {value}<br>train with {escape(row.method)} (verdict {row.numbers})"
