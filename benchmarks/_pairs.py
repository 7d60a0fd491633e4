"""Two programs that take turns: paired times, so that whatever else the machine does slows both.

The ratio is taken pair by pair, and its median is reported with an interval that holds whatever the times' distribution
is: of sorted ratios the k-th smallest and the k-th largest, with the largest k that still gives 90 %.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

COVERAGE = 0.9
SHORT = 0.02  # processor seconds: what is faster is called several times a measurement
FEWEST = 3  # pairs, however long they take


def interleaved(
    ours: Callable[[], object], theirs: Callable[[], object], pairs: int, seconds: float = math.inf
) -> dict[str, Any]:
    """Medians of both and the ratios theirs / ours, of wall-clock and of processor seconds; the fastest of both, too.

    Up to `pairs` pairs, fewer where they take more than `seconds` in all, but at least FEWEST. Every second pair begins
    with the other program. Both must have run before: nothing here warms up.
    """
    calls = (1, 1)
    wall: list[tuple[float, float]] = []
    cpu: list[tuple[float, float]] = []
    begin = time.perf_counter()
    while len(wall) < pairs and (len(wall) < FEWEST or time.perf_counter() - begin < seconds):
        took = {}
        for side in (0, 1) if len(wall) % 2 == 0 else (1, 0):
            took[side] = _timed((ours, theirs)[side], calls[side])
        if calls == (1, 1) and (needed := (_calls(took[0][1]), _calls(took[1][1]))) != calls:
            calls = needed  # the first turn says how many calls make a measurement
            continue
        wall.append((took[0][0], took[1][0]))
        cpu.append((took[0][1], took[1][1]))
    return {
        "ours_seconds": _short(statistics.median(a for a, _ in wall)),
        "peer_seconds": _short(statistics.median(b for _, b in wall)),
        "ours_best": _short(min(a for a, _ in wall)),
        "peer_best": _short(min(b for _, b in wall)),
        "ours_cpu_seconds": _short(statistics.median(a for a, _ in cpu)),
        "peer_cpu_seconds": _short(statistics.median(b for _, b in cpu)),
        "ratio": summary([b / a for a, b in wall]),
        "cpu_ratio": summary([b / a for a, b in cpu if a > 0]),
    }


def summary(ratios: Sequence[float]) -> dict[str, Any]:
    """Number, least, median and greatest of some ratios, and the interval of the median with its coverage."""
    ranked = sorted(ratios)
    low, high, coverage = interval(ranked)
    figures = {"min": ranked[0], "median": statistics.median(ranked), "max": ranked[-1], "low": low, "high": high}
    return {"pairs": len(ranked)} | {k: _short(v) for k, v in figures.items()} | {"coverage": round(coverage, 3)}


def interval(ranked: Sequence[float]) -> tuple[float, float, float]:
    """An interval of the median from sorted values, and how probable it is that it holds it (whole range for few)."""
    n = len(ranked)
    best = 1
    while 2 * (best + 1) <= n and _coverage(n, best + 1) >= COVERAGE:
        best += 1
    return ranked[best - 1], ranked[n - best], max(0.0, _coverage(n, best))


def _coverage(n: int, k: int) -> float:
    """Probability that the median of a distribution lies between the k-th smallest and the k-th largest of n values."""
    return 1.0 - 2.0 * sum(math.comb(n, i) for i in range(k)) / 2.0**n


def _calls(seconds: float) -> int:
    return max(1, math.ceil(SHORT / max(seconds, 1e-7)))


def _timed(action: Callable[[], object], calls: int) -> tuple[float, float]:
    """Wall-clock and processor seconds of one call."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(calls):
        action()
    return (time.perf_counter() - wall) / calls, (time.process_time() - cpu) / calls


def _short(value: float) -> float:
    return float(f"{value:.4g}")
