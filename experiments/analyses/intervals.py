"""Bootstrap intervals over texts, and verdicts that follow from them by rule.

A figure is a ratio of two counts added over texts, say right rows / rows. Texts, not rows, are drawn anew, because rows
of one text depend on one another; the draws are seeded and the same for all figures of a pair, so that differences of
two figures are paired. Intervals hold 95 % of the draws. Source: Efron 1979 (percentile bootstrap).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DRAWS, SEED, LEVEL = 2000, 0, 0.95
REPRODUCED, CONTRADICTED, UNDECIDED = "reproduced", "contradicted", "undecided"
MOST = 2 / 3  # share of the pairs that makes "most"


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval; all NaN where there is nothing to divide by."""

    value: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 where the whole interval is above 0, -1 where it is below, else 0."""
        return int(self.low > 0) - int(self.high < 0)


def draws(n_texts: int, count: int = DRAWS, seed: int = SEED) -> NDArray[np.int64]:
    """int64 [count, n_texts]: how often each text is in each draw."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_texts, np.full(n_texts, 1 / n_texts), size=count) if n_texts else np.zeros((count, 0), int)


def ratio(parts: Sequence[float], wholes: Sequence[float]) -> Interval:
    """sum(parts) / sum(wholes) over texts [n]."""
    return _interval(*_drawn(parts, wholes))


def difference(parts: Sequence[float], wholes: Sequence[float], other_parts: Sequence[float],
               other_wholes: Sequence[float]) -> Interval:  # fmt: skip
    """One ratio minus another of the same texts [n]."""
    (value, drawn), (other, other_drawn) = _drawn(parts, wholes), _drawn(other_parts, other_wholes)
    return _interval(value - other, drawn - other_drawn)


def verdict(signs: Sequence[int]) -> str:
    """What pairs say together of "this is larger", from the sign of each pair's difference (see `Interval.sign`).

    reproduced    on most pairs (two thirds) the interval lies above 0, on none below
    contradicted  on most pairs it lies below, on none above
    undecided     anything else
    """
    up, down, most = signs.count(1), signs.count(-1), MOST * len(signs)
    if signs and up >= most and not down:
        return REPRODUCED
    if signs and down >= most and not up:
        return CONTRADICTED
    return UNDECIDED


def counted(signs: Sequence[int]) -> str:
    """The signs in words: "on 6 of 8 pairs, the opposite on 1, open on 1"."""
    return (
        f"on {signs.count(1)} of {len(signs)} pairs, the opposite on {signs.count(-1)}, "
        f"within the intervals on {signs.count(0)}"
    )


def percent(interval: Interval) -> str:
    """ "88.0 (85.1 to 90.2)", in percent; "-" for nothing."""
    if not np.isfinite(interval.value):
        return "-"
    return f"{100 * interval.value:.1f} ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def _drawn(parts: Sequence[float], wholes: Sequence[float]) -> tuple[float, NDArray[np.float64]]:
    part, whole = np.asarray(parts, dtype=np.float64), np.asarray(wholes, dtype=np.float64)
    times = draws(len(part))
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.divide(part.sum(), whole.sum())), (times @ part) / (times @ whole)


def _interval(value: float, drawn: NDArray[np.float64]) -> Interval:
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or not len(drawn):
        return Interval(float("nan"), float("nan"), float("nan"))
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))
