"""Numba loops behind `parts/byte_masses.py`: sums of probabilities over tokens that begin alike, and their gradient."""

from __future__ import annotations

import numpy as np

from ctkd_core.files.machine_code import njit

LANES = 4  # sums kept side by side: half of a vocabulary begins with a blank, and one sum would wait for itself


@njit(nogil=True)
def node_sums(p, first, order, row, root, low, edges, goes_on, equal, start, stop):  # type: ignore[no-untyped-def]
    """For nodes start..stop: goes_on[n, c] = sum of p[row[n]] over the tokens that go on with symbol c, equal[n] over
    those that end there.

    p [r, V]; first int16 [V], order int64 [n]: the sorted vocabulary; root bool [N], low int64 [N], edges int64
    [N, C + 1].
    """
    symbols = goes_on.shape[1]
    lanes = np.zeros((LANES, symbols + 1))
    width, whole = first.size, first.size // LANES * LANES
    for n in range(start, stop):
        values = p[row[n]]
        if root[n]:
            lanes[:] = 0.0
            for v in range(0, whole, LANES):
                lanes[0, first[v]] += values[v]
                lanes[1, first[v + 1]] += values[v + 1]
                lanes[2, first[v + 2]] += values[v + 2]
                lanes[3, first[v + 3]] += values[v + 3]
            for v in range(whole, width):
                lanes[0, first[v]] += values[v]
            for c in range(symbols):
                goes_on[n, c] = lanes[0, c] + lanes[1, c] + lanes[2, c] + lanes[3, c]
            continue
        total = 0.0
        for i in range(low[n], edges[n, 0]):
            total += values[order[i]]
        equal[n] = total
        for c in range(symbols):
            total = 0.0
            for i in range(edges[n, c], edges[n, c + 1]):
                total += values[order[i]]
            goes_on[n, c] = total


@njit(nogil=True)
def add_slopes(p, first, order, row, root, low, edges, d_goes_on, d_equal, out, start, stop):  # type: ignore[no-untyped-def]
    """out[row[n], v] += p[row[n], v] * (what node n says of token v), for nodes start..stop."""
    symbols = d_goes_on.shape[1]
    base = np.zeros(symbols + 1, dtype=p.dtype)
    for n in range(start, stop):
        values, target = p[row[n]], out[row[n]]
        if root[n]:
            base[:symbols] = d_goes_on[n]
            for v in range(first.size):
                target[v] += values[v] * base[first[v]]
            continue
        for i in range(low[n], edges[n, 0]):
            target[order[i]] += values[order[i]] * d_equal[n]
        for c in range(symbols):
            slope = d_goes_on[n, c]
            for i in range(edges[n, c], edges[n, c + 1]):
                target[order[i]] += values[order[i]] * slope
