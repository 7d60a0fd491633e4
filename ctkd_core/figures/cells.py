"""Cells of a heat map that can be clicked, and a frame around the chosen one.

Heat maps can't be clicked in Streamlit; transparent points on top of them can.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ctkd_core.markup.colours import ORANGE

if TYPE_CHECKING:
    import plotly.graph_objects as go


def clickable(x: Sequence[str], y: Sequence[str], **more: Any) -> go.Scatter:
    """A point on each cell; `more`: customdata, text, hovertemplate and hoverinfo of plotly's Scatter."""
    import plotly.graph_objects as go

    marker = {"symbol": "square", "size": 46, "color": "rgba(0,0,0,0)"}
    return go.Scatter(x=x, y=y, mode="markers", marker=marker, showlegend=False, name="cells", **more)


def frame(fig: go.Figure, column: int, row: int) -> None:
    """A frame around one cell, by its place among the columns and rows: as large as cells are in this window."""
    place = {"x0": column - 0.5, "x1": column + 0.5, "y0": row - 0.5, "y1": row + 0.5}
    fig.add_shape(type="rect", **place, line={"color": ORANGE, "width": 4}, name="chosen")


def axes_of_pairs(fig: go.Figure) -> go.Figure:
    """Teachers across, students down, each with its name; clicks as selections, wherever in a cell they are.

    The figure's first trace is the heat map, its second the points of `clickable`. Cells hold their values, so no bar
    of colours takes room from them.
    """
    heat, points = fig.data[:2]
    there = set(zip(points.x, points.y))
    blank = [(x, y) for y in heat.y for x in heat.x if (x, y) not in there]
    # A click is that of the nearest point, however wide cells are; so blank cells need one, too: it says nothing.
    fig.add_trace(clickable([x for x, _ in blank], [y for _, y in blank], hoverinfo="none"))
    fig.update_traces(selector={"type": "heatmap"}, showscale=False)
    fig.update_xaxes(title_text="teacher", side="bottom", showgrid=False, type="category", dtick=1)
    fig.update_yaxes(title_text="student", autorange="reversed", showgrid=False, type="category", dtick=1)
    return fig.update_layout(clickmode="event+select", hovermode="closest", hoverdistance=-1)
