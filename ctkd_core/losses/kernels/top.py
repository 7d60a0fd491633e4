"""Numba loops behind `slots.top_of_groups`: the largest entries of the mean of a few rows.

The largest entry of each of many strided parts is found first, in one vectorised pass; the k-th largest of these is a
bound that at least k entries reach, and few more do, so that the heap behind it hardly works.
"""

from __future__ import annotations

import numpy as np

from ctkd_core.files.machine_code import njit

BLOCK = 128  # entries looked at together
PARTS = 1024  # strided parts of a row, or eight for each wanted entry


@njit(nogil=True, inline="always")
def _before(value, index, other, place):  # type: ignore[no-untyped-def]
    # Whether an entry is thrown out before another: smaller, or equal with the higher index.
    return value < other or (value == other and index > place)


@njit(nogil=True)
def _sink(values, ids, root, end):  # type: ignore[no-untyped-def]
    while True:
        child = 2 * root + 1
        if child >= end:
            return
        if child + 1 < end and _before(values[child + 1], ids[child + 1], values[child], ids[child]):
            child += 1
        if not _before(values[child], ids[child], values[root], ids[root]):
            return
        values[root], values[child] = values[child], values[root]
        ids[root], ids[child] = ids[child], ids[root]
        root = child


@njit(nogil=True)
def _bound(row, k, best):  # type: ignore[no-untyped-def]
    """A value that at least k entries reach; `best` [parts] is scratch."""
    parts = best.size
    best[:] = -np.inf
    if row.size < 2 * parts:
        return best[0]
    for start in range(0, row.size - parts + 1, parts):
        part = row[start : start + parts]
        for i in range(parts):
            best[i] = part[i] if part[i] > best[i] else best[i]
    return np.partition(best, parts - k)[parts - k]


@njit(nogil=True)
def _scan(row, first, last, k, bound, heap, place, count):  # type: ignore[no-untyped-def]
    """Offer entries first..last to the heap of `count` entries; returns the new count, -1 for NaN."""
    for i in range(first, last):
        x = row[i]
        if x != x:
            return -1
        if x < bound:
            continue
        if count < k:
            heap[count], place[count] = x, i
            count += 1
            if count == k:
                for root in range(k // 2 - 1, -1, -1):
                    _sink(heap, place, root, k)
        elif x > heap[0]:
            heap[0], place[0] = x, i
            _sink(heap, place, 0, k)
    return count


@njit(nogil=True)
def top_of_means(z, starts, ids, bad):  # type: ignore[no-untyped-def]
    """ids[g] = the largest entries of mean(z[starts[g]:starts[g + 1]]), best first, equal ones by index.

    z [n, V]; ids int64 [G, k]; bad bool [G]: whether a row holds NaN (its ids may be anything).
    """
    width, k = z.shape[1], ids.shape[1]
    mean, heap = np.empty(width, dtype=z.dtype), np.empty(k, dtype=z.dtype)
    best = np.empty(max(PARTS, 8 * k), dtype=z.dtype)
    blocks = width // BLOCK
    for g in range(ids.shape[0]):
        first, last = starts[g], starts[g + 1]
        row = z[first]
        if last - first > 1:
            mean[:] = z[first]
            for r in range(first + 1, last):
                mean += z[r]
            mean /= z.dtype.type(last - first)
            row = mean
        place, count = ids[g], 0
        bound = _bound(row, k, best)
        for b in range(blocks):
            hit = np.int32(0)
            for i in range(BLOCK):  # vectorised; nearly all blocks hold nothing
                hit |= np.int32(0) if row[b * BLOCK + i] < bound else np.int32(1)
            if hit and count >= 0:
                count = _scan(row, b * BLOCK, (b + 1) * BLOCK, k, bound, heap, place, count)
        if count >= 0:
            count = _scan(row, blocks * BLOCK, width, k, bound, heap, place, count)
        if count < 0:
            bad[g] = True
            continue
        for end in range(k - 1, 0, -1):  # heap sort: the smallest goes to the end
            heap[0], heap[end] = heap[end], heap[0]
            place[0], place[end] = place[end], place[0]
            _sink(heap, place, 0, end)
