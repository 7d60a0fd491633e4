"""The DTW picture, three ways at once: costs and path in the middle, the tokens of both sides on its axes.

A window of at most 64 x 64 tokens around one group is readable token by token; beside it the whole matrix, binned to
at most 256 x 256. Where entropies are known, a strip along each axis shows them. Everything is one figure, because
the browser draws one in half the time of two. Plotly can't select cells of a heatmap, so an invisible scatter lies
over them: its points carry the group as `customdata[0]`, which is what a click gives back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.alignment.base import Alignment, CostSurface
from ctkd_core.alignment.opinions import group_of_tokens
from ctkd_core.errors import AlignmentError
from ctkd_core.figures.theme import SEQUENTIAL, escape, figure
from ctkd_core.figures.thinned import thinned
from ctkd_core.markup.colours import BLUE, GREEN, ORANGE, VERMILLION
from ctkd_core.markup.visible import shorten, visible_bytes
from ctkd_core.tokenizers.encoding import Encoding

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

MAX_WINDOW = 64
WINDOW = 40
MAX_BINS = 256
LABEL_CHARACTERS = 14
TITLES = {
    "local": "Local cost: what it costs to pair two tokens",
    "accumulated": "Accumulated cost: the cheapest way from the start to each cell",
}
# Shares of the figure's width and height: the window, the strips along it, the colour bar, the whole text.
WINDOW_X, STRIP_X, BAR_X, WHOLE_X = (0.0, 0.6), (0.605, 0.65), 0.66, (0.75, 1.0)
STRIP_Y = 0.1


def dtw_figure(alignment: Alignment, group: int | None = None, kind: str = "local", size: int = WINDOW) -> go.Figure:
    """Costs and path around `group` (None: the beginning), and the whole text at the right.

    Student tokens stand below, teacher tokens at the left; the text runs from the top left to the bottom right. With
    entropies (`Alignment.cost.student_entropy`, `.teacher_entropy`) the student's strip lies above the window and the
    teacher's at its right.

    kind: "local" or "accumulated", named in the title. size: tokens a side, at most 64. Raises AlignmentError for a
    method without a cost surface.
    """
    surface = surface_of(alignment)
    rows, columns = window_around(alignment, group, min(size, MAX_WINDOW))
    strips = _strips(surface, rows, columns)
    fig = figure(
        [*_window(alignment, group, kind, rows, columns), *_whole(alignment, kind), *strips],
        f"{TITLES[kind]} ({escape(surface.unit)})",
        height=200 + max(240, 15 * (columns.stop - columns.start)),
    )
    top = 1.0 - STRIP_Y * _has(strips, "student entropy")
    right = WINDOW_X[1] if _has(strips, "teacher entropy") else STRIP_X[1]
    _token_axis(fig.layout.xaxis, alignment.student, rows, "student")
    _token_axis(fig.layout.yaxis, alignment.teacher, columns, "teacher")
    fig.update_xaxes(tickangle=-60)
    fig.layout.xaxis.domain, fig.layout.yaxis.domain = (WINDOW_X[0], right), (0.0, top)
    fig.layout.yaxis.update(autorange=False, range=[columns.stop - 0.5, columns.start - 0.5])
    _whole_axes(fig, surface.shape, rows, columns)
    _strip_axes(fig, top, strips)
    return fig.update_layout(clickmode="event+select", dragmode="zoom", hovermode="closest", showlegend=False)


def dtw_table(alignment: Alignment, group: int | None = None, size: int = WINDOW) -> pd.DataFrame:
    """The path inside the window, cell by cell: the twin of the picture for those who can't see it.

    Columns: group, student, teacher (texts), student_token, teacher_token, local, accumulated and, where they are
    known, student_entropy and teacher_entropy in nats. Raises AlignmentError for a method without a cost surface.
    """
    import pandas as pd

    surface = surface_of(alignment)
    rows, columns = window_around(alignment, group, min(size, MAX_WINDOW))
    path = _path_inside(alignment, rows, columns)
    x, y = path[:, 0], path[:, 1]
    at = x - rows.start, y - columns.start
    owner = cell_groups(alignment, np.arange(rows.start, rows.stop), np.arange(columns.start, columns.stop))
    table = {
        "group": owner.reshape(rows.stop - rows.start, -1)[at],
        "student": [_label(alignment.student, i) for i in x.tolist()],
        "teacher": [_label(alignment.teacher, i) for i in y.tolist()],
        "student_token": x,
        "teacher_token": y,
        **{kind: _costs(surface, kind, rows, columns)[at] for kind in TITLES},
    }
    for side, tokens in (("student", x), ("teacher", y)):
        entropy = getattr(surface, f"{side}_entropy")
        if entropy is not None:
            table[f"{side}_entropy"] = entropy[tokens]
    return pd.DataFrame(table)


def _costs(surface: CostSurface, kind: str, rows: slice, columns: slice) -> NDArray[np.float32]:
    """Costs of the window, NaN where a stretch was searched in a band and they are too many to tell."""
    try:
        return np.asarray(surface.window(kind, rows, columns))
    except AlignmentError:
        return np.full((rows.stop - rows.start, columns.stop - columns.start), np.nan, dtype=np.float32)


def _window(alignment: Alignment, group: int | None, kind: str, rows: slice, columns: slice) -> list[Any]:
    """Traces of the window: costs, outlines of groups, the path, and the cells to click."""
    import plotly.graph_objects as go

    costs = surface_of(alignment).window(kind, rows, columns)
    x, y = np.arange(rows.start, rows.stop), np.arange(columns.start, columns.stop)
    bar = {"title": {"text": "cost", "side": "top"}, "thickness": 10, "outlinewidth": 0, "x": BAR_X, "len": 0.9}
    path = _path_inside(alignment, rows, columns)
    data = np.stack([cell_groups(alignment, x, y).astype(np.float32), costs.ravel()], axis=1)
    return [
        go.Heatmap(x=x, y=y, z=costs.T, colorscale=SEQUENTIAL, hoverinfo="skip", xgap=1, ygap=1, colorbar=bar),
        *_outlines(alignment, group, rows, columns),
        go.Scatter(
            x=path[:, 0],
            y=path[:, 1],
            mode="lines+markers",
            line={"color": VERMILLION, "width": 2},
            marker={"size": 5, "color": "white", "line": {"color": VERMILLION, "width": 1.5}},
            hoverinfo="skip",
            name="path",
        ),
        go.Scatter(
            x=np.repeat(x, len(y)).astype(np.float32),
            y=np.tile(y, len(x)).astype(np.float32),
            customdata=data,
            mode="markers",
            marker={"size": 14, "opacity": 0, "symbol": "square", "color": ORANGE},
            hovertemplate=(
                "student %{x}<br>teacher %{y}<br>cost %{customdata[1]:.3~f}<br>group %{customdata[0]}<extra></extra>"
            ),
            name="cells",
        ),
    ]


def _whole(alignment: Alignment, kind: str) -> list[Any]:
    """Traces of the whole text: binned costs and the path, whose points carry their group."""
    import plotly.graph_objects as go

    surface = surface_of(alignment)
    costs = surface.binned(kind, MAX_BINS, MAX_BINS)
    n, m = surface.shape
    x = (np.arange(costs.shape[0]) + 0.5) * n / max(1, costs.shape[0]) - 0.5
    y = (np.arange(costs.shape[1]) + 0.5) * m / max(1, costs.shape[1]) - 0.5
    at = thinned(len(alignment), MAX_BINS)
    middle = (alignment.groups[at][:, [0, 2]] + alignment.groups[at][:, [1, 3]] - 1) / 2
    axes = {"xaxis": "x2", "yaxis": "y2"}
    return [
        go.Heatmap(x=x, y=y, z=costs.T, colorscale=SEQUENTIAL, hoverinfo="skip", showscale=False, **axes),
        go.Scatter(
            x=middle[:, 0],
            y=middle[:, 1],
            customdata=at[:, None],
            mode="lines+markers",
            line={"color": VERMILLION, "width": 2},
            marker={"size": 6, "opacity": 0.01, "color": VERMILLION},
            hovertemplate="student token %{x:.0f}<br>teacher token %{y:.0f}<br>group %{customdata[0]}<extra></extra>",
            name="whole path",
            **axes,
        ),
    ]


def _whole_axes(fig: go.Figure, shape: tuple[int, int], rows: slice, columns: slice) -> None:
    """The picture of the whole text in the upper right, with a frame where the window looks."""
    n, m = shape
    bins = f" ({min(n, MAX_BINS)} x {min(m, MAX_BINS)} bins)" if max(n, m) > MAX_BINS else ""
    plain: dict[str, Any] = {"showgrid": False, "zeroline": False, "tickangle": 0, "nticks": 5}
    fig.update_layout(
        xaxis2=plain | {"domain": WHOLE_X, "anchor": "y2", "range": [-0.5, n - 0.5], "title": f"whole text{bins}"},
        yaxis2=plain | {"domain": (0.35, 1.0), "anchor": "x2", "range": [m - 0.5, -0.5]},
    )
    fig.add_shape(
        type="rect",
        xref="x2",
        yref="y2",
        x0=rows.start - 0.5,
        x1=rows.stop - 0.5,
        y0=columns.start - 0.5,
        y1=columns.stop - 0.5,
        line={"color": ORANGE, "width": 2, "dash": "dot"},
    )


def _strips(surface: CostSurface, rows: slice, columns: slice) -> list[Any]:
    """Bars of each known side's entropy along its axis."""
    import plotly.graph_objects as go

    bars = []
    for side, at, colour in (("student", rows, BLUE), ("teacher", columns, GREEN)):
        entropy = getattr(surface, f"{side}_entropy")
        if entropy is None:
            continue
        tokens, values = np.arange(at.start, at.stop), entropy[at]
        upright = side == "student"
        hover = "%{y:.2f}" if upright else "%{x:.2f}"
        bars.append(
            go.Bar(
                x=tokens if upright else values,
                y=values if upright else tokens,
                orientation="v" if upright else "h",
                customdata=getattr(surface, f"{side}_weights")[at],
                marker={"color": colour},
                hovertemplate=f"{side} entropy {hover} nats<br>weight %{{customdata:.3~f}}<extra></extra>",
                name=f"{side} entropy",
                xaxis="x" if upright else "x3",
                yaxis="y3" if upright else "y",
            )
        )
    return bars


