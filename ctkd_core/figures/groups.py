"""Groups as pictures: how the two sides advance through the text, and how large groups are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.alignment.base import Alignment
from ctkd_core.alignment.kinds import KIND_STYLES, KINDS, UNEQUAL, UNEQUAL_MEANING
from ctkd_core.figures.theme import DASHES, escape, figure
from ctkd_core.figures.thinned import thinned
from ctkd_core.markup.colours import BLACK, BLUE, GREY, ORANGE, VERMILLION
from ctkd_core.tokenizers.encoding import Encoding

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

MAX_POINTS = 2000
LARGEST_BIN = 9


def staircase(alignment: Alignment, group: int | None = None, others: tuple[Alignment, ...] = ()) -> go.Figure:
    """How far the teacher has read when the student has: the byte where each group ends, on both sides.

    On the diagonal both sides of a group end at the same byte of the text. A method that drifts leaves it. Points
    carry their group as `customdata[0]`.
    """
    import plotly.graph_objects as go

    total = max(1, alignment.student.n_bytes)
    traces: list[Any] = [
        go.Scatter(
            x=[0, total],
            y=[0, total],
            mode="lines",
            line={"color": GREY, "width": 1, "dash": "dot"},
            name="same byte on both sides",
            hoverinfo="skip",
        )
    ]
    for k, one in enumerate((alignment, *others)):
        ends = boundary_bytes(one)
        colour, dash = (BLUE, VERMILLION, ORANGE)[k % 3], DASHES[k % len(DASHES)]
        at = thinned(len(ends), MAX_POINTS)
        traces.append(
            go.Scatter(
                x=ends[at, 0],
                y=ends[at, 1],
                customdata=at[:, None] if k == 0 else None,
                mode="lines+markers",
                line={"color": colour, "width": 2, "dash": dash, "shape": "hv"},
                marker={"size": 5 if k == 0 else 3},
                name=escape(one.label),
                hovertemplate="student byte %{x}<br>teacher byte %{y}"
                + ("<br>group %{customdata[0]}" if k == 0 else "")
                + f"<extra>{escape(one.label)}</extra>",
            )
        )
    if group is not None and group < len(alignment):
        x, y = boundary_bytes(alignment)[group]
        traces.append(
            go.Scatter(
                x=[x],
                y=[y],
                mode="markers",
                marker={"size": 13, "symbol": "circle-open", "color": ORANGE, "line": {"width": 3}},
                name=f"group {group}",
                hoverinfo="skip",
            )
        )
    fig = figure(traces, "Where groups end, in bytes of the text", height=420)
    fig.update_xaxes(title_text="student side", range=[0, total * 1.02])
    fig.update_yaxes(title_text="teacher side", range=[0, total * 1.02])
    return fig.update_layout(clickmode="event+select", hovermode="closest")


def staircase_table(alignment: Alignment, others: tuple[Alignment, ...] = (), most: int = MAX_POINTS) -> pd.DataFrame:
    """The twin of `staircase`: method, group, student_byte and teacher_byte at its end, at most `most` groups each."""
    import pandas as pd

    parts = []
    for one in (alignment, *others):
        ends = boundary_bytes(one)[:most]
        columns = {"group": np.arange(len(ends)), "student_byte": ends[:, 0], "teacher_byte": ends[:, 1]}
        parts.append(pd.DataFrame({"method": one.label} | columns))
    return pd.concat(parts, ignore_index=True)


def boundary_bytes(alignment: Alignment) -> NDArray[np.int64]:
    """int64 [G, 2]: byte of the text that student and teacher have reached when each group ends."""
    return np.stack(
        [_reached(alignment.student, alignment.groups[:, 1]), _reached(alignment.teacher, alignment.groups[:, 3])],
        axis=1,
    )


def _reached(encoding: Encoding, ends: NDArray[np.int32]) -> NDArray[np.int64]:
    reached = np.concatenate([[0], np.maximum.accumulate(encoding.spans[:, 1])]) if len(encoding) else np.zeros(1, int)
    return reached[ends].astype(np.int64)


def size_histogram(alignment: Alignment) -> go.Figure:
    """Groups by the number of tokens on their larger side, stacked by kind (colour and hatch).

    Of each kind, the groups whose two sides spell different bytes stand apart, crossed out and with a ≠ in their name.
    """
    import plotly.graph_objects as go

    largest = np.minimum(alignment.sizes.max(axis=1, initial=0), LARGEST_BIN) if len(alignment) else np.zeros(0, int)
    labels = [str(size) for size in range(1, LARGEST_BIN)] + [f"{LARGEST_BIN}+"]
    traces: list[Any] = []
    for code, unequal in [(code, marked) for code in range(len(KINDS)) for marked in (False, True)]:
        chosen = (alignment.kind_codes == code) & (alignment.unequal == unequal)
        counts = np.bincount(largest[chosen], minlength=LARGEST_BIN + 1)[1:]
        if not counts.any():
            continue
        style = KIND_STYLES[KINDS[code]]
        name, why = style.name, style.meaning
        pattern: dict[str, Any] = {"shape": style.pattern}
        if unequal:
            name, why = f"{UNEQUAL} {name}", UNEQUAL_MEANING
            pattern = {"shape": "x", "size": 5, "solidity": 0.5, "fgcolor": BLACK, "fillmode": "overlay"}
        traces.append(
            go.Bar(
                x=labels,
                y=counts,
                name=name,
                marker={"color": style.colour, "pattern": pattern},
                hovertemplate=f"%{{y}} × {name}, tokens on the larger side: %{{x}}<extra>{why}</extra>",
            )
        )
    fig = figure(traces, "Size of groups", height=340, barmode="stack")
    fig.update_xaxes(title_text="tokens on the larger side", type="category")
    fig.update_yaxes(title_text="groups", rangemode="tozero")
    return fig
