"""Pictures of a vocabulary map: its density, and a window in which single tokens can be read.

Plotly can't select cells of a heatmap, so nearly invisible points lie over filled ones: their positions are what a
click gives back. At most 64 x 64 of them: a point for each of 65,536 bins takes a browser three times as long to draw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.figures.theme import SEQUENTIAL, escape, figure
from ctkd_core.markup.colours import ORANGE, VERMILLION
from ctkd_core.tokenizers.display import token_text
from ctkd_core.vocabulary.density import Cells, Density, IdOrder, Window
from ctkd_core.vocabulary.projection import REASONS

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from ctkd_core.tokenizers.tokenizer import Tokenizer
    from ctkd_core.vocabulary.projection import Projection

LABEL_CHARACTERS = 14
MAX_POINTS = 32  # a side; each is an element of the page, and four thousand hold the browser for 0.3 s
MAX_SECTIONS = 9  # names of stretches that an axis has room for
CLASS_TITLES = {
    "digits_1": "1-digit numbers",
    "digits_2": "2-digit numbers",
    "digits_3": "3-digit numbers",
    "letters": "letters (a-z)",
    "punctuation": "punctuation",
    "whitespace": "whitespace",
    "multibyte": "other scripts",
    "special": "special tokens",
    "other": "mixed",
}
ORDER_TITLES = {"id": "by id", "class": "by class", "script": "by script", "length": "by length in bytes"}


def density_figure(
    density: Density, rows: IdOrder, columns: IdOrder, window: Window, pair: tuple[str, str], boxes: bool = False
) -> go.Figure:
    """The map in at most 256 x 256 bins on a logarithmic scale, student down, teacher across; a frame at `window`.

    `pair`: names of student and teacher; `boxes`: dragging draws a box, else it zooms. The points (see `clickable`)
    carry the number of entries of their bin as `customdata[0]`.
    """
    import plotly.graph_objects as go

    x, y = _centres(density.column_edges), _centres(density.row_edges)
    values = density.values
    shown = np.where(values > 0, np.log10(np.maximum(values, 1e-9)), np.nan).astype(np.float32)
    i, j = clickable(values)
    word = density.weight
    traces: list[Any] = [
        go.Heatmap(x=x, y=y, z=shown, colorscale=SEQUENTIAL, hoverinfo="skip", colorbar=_log_bar(shown, word)),
        go.Scatter(
            x=x[j],
            y=y[i],
            customdata=values[i, j].astype(np.float32)[:, None],
            mode="markers",
            marker={"size": 7, "opacity": 0.01, "symbol": "square", "color": ORANGE},
            selected={"marker": {"opacity": 0.01}},
            unselected={"marker": {"opacity": 0.01}},
            hovertemplate="student position %{y:.0f}<br>teacher position %{x:.0f}<br>%{customdata[0]:,.4~g} "
            f"{word}<extra></extra>",
            name="bins",
            showlegend=False,
        ),
    ]
    size = f"{values.shape[0]} x {values.shape[1]} bins"
    fig = figure(traces, f"{word.capitalize()} per bin, log colour, {size}", height=470)
    fig.add_shape(
        type="rect",
        x0=window.column - 0.5,
        x1=window.column + window.column_count - 0.5,
        y0=window.row - 0.5,
        y1=window.row + window.row_count - 0.5,
        line={"color": VERMILLION, "width": 2},
        fillcolor="rgba(213,94,0,0.15)",
    )
    _order_axis(fig.layout.xaxis, columns, f"teacher: {pair[1]}", flipped=False)
    _order_axis(fig.layout.yaxis, rows, f"student: {pair[0]}", flipped=True)
    return fig.update_layout(clickmode="event+select", dragmode="select" if boxes else "zoom", hovermode="closest")


def clickable(values: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the bins that get a point: the fullest of each filled one of at most 32 x 32 blocks."""
    n, m = values.shape
    if not values.size:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    height, width = max(1, -(-n // MAX_POINTS)), max(1, -(-m // MAX_POINTS))
    blocks = np.pad(values, ((0, -n % height), (0, -m % width)))
    blocks = blocks.reshape(-1, height, blocks.shape[1] // width, width).transpose(0, 2, 1, 3)
    flat = blocks.reshape(*blocks.shape[:2], height * width)
    best = flat.argmax(axis=2)
    i, j = np.nonzero(flat.max(axis=2))
    return i * height + best[i, j] // width, j * width + best[i, j] % width


def density_table(density: Density, rows: IdOrder, columns: IdOrder, most: int = 50) -> pd.DataFrame:
    """The fullest bins, the twin of `density_figure`.

    Columns: student_positions, teacher_positions ("first to last"), student_part, teacher_part (stretch of the order
    that holds the first position), and entries or mass.
    """
    import pandas as pd

    flat = density.values.ravel()
    top = np.argsort(-flat, kind="stable")[: min(most, int((flat > 0).sum()))]
    i, j = np.divmod(top, max(1, density.values.shape[1]))
    r, c = density.row_edges, density.column_edges
    return pd.DataFrame(
        {
            "student_positions": [f"{r[k]} to {r[k + 1] - 1}" for k in i.tolist()],
            "teacher_positions": [f"{c[k]} to {c[k + 1] - 1}" for k in j.tolist()],
            "student_part": [section_at(rows, int(r[k])) for k in i.tolist()],
            "teacher_part": [section_at(columns, int(c[k])) for k in j.tolist()],
            density.weight: flat[top],
        }
    )


def section_at(order: IdOrder, position: int) -> str:
    """Title of the stretch that holds a position, "" where an order has none."""
    name = ""
    for section, first in order.sections:
        if first > position:
            break
        name = section
    return CLASS_TITLES.get(name, name)


def window_figure(cells: Cells, student: Tokenizer, teacher: Tokenizer, token: int | None = None) -> go.Figure:
    """Single tokens: student tokens down, teacher tokens across, weight as colour; `token` (a student id) is framed.

    Points carry [student id, teacher id] as `customdata`; empty cells stay blank.
    """
    import plotly.graph_objects as go

    n, m = cells.weights.shape
    i, j = np.nonzero(cells.reasons >= 0)
    ids = np.stack([cells.row_ids[i], cells.column_ids[j]], axis=1).astype(np.int32)
    labels = [
        f"{_label(student, a)} → {_label(teacher, b)}<br>weight {w:.3g}, {REASONS[r]}<br>ids {a} → {b}"
        for (a, b), w, r in zip(ids.tolist(), cells.weights[i, j].tolist(), cells.reasons[i, j].tolist())
    ]
    traces: list[Any] = [
        go.Heatmap(
            x=np.arange(m, dtype=np.int16),
            y=np.arange(n, dtype=np.int16),
            z=cells.weights,
            zmin=0,
            zmax=1,
            colorscale=SEQUENTIAL,
            hoverinfo="skip",
            xgap=1,
            ygap=1,
            colorbar={"title": {"text": "weight", "side": "top"}, "thickness": 10, "outlinewidth": 0},
        ),
        go.Scatter(
            x=j.astype(np.int16),
            y=i.astype(np.int16),
            customdata=ids,
            text=labels,
            mode="markers",
            marker={"size": 14, "opacity": 0.01, "symbol": "square", "color": ORANGE},
            selected={"marker": {"opacity": 0.01}},
            unselected={"marker": {"opacity": 0.01}},
            hovertemplate="%{text}<extra></extra>",
            name="cells",
            showlegend=False,
        ),
    ]
    fig = figure(traces, f"{n} student tokens, {m} teacher tokens", height=190 + max(160, 15 * n))
    for k in np.flatnonzero(cells.row_ids == token).tolist() if token is not None else []:
        fig.add_shape(type="rect", x0=-0.5, x1=m - 0.5, y0=k - 0.5, y1=k + 0.5, line={"color": ORANGE, "width": 3})
    _token_axis(fig.layout.xaxis, teacher, cells.column_ids, "teacher")
    _token_axis(fig.layout.yaxis, student, cells.row_ids, "student")
    fig.update_xaxes(tickangle=-60, range=[-0.5, m - 0.5], side="top")
    fig.update_yaxes(autorange=False, range=[n - 0.5, -0.5])
    fig.update_layout(margin={"t": 130}, plot_bgcolor="rgba(128,128,128,0.10)")
    # With few columns cells are wide: a click near their edge still means them.
    return fig.update_layout(clickmode="event+select", dragmode="zoom", hovermode="closest", hoverdistance=60)


def window_table(cells: Cells, projection: Projection) -> pd.DataFrame:
    """The entries of `window_figure`: student_id, student, teacher_id, teacher, weight, reason."""
    import pandas as pd

    i, j = np.nonzero(cells.reasons >= 0)
    own, other = cells.row_ids[i].tolist(), cells.column_ids[j].tolist()
    return pd.DataFrame(
        {
            "student_id": own,
            "student": [token_text(projection.student, k) for k in own],
            "teacher_id": other,
            "teacher": [token_text(projection.teacher, k) for k in other],
            "weight": cells.weights[i, j],
            "reason": [REASONS[r] for r in cells.reasons[i, j].tolist()],
        }
    )


def _label(tokenizer: Tokenizer, token_id: int) -> str:
    return escape(token_text(tokenizer, token_id, LABEL_CHARACTERS))


def _centres(edges: NDArray[np.int64]) -> NDArray[np.float32]:
    return ((edges[:-1] + edges[1:] - 1) / 2).astype(np.float32)


def _log_bar(shown: NDArray[np.float32], word: str) -> dict[str, Any]:
    """A colour bar that says 1, 10, 100 instead of logarithms."""
    finite = shown[np.isfinite(shown)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    powers = np.arange(np.floor(low), np.ceil(high) + 1)
    powers = powers[(powers >= low - 1e-6) & (powers <= high + 1e-6)]
    ticks = powers.tolist() or [low]
    return {
        "title": {"text": word, "side": "top"},
        "thickness": 10,
        "outlinewidth": 0,
        "tickvals": ticks,
        "ticktext": [f"{10**tick:,.4g}" for tick in ticks],
    }


def _order_axis(axis: Any, order: IdOrder, title: str, flipped: bool) -> None:
    n = max(1, len(order.ids))
    axis.update(
        title={"text": f"{escape(title)} {ORDER_TITLES[order.by]}", "font": {"size": 12}},
        showgrid=False,
        zeroline=False,
        range=[n - 0.5, -0.5] if flipped else [-0.5, n - 0.5],
        constrain="domain",
    )
    if not order.sections:
        return
    ends = [first for _, first in order.sections[1:]] + [n]
    stretches = [(name, first, end) for (name, first), end in zip(order.sections, ends)]
    wide = sorted(stretches, key=lambda s: s[1] - s[2])[:MAX_SECTIONS]
    # Names closer than this would be written over each other.
    kept: list[tuple[str, float]] = []
    for name, first, end in wide:
        middle = (first + end - 1) / 2
        if all(abs(middle - other) > n / 22 for _, other in kept):
            kept.append((name, middle))
    axis.update(
        tickmode="array",
        tickvals=[middle for _, middle in kept],
        ticktext=[escape(CLASS_TITLES.get(name, name)) for name, _ in kept],
        tickfont={"size": 10},
    )


def _token_axis(axis: Any, tokenizer: Tokenizer, ids: NDArray[np.int64], side: str) -> None:
    axis.update(
        tickmode="array",
        tickvals=list(range(len(ids))),
        ticktext=[_label(tokenizer, k) for k in ids.tolist()],
        tickfont={"size": 10, "family": "monospace"},
        title={"text": f"{side}: {escape(tokenizer.name)}", "font": {"size": 12}},
        showgrid=False,
        zeroline=False,
    )