def _strip_axes(fig: go.Figure, top: float, strips: list[Any]) -> None:
    bare: dict[str, Any] = {"showgrid": False, "zeroline": False, "nticks": 3, "tickfont": {"size": 9}, "tickangle": 0}
    if _has(strips, "student entropy"):
        fig.update_layout(yaxis3=bare | {"domain": (top + 0.01, 1.0), "anchor": "x", "rangemode": "tozero"})
    if _has(strips, "teacher entropy"):
        fig.update_layout(xaxis3=bare | {"domain": STRIP_X, "anchor": "y", "rangemode": "tozero"})


def _has(traces: list[Any], name: str) -> bool:
    return any(trace.name == name for trace in traces)


def window_around(alignment: Alignment, group: int | None, size: int) -> tuple[slice, slice]:
    """Student and teacher positions, at most `size` each, with `group` in the middle where the text allows."""
    if not len(alignment):
        return slice(0, 0), slice(0, 0)
    row = alignment.groups[min(group or 0, len(alignment) - 1)]
    return _around(row[0], row[1], len(alignment.student), size), _around(row[2], row[3], len(alignment.teacher), size)


def _around(start: int, end: int, count: int, size: int) -> slice:
    first = min(max(0, (int(start) + int(end) - size) // 2), max(0, count - size))
    return slice(first, min(count, first + size))


def surface_of(alignment: Alignment) -> CostSurface:
    """The costs that the method searched. Raises AlignmentError for a method without any."""
    if alignment.cost is None:
        raise AlignmentError(
            f"method {alignment.method!r} searches no path through costs; look at its group boundaries, or choose cdm "
            "or mined."
        )
    return alignment.cost


def path_of(alignment: Alignment) -> NDArray[np.int32]:
    """The path through these costs, int32 [k, 2]: student token, teacher token. Raises as `surface_of`."""
    surface_of(alignment)
    return alignment.pairs if alignment.pairs is not None else np.zeros((0, 2), dtype=np.int32)


def cell_groups(alignment: Alignment, x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.int64]:
    """The group of every cell, row by row; a cell of no group counts to its student's."""
    owner, for_teacher = (group_of_tokens(alignment, side) for side in ("student", "teacher"))
    group = np.where(owner[x] >= 0, owner[x], 0)[:, None] * np.ones(len(y), dtype=np.int64)
    return np.where(owner[x][:, None] < 0, for_teacher[y][None, :], group).ravel()


def _path_inside(alignment: Alignment, rows: slice, columns: slice) -> NDArray[np.int32]:
    """Pairs of the path in the window, int32 [k, 2]."""
    pairs = path_of(alignment)
    inside = (pairs[:, 0] >= rows.start) & (pairs[:, 0] < rows.stop)
    inside &= (pairs[:, 1] >= columns.start) & (pairs[:, 1] < columns.stop)
    return pairs[inside]


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
            )
        )
    return boxes


def _label(encoding: Encoding, token: int) -> str:
    return shorten(visible_bytes(encoding.token_bytes[token]), LABEL_CHARACTERS)


def _token_axis(axis: Any, encoding: Encoding, at: slice, side: str) -> None:
    tokens = range(at.start, at.stop)
    axis.update(
        tickmode="array",
        tickvals=list(tokens),
        ticktext=[escape(_label(encoding, i)) for i in tokens],
        tickfont={"size": 10, "family": "monospace"},
        title={"text": f"{side}: {escape(encoding.tokenizer)}", "font": {"size": 12}},
        showgrid=False,
        zeroline=False,
        range=[at.start - 0.5, at.stop - 0.5] if len(tokens) else None,
    )
