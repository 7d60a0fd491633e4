"""The cheapest path through token costs: the search, its stretches and its band."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.alignment.components import (
    component_ranges,
)
from ctkd_core.alignment.costs import (
    TokenCosts,
)
from ctkd_core.errors import AlignmentError


@dataclass(frozen=True)
class Block:
    """A stretch that was searched at once: content tokens s0..s1 x t0..t1, cost of the path before and after it."""

    s0: int
    s1: int
    t0: int
    t1: int
    before: float
    after: float
    banded: bool


# Most cells that one search fills: 4,096 x 4,096, some 25 ms.
MAX_CELLS = 4096 * 4096


# Longest side of a stretch once a text is too long for one search.
WINDOW = 1024


# A stretch without common boundaries that is larger still is searched in a band of this many cells altogether, but
# never narrower than this many teacher tokens to each side of the diagonal.
BAND_CELLS = 64 * 1024 * 1024


MIN_BAND = 64


def dtw(
    costs: TokenCosts, cuts: NDArray[np.int64] | None = None, ties: str = "teacher"
) -> tuple[tuple[Block, ...], NDArray[np.int32]]:
    """Search every stretch between `cuts` and join the paths.

    cuts int64 [k, 2]: (student end, teacher end) of each stretch, strictly increasing on both sides, the last one the
    lengths; None searches the whole. `ties`: the predecessor that equal costs prefer after the diagonal, "teacher" - 1
    or "student" - 1. Returns the stretches with their costs, and the pairs int32 [P, 2].
    """
    if ties == "student":
        turned, path = dtw(costs.swapped(), None if cuts is None else cuts[:, ::-1])
        return tuple(Block(b.t0, b.t1, b.s0, b.s1, b.before, b.after, b.banded) for b in turned), path[:, ::-1]
    n, m = len(costs.student_codes), len(costs.teacher_codes)
    ends = [(n, m)] if cuts is None else [(int(a), int(b)) for a, b in cuts]
    blocks, paths, total, (s0, t0) = [], [], 0.0, (0, 0)
    for s1, t1 in ends:
        low, high = band_of(s1 - s0, t1 - t0)
        cost, path = _search(costs.take(slice(s0, s1), slice(t0, t1)), low, high)
        blocks.append(Block(s0, s1, t0, t1, total, total + cost, bool((high - low).min() < t1 - t0)))
        paths.append(path + np.array([s0, t0], dtype=np.int32))
        total, (s0, t0) = total + cost, (s1, t1)
    return tuple(blocks), np.concatenate(paths)


def _search(costs: TokenCosts, low: NDArray[np.int64], high: NDArray[np.int64]) -> tuple[float, NDArray[np.int32]]:
    from ctkd_core.alignment.kernels import dtw as kernels

    rows, row_of, row_weights = weighted_rows(costs)
    offset = np.concatenate([[0], np.cumsum(high - low)])
    directions = np.empty(int(offset[-1]), dtype=np.uint8)
    cost = kernels.dtw_directions(rows, row_of, row_weights, low, high, offset, directions)
    return float(cost), kernels.walk_back(directions, low, offset, len(row_of), rows.shape[1])


def accumulated(costs: TokenCosts) -> NDArray[np.float32]:
    """Cost of the cheapest way to every cell, float32 [n, m]; NaN outside the band of a very large stretch."""
    from ctkd_core.alignment.kernels import dtw as kernels

    band = band_of(len(costs.student_codes), len(costs.teacher_codes))
    return kernels.dtw_accumulated(*weighted_rows(costs), *band)


def weighted_rows(costs: TokenCosts) -> tuple[NDArray[Any], NDArray[np.int32], NDArray[Any]]:
    """Distances times teacher weights [distinct student strings, m], which row each student token has, its weight.

    int32 when every path cost fits exactly, else float64.
    """
    from ctkd_core.alignment.kernels import dtw as kernels

    u, u_of = np.unique(costs.student_codes, return_inverse=True)
    v, v_of = np.unique(costs.teacher_codes, return_inverse=True)
    table = costs.distances(u, v)
    largest = float(table.max()) * costs.student_weights.max() * costs.teacher_weights.max()
    fits = costs.integer and largest * (len(u_of) + len(v_of)) < kernels.UNREACHABLE // 2
    dtype = np.int32 if fits else np.float64
    rows = np.take(table.astype(dtype, copy=False), v_of, axis=1)
    rows *= costs.teacher_weights.astype(dtype)
    return rows, u_of.astype(np.int32), costs.student_weights.astype(dtype)


def band_of(n: int, m: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and one past the last teacher token searched for each student token, int64 [n] each.

    Everything when the stretch is small enough, else a band around its diagonal. Raises AlignmentError when the band
    would be narrower than is any use.
    """
    low, high = np.zeros(n, dtype=np.int64), np.full(n, m, dtype=np.int64)
    if n * m <= MAX_CELLS:
        return low, high
    half = (BAND_CELLS // n - m // n - 1) // 2
    if half < MIN_BAND:
        raise AlignmentError(
            f"a stretch of {n} student and {m} teacher tokens has no byte boundary in common, and a band of "
            f"{2 * MIN_BAND} tokens around its diagonal would have more than {BAND_CELLS:,} cells. "
            "Split the text, or use method 'sedi', which is linear."
        )
    here = np.arange(n) * m // n
    nxt = np.arange(1, n + 1) * m // n
    return np.maximum(here - half, 0), np.minimum(nxt + half, m)


def common_cuts(s: NDArray[np.int64], t: NDArray[np.int64], window: int) -> NDArray[np.int64] | None:
    """Ends of the stretches to search one by one, int64 [k, 2], None when one search will do.

    s, t int64 [n, 2], [m, 2]: bytes of the text under each token. A stretch ends at a byte boundary common to both
    sides, in its second half and there amid the longest run of tokens that face each other one to one, because the
    cheapest path is most likely to pass there.
    """
    n, m = len(s), len(t)
    if max(n, m) <= window or (window == 0 and n * m <= MAX_CELLS):
        return None
    longest = window or WINDOW
    groups = component_ranges(s, t)
    both = groups[(groups[:, 1] > groups[:, 0]) & (groups[:, 3] > groups[:, 2])]
    ends = both[:-1, [1, 3]].astype(np.int64)  # the last stretch takes the tail, so that no side of it is empty
    calm = _calm(both)
    cuts: list[tuple[int, int]] = []
    s0 = t0 = k = 0
    while k < len(ends):
        reach = min(
            np.searchsorted(ends[:, 0], s0 + longest, "right"), np.searchsorted(ends[:, 1], t0 + longest, "right")
        )
        last = max(int(reach), k + 1)
        k = last - int(calm[(k + last) // 2 : last][::-1].argmax())
        s0, t0 = (int(x) for x in ends[k - 1])
        cuts.append((s0, t0))
        if n - s0 <= longest and m - t0 <= longest:
            break
    return np.array([*cuts, (n, m)], dtype=np.int64)


def _calm(groups: NDArray[np.int32]) -> NDArray[np.int64]:
    """How many 1-1 groups in a row stand on both sides of the end of each group, int64 [G]."""
    at = np.arange(len(groups))
    other = (groups[:, 1] - groups[:, 0] != 1) | (groups[:, 3] - groups[:, 2] != 1)
    before = at - np.maximum.accumulate(np.where(other, at, -1))
    after = np.minimum.accumulate(np.where(other, at, len(at))[::-1])[::-1] - at
    return np.minimum(before, np.append(after[1:], 0))
