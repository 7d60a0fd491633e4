"""Cells of a heat map that can be clicked, and a frame around the chosen one.

Heat maps can't be clicked in Streamlit; nearly transparent points on top of them can.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ctkd_core.markup.colours import ORANGE

if TYPE_CHECKING:
    import plotly.graph_objects as go


def clickable(x: Sequence[str], y: Sequence[str], **more: Any) -> go.Scatter:
    """A point on each cell; `more`: customdata, text and hovertemplate of plotly's Scatter."""
    import plotly.graph_objects as go

    marker = {"symbol": "square", "size": 46, "color": "rgba(0,0,0,0.01)"}
    return go.Scatter(x=x, y=y, mode="markers", marker=marker, showlegend=False, name="cells", **more)


def frame(x: str, y: str) -> go.Scatter:
    """The frame around one cell."""
    import plotly.graph_objects as go

    marker = {"symbol": "square-open", "size": 42, "color": ORANGE, "line": {"width": 4}}
    return go.Scatter(x=[x], y=[y], mode="markers", marker=marker, hoverinfo="skip", showlegend=False, name="chosen")


def axes_of_pairs(fig: go.Figure) -> go.Figure:
    """Teachers across, students down, clicks as selections."""
    fig.update_xaxes(title_text="teacher", side="bottom", showgrid=False)
    fig.update_yaxes(title_text="student", autorange="reversed", showgrid=False)
    return fig.update_layout(clickmode="event+select")
