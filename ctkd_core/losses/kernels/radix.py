"""Sorted L1 distance of two rows by a radix sort on a CPU, since comparison sorts are ten times slower here.

Non-negative float32 numbers sort like their bit patterns, and probabilities need only 30 of the 32 bits
(1.0 is 0x3F800000), so three passes of 10 bits order a row completely.
"""

from __future__ import annotations

import numpy as np

from ctkd_core.files.machine_code import njit

BITS = 10
BINS = 1 << BITS
PASSES = 3


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
def scratch(n, m):  # type: ignore[no-untyped-def]
    """What `sorted_signs` works in, for rows of n and m entries."""
    counts = np.empty((PASSES, BINS), dtype=np.int64)
    first, second = np.empty(n, dtype=np.uint64), np.empty(n, dtype=np.uint64)
    return counts, first, second, np.empty(m, dtype=np.uint32), np.empty(m, dtype=np.uint32)


@njit(nogil=True)
def sorted_signs(p, q, limit, sign, work):  # type: ignore[no-untyped-def]
    """(sum_i |p_(i) - q_(i)|, sum of sign * p), (i) = i-th largest, the shorter row padded with zeros.

    p float32 [n], q float32 [m], in [0, 1]; only the largest `limit` entries of either count; sign float32 [n] receives
    the sign of the gap that each entry of p stands in (0 for none).
    """
    counts, first, second, teacher, other = work
    _sort_keys(q.view(np.uint32), teacher, other, counts)
    _sort_pairs(p.view(np.uint32), first, second, counts)
    value = _gaps(p, first, teacher.view(np.float32), sign, limit)
    inner = 0.0
    for e in range(p.size):
        inner += sign[e] * p[e]
    return value, inner
