"""What a few seeds allow to say: means with intervals, paired differences, and how likely an order is chance.

Intervals are Student's: mean ± t(n - 1) * s / sqrt(n), for one kind of runs and for the differences of two kinds at
equal seeds. They take the values of the seeds for normally distributed; with one seed there is none.

"The probability that it is chance" is that of a sign-flip (paired permutation) test of the differences at equal seeds:
if both kinds were equally good, each difference could as well have the other sign, so it counts how many of the 2^n
choices of signs give a mean at least as far from 0, on either side. It assumes nothing about the distribution, and
can't fall below 2 / 2^n: three seeds can't bring it below 0.25; six are needed for 0.05. Where several kinds are
compared with one baseline, Holm's correction is given beside it. Source: Fisher 1935; Holm 1979.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

LEVEL = 0.95
MOST_EXACT = 14  # differences up to which all signs are tried; beyond, DRAWN of them are drawn
DRAWN = 20_000


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds. `low` and `high`: the 95 % interval; None, like `deviation`, for one value."""

    n: int
    mean: float
    deviation: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Difference:
    """A kind minus another at equal seeds: the mean difference, its interval, and the probability that it is chance.

    `adjusted`: that probability after Holm's correction for all comparisons with this baseline.
    """

    n: int
    mean: float
    low: float | None
    high: float | None
    probability: float
    adjusted: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def estimate(values: Sequence[float], level: float = LEVEL) -> Estimate | None:
    """Mean and Student's interval of finite values; None without any."""
    data = np.asarray([value for value in values if np.isfinite(value)], dtype=np.float64)
    if not len(data):
        return None
    mean = float(data.mean())
    if len(data) == 1:
        return Estimate(1, mean)
    from scipy.stats import t

    deviation = float(data.std(ddof=1))
    half = float(t.ppf((1 + level) / 2, len(data) - 1)) * deviation / float(np.sqrt(len(data)))
    return Estimate(len(data), mean, deviation, mean - half, mean + half)


def difference(values: Mapping[int, float], others: Mapping[int, float], level: float = LEVEL) -> Difference | None:
    """`values` minus `others` (value by seed), at the seeds that both have; None without any."""
    seeds = sorted(set(values) & set(others))
    gaps = [values[seed] - others[seed] for seed in seeds if np.isfinite(values[seed]) and np.isfinite(others[seed])]
    found = estimate(gaps, level)
    if found is None:
        return None
    return Difference(found.n, found.mean, found.low, found.high, sign_flip_probability(gaps))


def sign_flip_probability(gaps: Sequence[float]) -> float:
    """The share of choices of signs whose mean is at least as far from 0 as that of `gaps` [n]; 1 without any.

    Exact for up to 14 values, else of 20,000 drawn choices (seeded).
    """
    data = np.asarray(gaps, dtype=np.float64)
    if not len(data):
        return 1.0
    from scipy.stats import permutation_test

    scale = float(np.abs(data).max()) or 1.0  # equal sums must be equal: rounding depends on their order
    steps = np.round(data / scale, 9)
    if len(data) == 1:
        return 1.0  # either sign is as far from 0
    found = permutation_test(
        (steps,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        alternative="two-sided",
        n_resamples=2 ** len(data) if len(data) <= MOST_EXACT else DRAWN,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def holm(probabilities: Sequence[float]) -> list[float]:
    """Holm's correction of several probabilities, in their order."""
    order = np.argsort(probabilities, kind="stable")
    adjusted, highest = [0.0] * len(probabilities), 0.0
    for rank, k in enumerate(order.tolist()):
        highest = max(highest, min(1.0, (len(probabilities) - rank) * probabilities[k]))
        adjusted[k] = highest
    return adjusted
