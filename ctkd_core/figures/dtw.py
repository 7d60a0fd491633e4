"""The DTW picture: a path over its cost matrix, with tokens on both axes.

A window of at most 64 x 64 tokens around one group is readable token by token; the overview bins the whole matrix to
at most 256 x 256. Plotly can't select cells of a heatmap, so an invisible scatter lies over them: its points carry
the group as `customdata[0]`, which is what a click gives back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.alignment.base import Alignment
from ctkd_core.encoding import Encoding
from ctkd_core.errors import AlignmentError
from ctkd_core.figures.theme import ORANGE, SEQUENTIAL, VERMILLION, escape, figure
from ctkd_core.figures.visible import shorten, visible_bytes

if TYPE_CHECKING:
    import plotly.graph_objects as go

MAX_WINDOW = 64
WINDOW = 40
MAX_BINS = 256
LABEL_CHARACTERS = 14
COLOUR_BAR: dict[str, Any] = {"title": {"text": "cost", "side": "top"}, "thickness": 10, "outlinewidth": 0}
TITLES = {
    "local": "Local cost: what it costs to pair two tokens",
    "accumulated": "Accumulated cost: the cheapest way from the start to each cell",
}


def dtw_window(alignment: Alignment, group: int | None = None, kind: str = "local", size: int = WINDOW) -> go.Figure:
    """Costs and path around `group` (None: the beginning), student tokens below, teacher tokens at the left.

    The text runs from the top left to the bottom right.

    kind: "local" or "accumulated", named in the title. size: tokens a side, at most 64. Raises AlignmentError for a
    method without a cost surface.
    """
    import plotly.graph_objects as go

    surface = _surface(alignment)
    size = min(size, MAX_WINDOW)
    rows, columns = window_around(alignment, group, size)
    costs = surface.window(kind, rows, columns)
    x, y = np.arange(rows.start, rows.stop), np.arange(columns.start, columns.stop)
    cells = _cells(alignment, x, y, costs)
    traces: list[Any] = [
        go.Heatmap(x=x, y=y, z=costs.T, colorscale=SEQUENTIAL, hoverinfo="skip", xgap=1, ygap=1, colorbar=COLOUR_BAR),
        *_outlines(alignment, group, rows, columns),
        _path(alignment, rows, columns),
        go.Scattergl(
            x=cells["x"],
            y=cells["y"],
            customdata=cells["data"],
            mode="markers",
            marker={"size": 16, "opacity": 0.01, "symbol": "square", "color": ORANGE},
            hovertemplate=(
                "student %{x}<br>teacher %{y}<br>cost %{customdata[1]:.3~f}<br>group %{customdata[0]}<extra></extra>"
            ),
            name="cells",
            showlegend=False,
        ),
    ]
    fig = figure(traces, f"{TITLES[kind]} ({escape(surface.unit)})", height=170 + max(240, 15 * len(y)))
    _token_axis(fig.layout.xaxis, alignment.student, x, "student")
    _token_axis(fig.layout.yaxis, alignment.teacher, y, "teacher")
    fig.update_xaxes(tickangle=-60)
    fig.update_yaxes(autorange=False, range=[columns.stop - 0.5, columns.start - 0.5])
    return fig.update_layout(clickmode="event+select", dragmode="zoom", hovermode="closest")


def dtw_overview(alignment: Alignment, group: int | None = None, kind: str = "local", size: int = WINDOW) -> go.Figure:
    """The whole matrix in at most 256 x 256 bins, the path, and a frame where `dtw_window` looks.

    Raises AlignmentError for a method without a cost surface.
    """
    import plotly.graph_objects as go

    surface = _surface(alignment)
    costs = surface.binned(kind, MAX_BINS, MAX_BINS)
    n, m = surface.shape
    x = (np.arange(costs.shape[0]) + 0.5) * n / max(1, costs.shape[0]) - 0.5
    y = (np.arange(costs.shape[1]) + 0.5) * m / max(1, costs.shape[1]) - 0.5
    rows, columns = window_around(alignment, group, min(size, MAX_WINDOW))
    at = _thinned(len(alignment), MAX_BINS)
    middle = (alignment.groups[at][:, [0, 2]] + alignment.groups[at][:, [1, 3]] - 1) / 2
    traces: list[Any] = [
        go.Heatmap(x=x, y=y, z=costs.T, colorscale=SEQUENTIAL, hoverinfo="skip", showscale=False),
        go.Scatter(
            x=middle[:, 0],
            y=middle[:, 1],
            customdata=at[:, None],
            mode="lines+markers",
            line={"color": VERMILLION, "width": 2},
            marker={"size": 6, "opacity": 0.01, "color": VERMILLION},
            hovertemplate="student token %{x:.0f}<br>teacher token %{y:.0f}<br>group %{customdata[0]}<extra></extra>",
            name="path",
            showlegend=False,
        ),
    ]
    title = "Whole text" + (f", {costs.shape[0]} x {costs.shape[1]} bins" if costs.shape != (n, m) else "")
    fig = figure(traces, f"{title} · {TITLES[kind].split(':')[0].lower()}", height=380)
    fig.add_shape(
        type="rect",
        x0=rows.start - 0.5,
        x1=rows.stop - 0.5,
        y0=columns.start - 0.5,
        y1=columns.stop - 0.5,
        line={"color": ORANGE, "width": 2, "dash": "dot"},
    )
    fig.update_xaxes(title_text="student token", showgrid=False, range=[-0.5, n - 0.5])
    fig.update_yaxes(title_text="teacher token", showgrid=False, range=[m - 0.5, -0.5])
    return fig.update_layout(clickmode="event+select", hovermode="closest")


def window_around(alignment: Alignment, group: int | None, size: int) -> tuple[slice, slice]:
    """Student and teacher positions, at most `size` each, with `group` in the middle where the text allows."""
    if not len(alignment):
        return slice(0, 0), slice(0, 0)
    row = alignment.groups[min(group or 0, len(alignment) - 1)]
    return _around(row[0], row[1], len(alignment.student), size), _around(row[2], row[3], len(alignment.teacher), size)


def _around(start: int, end: int, count: int, size: int) -> slice:
    first = min(max(0, (int(start) + int(end) - size) // 2), max(0, count - size))
    return slice(first, min(count, first + size))


def _surface(alignment: Alignment) -> Any:
    if alignment.cost is None:
        raise AlignmentError(
            f"method {alignment.method!r} searches no cost matrix; look at its group boundaries, or choose cdm."
        )
    return alignment.cost


def _cells(
    alignment: Alignment, x: NDArray[np.int64], y: NDArray[np.int64], costs: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    """Every cell of the window: positions, and its group and cost; a cell of no group counts to its student's."""
    owner = np.full(len(alignment.student), -1, dtype=np.int64)
    for_teacher = np.full(len(alignment.teacher), -1, dtype=np.int64)
    sizes = alignment.sizes
    owner[_members(alignment.groups[:, :2])] = np.repeat(np.arange(len(alignment)), sizes[:, 0])
    for_teacher[_members(alignment.groups[:, 2:])] = np.repeat(np.arange(len(alignment)), sizes[:, 1])
    group = np.where(owner[x] >= 0, owner[x], 0)[:, None] * np.ones(len(y), dtype=np.int64)
    group = np.where(owner[x][:, None] < 0, for_teacher[y][None, :], group)
    data = np.stack([group.ravel().astype(np.float32), costs.ravel()], axis=1)
    return {
        "x": np.repeat(x, len(y)).astype(np.float32),
        "y": np.tile(y, len(x)).astype(np.float32),
        "data": data.astype(np.float32),
    }


