"""Curves as inline SVG, and curves of few points: what a run looks like without a drawing library."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.markup.visible import one_line, shorten

WIDTH, HEIGHT = 380, 170
LEFT, RIGHT, TOP, BOTTOM = 66, 10, 26, 24
SIZE, WIDE, ROW = 11, 6.5, 15  # of letters, and of a line of labels; WIDE is what a letter takes, bold ones too
MOST_LABEL = 50  # characters of a label, so that a line holds one
MAX_POINTS = 300  # of one curve in a block
MARKED = 40  # up to so many points are marked each


@dataclass(frozen=True, eq=False)
class Curve:
    """One line: x and y float [n] (NaN and infinities of y are left out), a label, a colour and an SVG dash pattern.

    low, high  float [n]: the edges of a band around the line, or None
    """

    label: str
    x: NDArray[Any]
    y: NDArray[Any]
    colour: str
    dash: str = ""
    low: NDArray[Any] | None = None
    high: NDArray[Any] | None = None


def downsample(x: NDArray[Any], y: NDArray[Any], most: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """At most `most` points of a curve: of each stretch the lowest and the highest, so that spikes stay.

    First and last point are kept.
    """
    count = len(x)
    if count <= most:
        return x, y
    edges = np.linspace(0, count, (most - 2) // 2 + 1).astype(np.int64)
    safe = np.where(np.isfinite(y), y, 0.0)
    kept = {0, count - 1}
    for a, b in itertools.pairwise(edges):
        kept.add(int(a + np.argmin(safe[a:b])))
        kept.add(int(a + np.argmax(safe[a:b])))
    at = np.array(sorted(kept))
    return x[at], y[at]


def curves_svg(title: str, curves: Sequence[Curve], unit: str = "step") -> str:
    """Curves over `unit` with their lowest and highest value beside the axes; "" when no point can be drawn.

    Bands reach as far as the lines do: what of them lies above or below is cut off. Labels stand beside the title, or
    in lines below the picture where there is no room for them.
    """
    drawn = [(curve, *_finite(curve)) for curve in curves]
    drawn = [(curve, x, y) for curve, x, y in drawn if len(x)]
    if not drawn:
        return ""
    low, high = min(float(y.min()) for _, _, y in drawn), max(float(y.max()) for _, _, y in drawn)
    first, last = min(float(x.min()) for _, x, _ in drawn), max(float(x.max()) for _, x, _ in drawn)
    parts = [f'<text x="0" y="13" font-weight="600">{_safe(title)}</text>', *_axes(low, high, first, last, unit)]
    parts += [_band(curve, (low, high), (first, last)) for curve, _, _ in drawn]
    for curve, x, y in drawn:
        at_x = LEFT + (WIDTH - LEFT - RIGHT) * (x - first) / ((last - first) or 1.0)
        at_y = TOP + (HEIGHT - TOP - BOTTOM) * (0.5 if high == low else (high - y) / (high - low))
        parts.append(_line(curve, at_x, np.broadcast_to(at_y, at_x.shape)))
    labels, rows = _labels(title, [curve for curve, _, _ in drawn] if len(drawn) > 1 else [])
    parts += labels
    height = HEIGHT + ROW * rows
    spoken = "; ".join(f"{curve.label} from {y[0]:.4g} to {y[-1]:.4g}" for curve, _, y in drawn)
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" '
        f'aria-label="{_safe(f"{title}: {spoken}")}" font-family="system-ui,sans-serif" font-size="{SIZE}" '
        f'fill="currentColor">{"".join(parts)}</svg>'
    )


def _labels(title: str, curves: Sequence[Curve]) -> tuple[list[str], int]:
    """The labels of curves as text, and how many lines of them lie below the picture."""
    shown = [(escape(curve.colour), shorten(one_line(curve.label), MOST_LABEL)) for curve in curves if curve.label]
    if not shown:
        return [], 0
    lines: list[list[tuple[str, str]]] = [[]]
    for colour, label in shown:
        if lines[-1] and _taken([*lines[-1], (colour, label)]) > WIDTH:
            lines.append([])
        lines[-1].append((colour, label))
    if len(lines) == 1 and WIDE * len(one_line(title)) + _taken(lines[0]) <= WIDTH - RIGHT:
        return [_line_of_labels(lines[0], f'x="{WIDTH - RIGHT}" y="13" text-anchor="end"')], 0
    below = [_line_of_labels(line, f'x="0" y="{HEIGHT + ROW * k + SIZE}"') for k, line in enumerate(lines)]
    return below, len(below)


def _taken(labels: Sequence[tuple[str, str]]) -> float:
    return WIDE * sum(len(label) + 4 for _, label in labels)


def _line_of_labels(labels: Sequence[tuple[str, str]], place: str) -> str:
    spans = "".join(f'<tspan fill="{colour}">■</tspan> {_safe(label)}  ' for colour, label in labels)
    return f'<text {place} xml:space="preserve">{spans}</text>'


def _finite(curve: Curve) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.asarray(curve.x, dtype=np.float64), np.asarray(curve.y, dtype=np.float64)
    kept = np.isfinite(x) & np.isfinite(y)
    return downsample(x[kept], y[kept], MAX_POINTS)


def _band(curve: Curve, values: tuple[float, float], span: tuple[float, float]) -> str:
    if curve.low is None or curve.high is None or values[0] == values[1]:
        return ""
    edges = []
    for side in (curve.low, curve.high):
        x, y = _finite(Curve("", curve.x, side, ""))
        at_x = LEFT + (WIDTH - LEFT - RIGHT) * (x - span[0]) / ((span[1] - span[0]) or 1.0)
        at_y = TOP + (HEIGHT - TOP - BOTTOM) * (values[1] - np.clip(y, *values)) / (values[1] - values[0])
        edges.append([f"{a:.1f},{b:.1f}" for a, b in zip(at_x.tolist(), at_y.tolist())])
    points = " ".join([*edges[0], *reversed(edges[1])])
    return f'<polygon points="{points}" fill="{escape(curve.colour)}" fill-opacity="0.15" stroke="none"/>'


def _axes(low: float, high: float, first: float, last: float, unit: str) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    return [
        f'<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="currentColor" stroke-opacity="0.5"/>',
        f'<text x="{LEFT - 5}" y="{TOP + 8}" text-anchor="end">{high:.4g}</text>',
        *([f'<text x="{LEFT - 5}" y="{bottom}" text-anchor="end">{low:.4g}</text>'] if low < high else []),
        f'<text x="{LEFT}" y="{HEIGHT - 8}">{first:g}</text>',
        f'<text x="{right}" y="{HEIGHT - 8}" text-anchor="end">{_safe(unit)} {last:g}</text>',
    ]


def _line(curve: Curve, x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    points = [f"{a:.1f},{b:.1f}" for a, b in zip(x.tolist(), y.tolist())]
    colour = escape(curve.colour)
    dash = f' stroke-dasharray="{escape(curve.dash)}"' if curve.dash else ""
    line = f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'
    if len(points) > MARKED or curve.dash:
        return line
    marks = (f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5" fill="{colour}"/>' for a, b in zip(x.tolist(), y.tolist()))
    return line + "".join(marks)


def _safe(label: str) -> str:
    return escape(one_line(label))
