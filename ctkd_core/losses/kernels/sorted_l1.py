"""Sorted L1 distance of probability rows on a CPU: by counting ranks in buckets, or by a radix sort.

`sorted_l1` in the tests is the slow twin.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from ctkd_core.files.machine_code import njit
from ctkd_core.losses.kernels.buckets import FEWEST
from ctkd_core.losses.kernels.radix import scratch as sorting_scratch
from ctkd_core.losses.kernels.radix import sorted_signs
from ctkd_core.losses.kernels.rank_signs import rank_signs
from ctkd_core.losses.kernels.rank_signs import scratch as counting_scratch

SMALL = 200_000  # below this many entries a second thread costs more than it saves


def sorted_l1(
    p: NDArray[np.float32],
    q: NDArray[np.float32],
    rows: NDArray[np.int64],
    weight: NDArray[np.float32],
    gradient: NDArray[np.float32],
    threads: int = 1,
) -> NDArray[np.float64]:
    """sum_i |p_(i) - q_(i)| for pairs of rows, (i) = i-th largest, the shorter row padded with zeros.

    p float32 [c, Vs], q float32 [m, Vt]: non-negative, at most 1; pair k is p[rows[k]] with q[k].
    gradient: float32 [c, Vs], receives weight[k] * d value / d z for p = softmax(z) in row rows[k]; or [0, 0].
    `rows` must not repeat. Returns float64 [m].
    """
    values = np.empty(len(rows), dtype=np.float64)
    _in_threads(
        lambda start, stop: _rows(p, q, rows, weight, gradient, values, start, stop), len(rows), p.shape[1], threads
    )
    return values


def sorted_gaps(
    p: NDArray[np.float32],
    q: NDArray[np.float32],
    signs: NDArray[np.float32],
    threads: int = 1,
    limit: int | None = None,
) -> NDArray[np.float64]:
    """sum_i |p_(i) - q_(i)| of rows p float32 [m, n] and q float32 [m, k], in [0, 1]; values float64 [m].

    signs: float32 [m, n], receives the sign of the gap that each entry of p stands in (0 for none); of zeros any.
    limit: only the largest `limit` entries of either side count.
    """
    limit = max(p.shape[1], q.shape[1]) if limit is None else limit
    values = np.empty(len(p), dtype=np.float64)
    _in_threads(lambda start, stop: _sign_rows(p, q, signs, values, start, stop, limit), len(p), p.shape[1], threads)
    return values


def _in_threads(part: Callable[[int, int], None], rows: int, width: int, threads: int) -> None:
    """Call part(start, stop) for as many spans of the rows as there is work for."""
    threads = max(1, min(threads, rows, width * rows // SMALL))
    if threads == 1:
        part(0, rows)
        return
    bounds = np.linspace(0, rows, threads + 1).astype(int).tolist()
    # Threads of our own rather than numba's: its pools clash with forks and with calls from several threads.
    with ThreadPoolExecutor(threads) as pool:
        for job in [pool.submit(part, a, b) for a, b in itertools.pairwise(bounds)]:
            job.result()


@njit(nogil=True)
def _signs(p, q, limit, sign, counting, sorting):  # type: ignore[no-untyped-def]
    if p.size + q.size >= FEWEST:
        value, inner = rank_signs(p, q, limit, sign, counting)
        if value >= 0.0 or value != value:
            return value, inner
    return sorted_signs(p, q, limit, sign, sorting)


@njit(nogil=True)
def _rows(p, q, rows, weight, gradient, values, start, stop):  # type: ignore[no-untyped-def]
    n, m = p.shape[1], q.shape[1]
    sign = np.empty(n, dtype=np.float32)
    counting, sorting = counting_scratch(n, m), sorting_scratch(n, m)
    for k in range(start, stop):
        r = rows[k]
        values[k], inner = _signs(p[r], q[k], max(n, m), sign, counting, sorting)
        if gradient.size > 0:
            factor, offset = weight[k], np.float32(inner)
            for e in range(n):
                gradient[r, e] += factor * p[r, e] * (sign[e] - offset)


@njit(nogil=True)
def _sign_rows(p, q, signs, values, start, stop, limit):  # type: ignore[no-untyped-def]
    counting, sorting = counting_scratch(p.shape[1], q.shape[1]), sorting_scratch(p.shape[1], q.shape[1])
    for k in range(start, stop):
        values[k], _ = _signs(p[k], q[k], limit, signs[k], counting, sorting)
