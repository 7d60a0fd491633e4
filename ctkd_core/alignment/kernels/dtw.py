"""Compiled dynamic time warping: the cheapest monotone way through a banded cost matrix.

numba, cached on disk; import this module only where a kernel is called. The slow twins that tests compare with lie in
`tests/alignment/reference.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.files.machine_code import njit

# Larger than any path cost that `cheapest_path.py` sends here (it checks), small enough that adding can't overflow.
UNREACHABLE = 2**30

# Where a cell of the DTW came from; the smaller number wins a tie (CDM, released code).
DIAGONAL, TEACHER_STEP, STUDENT_STEP = 0, 1, 2


@njit()
def _fill_row(row: Any, weight: Any, above: Any, here: Any, low: int, high: int) -> None:
    """One row of the accumulated cost. `above` and `here` are shifted by one: entry j + 1 belongs to column j."""
    # slices that start at 0 spare numba the test for negative positions: only then does the first loop vectorise
    cost, corner, up, cell = row[low:high], above[low:high], above[low + 1 : high + 1], here[low + 1 : high + 1]
    for k in range(high - low):
        cell[k] = min(corner[k], up[k])
    left = here[low]
    for k in range(high - low):
        left = min(cell[k], left) + cost[k] * weight
        cell[k] = left


@njit()
def dtw_directions(
    rows: Any,
    row_of: NDArray[np.int32],
    weights: Any,
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    offset: NDArray[np.int64],
    directions: NDArray[np.uint8],
) -> Any:
    """Cheapest monotone way through the cells low[i] <= j < high[i]; returns its cost.

    rows [U, m]: weighted cost of each distinct student string against every teacher token; row_of int32 [n]: which of
    them student token i is; weights [n] multiplies its row. `directions` uint8 [offset[n]] receives, per cell, the
    predecessor (0 diagonal, 1 teacher - 1, 2 student - 1). low and high must not decrease.
    """
    n, m = len(row_of), rows.shape[1]
    above = np.full(m + 2, UNREACHABLE, rows.dtype)
    here = np.full(m + 2, UNREACHABLE, rows.dtype)
    above[0] = 0
    for i in range(n):
        a, b = low[i], high[i]
        here[a] = UNREACHABLE
        _fill_row(rows[row_of[i]], weights[i], above, here, a, b)
        corner, left, up = above[a:b], here[a:b], above[a + 1 : b + 1]
        steps = directions[offset[i] : offset[i + 1]]
        for k in range(b - a):
            sideways = np.uint8(TEACHER_STEP) if left[k] <= up[k] else np.uint8(STUDENT_STEP)
            steps[k] = np.uint8(DIAGONAL) if corner[k] <= min(left[k], up[k]) else sideways
        if i + 1 < n:
            here[b + 1 : high[i + 1] + 1] = UNREACHABLE
        above, here = here, above
    return above[m]


@njit()
def walk_back(
    directions: NDArray[np.uint8], low: NDArray[np.int64], offset: NDArray[np.int64], n: int, m: int
) -> NDArray[np.int32]:
    """Pairs int32 [P, 2] of the path from (0, 0) to (n - 1, m - 1)."""
    path = np.empty((n + m, 2), np.int32)
    i, j, k = n - 1, m - 1, n + m
    while True:
        k -= 1
        path[k, 0], path[k, 1] = i, j
        if i == 0 and j == 0:
            return path[k:].copy()
        step = directions[offset[i] + j - low[i]]
        if step != TEACHER_STEP:
            i -= 1
        if step != STUDENT_STEP:
            j -= 1


@njit()
def dtw_accumulated(
    rows: Any, row_of: NDArray[np.int32], weights: Any, low: NDArray[np.int64], high: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Accumulated cost float32 [n, m] of the same search; NaN in cells outside the band."""
    n, m = len(row_of), rows.shape[1]
    out = np.full((n, m), np.nan, np.float32)
    above = np.full(m + 2, UNREACHABLE, rows.dtype)
    here = np.full(m + 2, UNREACHABLE, rows.dtype)
    above[0] = 0
    for i in range(n):
        a, b = low[i], high[i]
        here[a] = UNREACHABLE
        _fill_row(rows[row_of[i]], weights[i], above, here, a, b)
        out[i, a:b] = here[a + 1 : b + 1]
        if i + 1 < n:
            here[b + 1 : high[i + 1] + 1] = UNREACHABLE
        above, here = here, above
    return out
