"""Sorted L1 distance of two rows on a CPU without sorting them: see `buckets`."""

from __future__ import annotations

import numpy as np

from ctkd_core.files.machine_code import njit
from ctkd_core.losses.kernels.buckets import BUCKETS, MOST_OPEN, OPEN, ROUND_UP, SHIFT


@njit(nogil=True)
def _count(keys, counts):  # type: ignore[no-untyped-def]
    counts[:] = 0
    for i in range(keys.size):
        counts[min((np.int64(keys[i]) + ROUND_UP) >> SHIFT, BUCKETS - 1)] += 1


@njit(nogil=True, inline="always")
def _sign_of_bucket(above, count, other_above, other_count, limit):  # type: ignore[no-untyped-def]
    """Sign of the `count` entries of a bucket at ranks above + 1, ..., or OPEN; the other side has `other_count` in it.

    Entries beyond the limit have sign 0.
    """
    if count == 0 or above >= limit:
        return 0
    if above + count > limit:
        return OPEN
    if above + count <= other_above:
        return -1
    return 1 if above >= other_above + other_count else OPEN


@njit(nogil=True)
def _tables(counts, other_counts, limit, signs, other_signs, starts, other_starts):  # type: ignore[no-untyped-def]
    """Fill the signs of all buckets; returns how many entries of either side are in open ones, whose starts it sets.

    Zeros, the lowest bucket, have sign 0: they add nothing to a sum, and no gradient reaches them through a soft-max.
    """
    signs[0], other_signs[0] = 0, 0
    above, other_above = np.int64(0), np.int64(0)
    n, m = np.int64(0), np.int64(0)
    for b in range(BUCKETS - 1, 0, -1):
        here, there = np.int64(counts[b]), np.int64(other_counts[b])
        signs[b] = _sign_of_bucket(above, here, other_above, there, limit)
        other_signs[b] = _sign_of_bucket(other_above, there, above, here, limit)
        if signs[b] == OPEN or other_signs[b] == OPEN:
            signs[b], other_signs[b] = OPEN, OPEN
            starts[b], other_starts[b] = n, m
            n, m = n + here, m + there
        above, other_above = above + here, other_above + there
    return n, m


@njit(nogil=True)
def _known(row, keys, table, starts, entries, sign):  # type: ignore[no-untyped-def]
    """Sum of sign * entry outside open buckets; entries of these go to `entries` as key << 32 | index."""
    total = 0.0
    for i in range(row.size):
        b = min((np.int64(keys[i]) + ROUND_UP) >> SHIFT, BUCKETS - 1)
        here = table[b]
        if here == OPEN:
            entries[starts[b]] = (np.uint64(keys[i]) << np.uint64(32)) | np.uint64(i)
            starts[b] += 1
        else:
            total += np.float64(here) * row[i]
            if sign.size:
                sign[i] = here
    return total


@njit(nogil=True)
def _opened(row, entries, above, other, other_entries, other_above, limit, sign):  # type: ignore[no-untyped-def]
    """Sum of sign * entry of one open bucket; both sides' entries are ascending."""
    n, m = entries.size, other_entries.size
    total = 0.0
    for k in range(n):
        i = np.int64(entries[n - 1 - k] & np.uint64(0xFFFFFFFF))
        place = above + k - other_above  # among the other side's entries of this bucket
        here = np.float32(0.0)
        if above + k < limit:
            if place < 0:
                here = np.float32(-1.0)
            elif place < m:
                facing = other[np.int64(other_entries[m - 1 - place] & np.uint64(0xFFFFFFFF))]
                here = np.float32(row[i] > facing) - np.float32(row[i] < facing)
            else:
                here = np.float32(1.0)
        total += np.float64(here) * row[i]
        if sign.size:
            sign[i] = here
    return total


@njit(nogil=True)
def scratch(n, m):  # type: ignore[no-untyped-def]
    """What `rank_signs` works in, for rows of n and m entries."""
    counts = np.empty((2, BUCKETS), dtype=np.int32)
    signs = np.empty((2, BUCKETS), dtype=np.int8)
    starts = np.empty((2, BUCKETS), dtype=np.int64)
    most = (n + m) // MOST_OPEN + 1
    return counts, signs, starts, np.empty(most, dtype=np.uint64), np.empty(most, dtype=np.uint64)


@njit(nogil=True)
def rank_signs(p, q, limit, sign, work):  # type: ignore[no-untyped-def]
    """(sum_i |p_(i) - q_(i)|, sum of sign * p), or (-1, 0) where a sort is faster; as `radix.sorted_signs`.

    p float32 [n], q float32 [m]; sign float32 [n] receives the sign of the gap that each entry of p stands in, 0 for a
    zero.
    """
    counts, signs, starts, entries, other_entries = work
    p_keys, q_keys = p.view(np.uint32), q.view(np.uint32)
    _count(p_keys, counts[0])
    _count(q_keys, counts[1])
    n, m = _tables(counts[0], counts[1], limit, signs[0], signs[1], starts[0], starts[1])
    if n + m > (p.size + q.size) // MOST_OPEN:
        return -1.0, 0.0
    none = np.empty(0, dtype=np.float32)
    inner = _known(p, p_keys, signs[0], starts[0], entries, sign)
    value = _known(q, q_keys, signs[1], starts[1], other_entries, none)
    above, other_above = np.int64(0), np.int64(0)
    for b in range(BUCKETS - 1, 0, -1):
        here, there = np.int64(counts[0, b]), np.int64(counts[1, b])
        if signs[0, b] == OPEN:
            own, other = entries[starts[0, b] - here : starts[0, b]], other_entries[starts[1, b] - there : starts[1, b]]
            own.sort()
            other.sort()
            inner += _opened(p, own, above, q, other, other_above, limit, sign)
            value += _opened(q, other, other_above, p, own, above, limit, none)
        above, other_above = above + here, other_above + there
    return inner + value, inner
