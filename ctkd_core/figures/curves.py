"""Curves of runs: loss and bits per byte over steps, at most 2,000 points a trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.alignment.kinds import KIND_STYLES, KINDS
from ctkd_core.figures.theme import DASHES, escape, figure
from ctkd_core.figures.vocabulary import CLASS_TITLES
from ctkd_core.markup.colours import CATEGORICAL, GREY
from ctkd_core.markup.curves import downsample
from ctkd_core.vocabulary.classes import CLASSES

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

MAX_POINTS = 2000


def downsample_values(values: Sequence[float], most: int) -> list[float]:
    """At most `most` of the values, for a sparkline."""
    if not values:
        return []
    y = np.asarray(values, dtype=np.float64)
    return downsample(np.arange(len(y)), y, most)[1].tolist()


def training_curves(
    runs: Mapping[str, pd.DataFrame], column: str = "loss", title: str = "Loss", log: bool = False, height: int = 320
) -> go.Figure:
    """One line a run, `column` of its training rows over steps; runs differ in colour and dash.

    `runs`: label -> `Run.metrics()` (columns step, kind and `column`).
    """
    import plotly.graph_objects as go

    traces: list[Any] = []
    for k, (label, rows) in enumerate(runs.items()):
        x, y = _points(rows, "train", column)
        x, y = downsample(x, y, MAX_POINTS)
        traces.append(
            go.Scatter(
                x=x,
                y=y,
                mode="lines+markers" if len(x) < 60 else "lines",
                name=escape(label),
                line={"color": CATEGORICAL[k % len(CATEGORICAL)], "width": 2, "dash": DASHES[k % len(DASHES)]},
                marker={"size": 4},
                hovertemplate="step %{x}: %{y:.4g}<extra>" + escape(label) + "</extra>",
            )
        )
    return _finish(traces, title, height, log)


def evaluation_curves(runs: Mapping[str, pd.DataFrame], teacher: float | None = None, height: int = 320) -> go.Figure:
    """Bits per byte on held-out text, one marked line a run; the teacher as a dotted level."""
    import plotly.graph_objects as go

    traces: list[Any] = []
    last = 1.0
    for k, (label, rows) in enumerate(runs.items()):
        x, y = downsample(*_points(rows, "eval", "bits_per_byte"), MAX_POINTS)
        last = max(last, float(x.max(initial=0)))
        colour = CATEGORICAL[k % len(CATEGORICAL)]
        traces.append(
            go.Scatter(
                x=x,
                y=y,
                mode="lines+markers",
                name=escape(label),
                line={"color": colour, "width": 2, "dash": DASHES[k % len(DASHES)]},
                marker={"size": 9, "symbol": ("circle", "square", "diamond", "triangle-up", "x")[k % 5]},
                hovertemplate="step %{x}: %{y:.3f} bits per byte<extra>" + escape(label) + "</extra>",
            )
        )
    if teacher is not None:
        traces.append(
            go.Scatter(
                x=[0, last],
                y=[teacher, teacher],
                mode="lines",
                line={"color": GREY, "dash": "dot", "width": 2},
                name="teacher",
                hovertemplate=f"teacher {teacher:.3f} bits per byte<extra></extra>",
            )
        )
    return _finish(traces, "Bits per byte on held-out text (lower is better)", height, False)


def kind_curves(rows: pd.DataFrame, height: int = 320) -> go.Figure:
    """Where the loss comes from: the share of each kind of group over steps (columns `by_kind.<kind>`).

    Lines take the colours of the kinds and their dashes the borders'. Steps without any group count as 0.
    """
    dashes = {"solid": "solid", "dotted": "dot", "dashed": "dash", "double": "longdash"}
    lines = {
        f"by_kind.{kind}": Line(KIND_STYLES[kind].name, KIND_STYLES[kind].colour, dashes[KIND_STYLES[kind].border])
        for kind in KINDS
        if f"by_kind.{kind}" in rows
    }
    return _share_curves(rows, lines, "Share of the loss by kind of group", height)


def class_curves(rows: pd.DataFrame, height: int = 320) -> go.Figure:
    """Where the loss comes from: the share of each class of token over steps (columns `by_class.<class>`)."""
    lines = {
        f"by_class.{name}": Line(CLASS_TITLES[name], CATEGORICAL[k % len(CATEGORICAL)], DASHES[k % len(DASHES)])
        for k, name in enumerate(CLASSES)
        if f"by_class.{name}" in rows
    }
    return _share_curves(rows, lines, "Share of the loss by class of token", height)


@dataclass(frozen=True)
class Line:
    """How one line of a figure looks: its name, colour and dash."""

    name: str
    colour: str
    dash: str


def _share_curves(rows: pd.DataFrame, lines: Mapping[str, Line], title: str, height: int) -> go.Figure:
    """Each column's share of the sum of all these columns over steps; `lines`: column -> its line."""
    import plotly.graph_objects as go

    table = rows[rows["kind"] == "train"] if len(rows) else rows
    parts = table[list(lines)].fillna(0.0).to_numpy(dtype=np.float64)
    total = parts.sum(axis=1, keepdims=True)
    shares = np.divide(parts, total, out=np.zeros_like(parts), where=total > 0)
    traces: list[Any] = []
    for k, line in enumerate(lines.values()):
        x, y = downsample(table["step"].to_numpy(dtype=np.float64), shares[:, k], MAX_POINTS)
        traces.append(
            go.Scatter(
                x=x,
                y=y,
                mode="lines",
                name=line.name,
                line={"color": line.colour, "width": 2, "dash": line.dash},
                hovertemplate="step %{x}: %{y:.1%}<extra>" + line.name + "</extra>",
            )
        )
    fig = _finish(traces, title, height, False)
    return fig.update_yaxes(range=[0, 1.02], tickformat=".0%")


def _points(rows: pd.DataFrame, kind: str, column: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if not len(rows) or column not in rows or "kind" not in rows:
        return np.zeros(0), np.zeros(0)
    chosen = rows[(rows["kind"] == kind) & rows[column].notna()]
    return chosen["step"].to_numpy(dtype=np.float64), chosen[column].to_numpy(dtype=np.float64)


def _finish(traces: list[Any], title: str, height: int, log: bool) -> go.Figure:
    fig = figure(traces, title, height=height, showlegend=len(traces) > 1)
    fig.update_xaxes(title_text="step", rangemode="tozero")
    fig.update_yaxes(type="log" if log else "linear")
    return fig.update_layout(hovermode="x unified" if len(traces) > 1 else "closest")
