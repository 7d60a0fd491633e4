"""Habits that all plotly figures share.

Kinds of groups have a colour, a letter and a border or hatch of their own (`alignment.kinds`): colour is never the
only mark.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go

DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SEQUENTIAL = "Cividis"


def escape(text: str) -> str:
    """`text` for a plotly label, where `<b>` would be read as a tag; quotes stay: plotly knows no `&quot;`."""
    return html.escape(text, quote=False)


def figure(traces: list[Any], title: str, height: int, **layout: Any) -> go.Figure:
    """A figure with the shared margins, fonts and a stable `uirevision`, so that zoom survives reruns."""
    import plotly.graph_objects as go

    settings: dict[str, Any] = {
        "title": {"text": title, "x": 0, "xanchor": "left", "font": {"size": 14}, "yref": "container", "y": 0.985},
        "height": height,
        "margin": {"l": 10, "r": 10, "t": 44, "b": 10},
        "uirevision": "keep",
        "hoverlabel": {"align": "left"},
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.0, "xanchor": "right", "x": 1.0},
    }
    return go.Figure(traces, settings | layout)


def message_bytes(fig: go.Figure) -> int:
    """Size of the figure as it is sent to a browser, in bytes."""
    return len(fig.to_json().encode())
