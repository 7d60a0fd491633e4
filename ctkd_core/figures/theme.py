"""Habits that all plotly figures share.

Kinds of groups have a colour, a letter and a border or hatch of their own (`alignment.kinds`): colour is never the
only mark.
"""

from __future__ import annotations

import html
import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go

DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SEQUENTIAL = "Cividis"
TITLE_TOP = 12  # pixels above a title
TITLE_CHARACTERS = 52  # of a line of a title
NARROW_TITLE = 30  # the same in the narrowest column of a page


def escape(text: str) -> str:
    """`text` for a plotly label, where `<b>` would be read as a tag; quotes stay: plotly knows no `&quot;`."""
    return html.escape(text, quote=False)


def figure(traces: list[Any], title: str, height: int, *, line: int = TITLE_CHARACTERS, **layout: Any) -> go.Figure:
    """A figure with the shared margins, fonts and a stable `uirevision`, so that zoom survives reruns.

    line: characters of a line of the title; fewer where the figure stands in a narrow column
    """
    import plotly.graph_objects as go

    return go.Figure(traces, habits(title, height, line) | layout)


def habits(title: str, height: int, line: int = TITLE_CHARACTERS) -> dict[str, Any]:
    """The layout that all figures share, for a figure that exists already.

    Update such a figure with this, never with another figure's layout: that holds a whole template, and plotly takes
    0.1 s to merge it.
    """
    lines = folded(title, line)
    return {
        "title": {
            "text": "<br>".join(lines),
            "x": 0,
            "xanchor": "left",
            "font": {"size": 14},
            "yref": "container",
            "y": 1 - TITLE_TOP / height,
            "yanchor": "top",
        },
        "height": height,
        "margin": {"l": 10, "r": 10, "t": 30 + 18 * len(lines), "b": 10},
        "uirevision": "keep",
        "hoverlabel": {"align": "left"},
        "legend": {"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0, "xanchor": "left", "x": 0},
        "modebar": {"orientation": "v"},  # beside the picture, not over its title
    }


def folded(title: str, line: int = TITLE_CHARACTERS) -> list[str]:
    """A title as lines that fit a narrow window."""
    return textwrap.wrap(title, line, break_long_words=False, break_on_hyphens=False) or [title]
