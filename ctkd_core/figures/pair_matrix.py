"""Every pair of several tokenizers at once: how much of the row's vocabulary the column's has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ctkd_core.figures.cells import axes_of_pairs, clickable, frame
from ctkd_core.figures.theme import SEQUENTIAL, escape, figure

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

# (student, teacher) -> share of the student's tokens, for each way of counting
Shares = Mapping[tuple[str, str], Mapping[str, float]]


def matrix_figure(names: Sequence[str], shares: Shares, way: str, chosen: tuple[str, str] | None = None) -> go.Figure:
    """Heat map, students in rows and teachers in columns; cells carry [student, teacher] as customdata.

    A pair that isn't in `shares` stays blank; `chosen` is framed.
    """
    import plotly.graph_objects as go

    labels = [escape(name) for name in names]
    rows = [[_share(shares, s, t, way) for t in names] for s in names]
    heat = go.Heatmap(
        x=labels,
        y=labels,
        z=rows,
        zmin=0,
        zmax=1,
        colorscale=SEQUENTIAL,
        text=[["" if v is None else f"{100 * v:.0f}" for v in row] for row in rows],
        texttemplate="%{text}",
        hoverinfo="skip",
        xgap=2,
        ygap=2,
    )
    cells = [(s, t) for s in names for t in names if s != t and (s, t) in shares]
    points = clickable(
        x=[escape(t) for _, t in cells],
        y=[escape(s) for s, _ in cells],
        customdata=[[s, t, float(shares[s, t][way])] for s, t in cells],
        hovertemplate="%{customdata[2]:.1%} of student %{customdata[0]} in teacher %{customdata[1]}<extra></extra>",
    )
    title = "Student tokens that the teacher has, %"
    fig = figure([heat, points], title, height=130 + 62 * len(names))
    if chosen is not None and set(chosen) <= set(names):
        frame(fig, names.index(chosen[1]), names.index(chosen[0]))
    return axes_of_pairs(fig)


def matrix_table(names: Sequence[str], shares: Shares) -> pd.DataFrame:
    """The twin of `matrix_figure`, one row a pair: student, teacher and a share for each way; the most shared first."""
    import pandas as pd

    rows = [
        {"student": s, "teacher": t} | dict(shares[s, t]) for s in names for t in names if s != t and (s, t) in shares
    ]
    frame = pd.DataFrame(rows)
    return frame.sort_values("canonical", ascending=False, ignore_index=True) if rows else frame


def _share(shares: Shares, student: str, teacher: str, way: str) -> float | None:
    if student == teacher:
        return 1.0
    return shares[student, teacher][way] if (student, teacher) in shares else None
