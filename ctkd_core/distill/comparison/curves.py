"""Curves of runs over what they spent: steps, learnt tokens, seconds of training, or joules where a run noted them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.distill.comparison.statistics import LEVEL
from ctkd_core.distill.config_file import flat
from ctkd_core.distill.headline import number

AXES = {"step": "step", "tokens": "learnt tokens", "seconds": "seconds of training", "joules": "joules"}
GRID = 200  # points on which curves of different x are averaged

Line = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Band:
    """Several runs as one curve, float64 [n] each: mean, and the 95 % interval over runs (equal to it for one run)."""

    x: NDArray[np.float64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    runs: int


def known_axes(runs: Iterable[Sequence[Mapping[str, Any]]]) -> list[str]:
    """The axes over which the curves of all these runs (their rows) can be drawn."""
    lists = [[row for row in rows if row.get("kind") == "train"] for rows in runs]
    needs = {"step": (), "tokens": ("tokens_per_second", "seconds"), "seconds": ("seconds",), "joules": ("joules",)}
    return [
        axis
        for axis, keys in needs.items()
        if all(number(row.get(key)) is not None for rows in lists for row in rows for key in keys)
    ]


def line_of(rows: Sequence[Mapping[str, Any]], column: str, axis: str = "step", kind: str = "train") -> Line:
    """x and y, float64 [n], of a column of one run's rows; terms and such have dotted names.

    What a step spent counts from its end, so a look at step s stands at what the first s steps spent.
    """
    spent = {0: 0.0}
    total = 0.0
    for row in rows:
        if row.get("kind") == "train":
            total += _spent(row, axis)
            spent[int(row["step"])] = total
    points = []
    for row in rows:
        if row.get("kind") != kind:
            continue
        value = number(flat(dict(row)).get(column))
        step = int(row["step"])
        at = float(step) if axis == "step" else spent.get(step)
        if value is not None and at is not None:
            points.append((at, value))
    found = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def smoothed(y: NDArray[np.float64], weight: float) -> NDArray[np.float64]:
    """Exponential moving average, float64 [n]: `weight` (0 to below 1) is that of the past; unbiased at the start."""
    if weight <= 0.0 or not len(y):
        return y
    import pandas as pd

    return pd.Series(y).ewm(alpha=1.0 - weight, adjust=True).mean().to_numpy(dtype=np.float64)


def band(lines: Sequence[Line], level: float = LEVEL) -> Band | None:
    """Several curves as one, over the x that all of them have; None when nothing is shared."""
    lines = [(x, y) for x, y in lines if len(x)]
    if not lines:
        return None
    first = lines[0][0]
    if all(len(x) == len(first) and np.array_equal(x, first) for x, _ in lines):
        x = first
    else:
        low, high = max(float(x[0]) for x, _ in lines), min(float(x[-1]) for x, _ in lines)
        if low > high:
            return None
        x = np.linspace(low, high, GRID)
    values = np.stack([np.interp(x, *line) for line in lines])
    mean, half = values.mean(axis=0), np.zeros_like(x)
    if len(values) > 1:
        from scipy.stats import t

        half = float(t.ppf((1 + level) / 2, len(values) - 1)) * values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return Band(x, mean, mean - half, mean + half, len(values))


def _spent(row: Mapping[str, Any], axis: str) -> float:
    seconds = number(row.get("seconds")) or 0.0
    if axis == "tokens":
        return seconds * (number(row.get("tokens_per_second")) or 0.0)
    return seconds if axis == "seconds" else number(row.get("joules")) or 0.0