def _members(ranges: NDArray[np.int32]) -> NDArray[np.int64]:
    """All positions of half-open ranges [G, 2], one after the other."""
    lengths = (ranges[:, 1] - ranges[:, 0]).astype(np.int64)
    first = np.cumsum(lengths) - lengths
    return np.arange(int(lengths.sum())) - np.repeat(first, lengths) + np.repeat(ranges[:, 0].astype(np.int64), lengths)


def _path(alignment: Alignment, rows: slice, columns: slice) -> go.Scatter:
    import plotly.graph_objects as go

    pairs = alignment.pairs if alignment.pairs is not None else np.zeros((0, 2), dtype=np.int32)
    inside = (pairs[:, 0] >= rows.start) & (pairs[:, 0] < rows.stop)
    inside &= (pairs[:, 1] >= columns.start) & (pairs[:, 1] < columns.stop)
    path = pairs[inside]
    return go.Scatter(
        x=path[:, 0],
        y=path[:, 1],
        mode="lines+markers",
        line={"color": VERMILLION, "width": 2},
        marker={"size": 5, "color": "white", "line": {"color": VERMILLION, "width": 1.5}},
        hoverinfo="skip",
        name="path",
        showlegend=False,
    )


def _outlines(alignment: Alignment, group: int | None, rows: slice, columns: slice) -> list[Any]:
    """Frames of the groups in the window, the pinned one thicker."""
    import plotly.graph_objects as go

    g = alignment.groups
    seen = (g[:, 0] < rows.stop) & (g[:, 1] > rows.start) & (g[:, 2] < columns.stop) & (g[:, 3] > columns.start)
    pinned = np.zeros(len(g), dtype=np.bool_)
    if group is not None:
        pinned[group : group + 1] = True
    boxes = []
    for chosen, colour, width, name in ((seen & ~pinned, "white", 1, "groups"), (seen & pinned, ORANGE, 4, "pinned")):
        s0, s1, t0, t1 = (g[chosen].T - 0.5).astype(np.float64)
        gap = np.full(len(s0), np.nan)
        boxes.append(
            go.Scatter(
                x=np.stack([s0, s1, s1, s0, s0, gap], axis=1).ravel(),
                y=np.stack([t0, t0, t1, t1, t0, gap], axis=1).ravel(),
                mode="lines",
                line={"color": colour, "width": width},
                hoverinfo="skip",
                name=name,
                showlegend=False,
            )
        )
    return boxes


def _token_axis(axis: Any, encoding: Encoding, at: NDArray[np.int64], side: str) -> None:
    texts = [escape(shorten(visible_bytes(encoding.token_bytes[i]), LABEL_CHARACTERS)) for i in at.tolist()]
    axis.update(
        tickmode="array",
        tickvals=at.tolist(),
        ticktext=texts,
        tickfont={"size": 10, "family": "monospace"},
        title={"text": f"{side}: {escape(encoding.tokenizer)}", "font": {"size": 12}},
        showgrid=False,
        zeroline=False,
        range=[float(at[0]) - 0.5, float(at[-1]) + 0.5] if len(at) else None,
    )


def _thinned(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` of `count` positions, first and last among them."""
    return np.arange(count) if count <= most else np.unique(np.linspace(0, count - 1, most).astype(np.int64))
