"""Sorted L1 distance of probability rows on a CPU: a radix sort, since comparison sorts are ten times slower here.

Non-negative float32 numbers sort like their bit patterns, and probabilities need only 30 of the 32 bits
(1.0 is 0x3F800000), so three passes of 10 bits order a row completely. `reference` in the tests is the slow twin.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from ctkd_core.files.machine_code import njit

BITS = 10
BINS = 1 << BITS
PASSES = 3
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
    threads = max(1, min(threads, len(rows), p.shape[1] * len(rows) // SMALL))
    bounds = np.linspace(0, len(rows), threads + 1).astype(int).tolist()
    if threads == 1:
        _rows(p, q, rows, weight, gradient, values, 0, len(rows))
        return values
    # Threads of our own rather than numba's: its pools clash with forks and with calls from several threads.
    with ThreadPoolExecutor(threads) as pool:
        jobs = [pool.submit(_rows, p, q, rows, weight, gradient, values, a, b) for a, b in itertools.pairwise(bounds)]
        for job in jobs:
            job.result()
    return values


@njit(nogil=True)
def _count(keys, counts):  # type: ignore[no-untyped-def]
    counts[:] = 0
    for i in range(keys.size):
        key = keys[i]
        counts[0, key & 1023] += 1
        counts[1, (key >> 10) & 1023] += 1
        counts[2, (key >> 20) & 1023] += 1
    for k in range(PASSES):
        total = np.int64(0)
        for b in range(BINS):
            here = counts[k, b]
            counts[k, b] = total
            total += here


@njit(nogil=True)
def _sort_keys(keys, scratch, other, counts):  # type: ignore[no-untyped-def]
    # Ascending; the result is in `scratch`.
    _count(keys, counts)
    for i in range(keys.size):
        b = keys[i] & 1023
        scratch[counts[0, b]] = keys[i]
        counts[0, b] += 1
    for i in range(keys.size):
        b = (scratch[i] >> 10) & 1023
        other[counts[1, b]] = scratch[i]
        counts[1, b] += 1
    for i in range(keys.size):
        b = (other[i] >> 20) & 1023
        scratch[counts[2, b]] = other[i]
        counts[2, b] += 1


@njit(nogil=True)
def _sort_pairs(keys, first, second, counts):  # type: ignore[no-untyped-def]
    # Ascending; `first` and `second` hold key << 32 | index; the result is in `first`.
    _count(keys, counts)
    for i in range(keys.size):
        key = keys[i]
        b = key & 1023
        first[counts[0, b]] = (np.uint64(key) << np.uint64(32)) | np.uint64(i)
        counts[0, b] += 1
    for i in range(keys.size):
        b = (first[i] >> np.uint64(42)) & np.uint64(1023)
        second[counts[1, b]] = first[i]
        counts[1, b] += 1
    for i in range(keys.size):
        b = (second[i] >> np.uint64(52)) & np.uint64(1023)
        first[counts[2, b]] = second[i]
        counts[2, b] += 1


@njit(nogil=True)
def _gaps(p, order, q_sorted, sign, limit):  # type: ignore[no-untyped-def]
    """Sum of |p_(i) - q_(i)| over i <= limit; in sign[e] the sign of the gap that entry e of p [n] stands in."""
    n, m = p.size, q_sorted.size
    total = 0.0
    if n > limit:
        sign[:] = np.float32(0.0)
    shared = min(n, m, limit)
    for j in range(1, shared + 1):
        i = np.int64(order[n - j] & np.uint64(0xFFFFFFFF))
        gap = np.float64(p[i]) - np.float64(q_sorted[m - j])
        total += abs(gap)
        sign[i] = np.float32(1.0) if gap > 0.0 else (np.float32(-1.0) if gap < 0.0 else np.float32(0.0))
    for j in range(shared + 1, min(n, limit) + 1):
        i = np.int64(order[n - j] & np.uint64(0xFFFFFFFF))
        sign[i] = np.float32(1.0) if p[i] > 0 else np.float32(0.0)
        total += p[i]
    for j in range(shared + 1, min(m, limit) + 1):
        total += q_sorted[m - j]
    return total


@njit(nogil=True)
def _rows(p, q, rows, weight, gradient, values, start, stop):  # type: ignore[no-untyped-def]
    n, m = p.shape[1], q.shape[1]
    counts = np.empty((PASSES, BINS), dtype=np.int64)
    first, second = np.empty(n, dtype=np.uint64), np.empty(n, dtype=np.uint64)
    teacher, other = np.empty(m, dtype=np.uint32), np.empty(m, dtype=np.uint32)
    sign = np.empty(n, dtype=np.float32)
    p_bits, q_bits = p.view(np.uint32), q.view(np.uint32)
    learn = gradient.size > 0
    for k in range(start, stop):
        r = rows[k]
        _sort_keys(q_bits[k], teacher, other, counts)
        _sort_pairs(p_bits[r], first, second, counts)
        values[k] = _gaps(p[r], first, teacher.view(np.float32), sign, max(n, m))
        if learn:
            inner = 0.0
            for e in range(n):
                inner += sign[e] * p[r, e]
            factor, offset = weight[k], np.float32(inner)
            for e in range(n):
                gradient[r, e] += factor * p[r, e] * (sign[e] - offset)


def sorted_gaps(
    p: NDArray[np.float32],
    q: NDArray[np.float32],
    signs: NDArray[np.float32],
    threads: int = 1,
    limit: int | None = None,
) -> NDArray[np.float64]:
    """sum_i |p_(i) - q_(i)| of rows p float32 [m, n] and q float32 [m, k], in [0, 1]; values float64 [m].

    signs: float32 [m, n], receives the sign of the gap that each entry of p stands in (0 for none).
    limit: only the largest `limit` entries of either side count.
    """
    limit = max(p.shape[1], q.shape[1]) if limit is None else limit
    values = np.empty(len(p), dtype=np.float64)
    if not len(p):
        return values
    threads = max(1, min(threads, len(p), p.size // SMALL))
    bounds = np.linspace(0, len(p), threads + 1).astype(int).tolist()
    if threads == 1:
        _sign_rows(p, q, signs, values, 0, len(p), limit)
        return values
    with ThreadPoolExecutor(threads) as pool:
        jobs = [pool.submit(_sign_rows, p, q, signs, values, a, b, limit) for a, b in itertools.pairwise(bounds)]
        for job in jobs:
            job.result()
    return values


@njit(nogil=True)
def _sign_rows(p, q, signs, values, start, stop, limit):  # type: ignore[no-untyped-def]
    n, m = p.shape[1], q.shape[1]
    counts = np.empty((PASSES, BINS), dtype=np.int64)
    first, second = np.empty(n, dtype=np.uint64), np.empty(n, dtype=np.uint64)
    teacher, other = np.empty(m, dtype=np.uint32), np.empty(m, dtype=np.uint32)
    p_bits, q_bits = p.view(np.uint32), q.view(np.uint32)
    for k in range(start, stop):
        _sort_keys(q_bits[k], teacher, other, counts)
        _sort_pairs(p_bits[k], first, second, counts)
        values[k] = _gaps(p[k], first, teacher.view(np.float32), signs[k], limit)
