"""Colours and habits that all figures share.

Kinds of groups have a colour, a letter and a border or hatch of their own: colour is never the only mark.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ctkd_core.alignment.kinds import KINDS

if TYPE_CHECKING:
    import plotly.graph_objects as go

# Okabe and Ito (2008), Color Universal Design, the eight colours in the order of their figure 16.
ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILLION, PURPLE, BLACK = "#0072B2", "#D55E00", "#CC79A7", "#000000"
GREY = "#8A8A8A"
CATEGORICAL = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, YELLOW, GREY)
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SEQUENTIAL = "Cividis"


@dataclass(frozen=True)
class KindStyle:
    """How one kind of group looks: colour, CSS border style, hatch of bars, letter, and what it means."""

    colour: str
    border: str
    pattern: str
    letter: str
    meaning: str


KIND_STYLES: dict[str, KindStyle] = dict(
    zip(
        KINDS,
        (
            KindStyle(GREY, "solid", "", "", "one student token, one teacher token"),
            KindStyle(BLUE, "dotted", "/", "n", "one student token, several teacher tokens"),
            KindStyle(ORANGE, "dashed", "\\", "n", "several student tokens, one teacher token"),
            KindStyle(PURPLE, "double", "x", "m", "several tokens on both sides"),
            KindStyle(GREEN, "dashed", ".", "s", "student tokens that face nothing"),
            KindStyle(SKY, "dashed", "+", "t", "teacher tokens that face nothing"),
        ),
        strict=True,
    )
)


def escape(text: str) -> str:
    """`text` for a plotly label, where `<b>` would be read as a tag."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


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
