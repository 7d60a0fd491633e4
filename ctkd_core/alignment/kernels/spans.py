"""Compiled sweeps over spans: which tokens of two tokenizers overlap, and the groups that they form.

numba, cached on disk; import this module only where a kernel is called. The slow twins that tests compare with lie in
`tests/alignment/reference.py`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctkd_core.files.machine_code import njit


@njit()
def sweep_tilings(s: NDArray[np.int64], t: NDArray[np.int64], out: NDArray[np.int32]) -> np.int64:
    """Components of span overlap in one pass, for spans that are non-empty, sorted and disjoint (gaps are allowed).

    s int64 [n, 2], t int64 [m, 2]; out int32 [n + m, 4] receives the groups. Returns their number, or -1 when the
    spans of a side are not as required (then `out` means nothing).
    """
    one = np.uintp(1)  # unsigned positions spare numba the test for negative ones, a third of the time
    n, m = np.uintp(len(s)), np.uintp(len(t))
    i = j = g = np.uintp(0)
    s_end = t_end = -(2**62)
    bad = False
    while i < n or j < m:
        i0, j0 = i, j
        if j == m or (i < n and s[i, 1] <= t[j, 0]):
            bad |= (s[i, 0] < s_end) | (s[i, 0] >= s[i, 1])
            s_end = s[i, 1]
            i += one  # nothing on the other side touches this token
        elif i == n or t[j, 1] <= s[i, 0]:
            bad |= (t[j, 0] < t_end) | (t[j, 0] >= t[j, 1])
            t_end = t[j, 1]
            j += one
        else:
            bad |= (s[i, 0] < s_end) | (s[i, 0] >= s[i, 1]) | (t[j, 0] < t_end) | (t[j, 0] >= t[j, 1])
            s_end, t_end = s[i, 1], t[j, 1]
            i += one
            j += one
            while s_end != t_end:
                if s_end < t_end:
                    if i == n or s[i, 0] >= t_end:
                        break
                    bad |= (s[i, 0] < s_end) | (s[i, 0] >= s[i, 1])
                    s_end = s[i, 1]
                    i += one
                else:
                    if j == m or t[j, 0] >= s_end:
                        break
                    bad |= (t[j, 0] < t_end) | (t[j, 0] >= t[j, 1])
                    t_end = t[j, 1]
                    j += one
        out[g, 0], out[g, 1], out[g, 2], out[g, 3] = i0, i, j0, j
        g += one
    return np.int64(-1) if bad else np.int64(g)


@njit()
def common_ends(s: NDArray[np.int64], t: NDArray[np.int64], out: NDArray[np.int32]) -> int:
    """Groups that close where the running ends of both sides are equal; starts are never looked at.

    s int64 [n, 2], t int64 [m, 2] with ends that do not decrease; out int32 [min(n, m), 4]. Tokens that cover one end
    together (made of one changed character) close together. Returns how many groups; what follows them is left over.
    """
    n, m = len(s), len(t)
    i = j = i0 = j0 = g = 0
    while i < n and j < m:
        mine, other = s[i, 1], t[j, 1]
        if mine <= other:
            i += 1
        if other <= mine:
            j += 1
        if mine == other:
            while i < n and s[i, 1] == mine and s[i, 0] < mine:
                i += 1
            while j < m and t[j, 1] == mine and t[j, 0] < mine:
                j += 1
            out[g, 0], out[g, 1], out[g, 2], out[g, 3] = i0, i, j0, j
            g += 1
            i0, j0 = i, j
    return g


@njit()
def _root(parent: NDArray[np.int64], node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@njit()
def _touch(
    parent: NDArray[np.int64],
    node: int,
    start: int,
    open_nodes: NDArray[np.int64],
    open_ends: NDArray[np.int64],
    k: int,
) -> int:
    """Join `node` with the k open spans of the other side that reach beyond `start`; returns how many stay open.

    Joined spans are one component from here on, so one entry with their largest end stands for all of them.
    """
    end = start
    root = _root(parent, node)
    for x in range(k):
        if open_ends[x] > start:
            end = max(end, open_ends[x])
            parent[_root(parent, open_nodes[x])] = root
    if end == start:
        return 0
    open_nodes[0], open_ends[0] = root, end
    return 1


@njit()
def overlap_labels(
    s: NDArray[np.int64],
    t: NDArray[np.int64],
    s_order: NDArray[np.int64],
    t_order: NDArray[np.int64],
    empty_touch: bool,
) -> NDArray[np.int64]:
    """Component of every token, int64 [n + m] (students first), for any spans: gaps, nesting, repeats, empty ones.

    s_order, t_order: tokens by increasing start. Empty spans overlap nothing; with `empty_touch` one at p overlaps
    [a, b) when a <= p < b: it is kept open as [p, p + 1), apart from the others, for two empty spans never touch.
    """
    n, m = len(s), len(t)
    parent = np.arange(n + m)
    s_nodes, s_ends = np.empty(n + 1, np.int64), np.empty(n + 1, np.int64)
    t_nodes, t_ends = np.empty(m + 1, np.int64), np.empty(m + 1, np.int64)
    s_empty, s_empty_ends = np.empty(n + 1, np.int64), np.empty(n + 1, np.int64)
    t_empty, t_empty_ends = np.empty(m + 1, np.int64), np.empty(m + 1, np.int64)
    i = j = s_open = t_open = s_points = t_points = 0
    while i < n or j < m:
        if j == m or (i < n and s[s_order[i], 0] <= t[t_order[j], 0]):
            node = s_order[i]
            start, end = s[node, 0], s[node, 1]
            i += 1
            if end > start or empty_touch:
                t_open = _touch(parent, node, start, t_nodes, t_ends, t_open)
            if end > start:
                t_points = _touch(parent, node, start, t_empty, t_empty_ends, t_points)
                s_nodes[s_open], s_ends[s_open] = node, end
                s_open += 1
            elif empty_touch:
                s_empty[s_points], s_empty_ends[s_points] = node, start + 1
                s_points += 1
        else:
            node = t_order[j]
            start, end = t[node, 0], t[node, 1]
            j += 1
            if end > start or empty_touch:
                s_open = _touch(parent, node + n, start, s_nodes, s_ends, s_open)
            if end > start:
                s_points = _touch(parent, node + n, start, s_empty, s_empty_ends, s_points)
                t_nodes[t_open], t_ends[t_open] = node + n, end
                t_open += 1
            elif empty_touch:
                t_empty[t_points], t_empty_ends[t_points] = node + n, start + 1
                t_points += 1
    for node in range(n + m):
        parent[node] = _root(parent, node)
    return parent


@njit()
def ranges_of_labels(
    labels: NDArray[np.int64], s: NDArray[np.int64], t: NDArray[np.int64], out: NDArray[np.int32]
) -> int:
    """Contiguous groups from component labels: the finest monotone ranges that cut no component.

    labels int64 [n + m] from `overlap_labels`; out int32 [n + m, 4]. Returns the number of groups. Tokens without a
    partner get a group of their own, except inside the range of another group, which they join.
    """
    n, m = len(s), len(t)
    s_last, t_last = np.zeros(n + m, np.int64), np.zeros(n + m, np.int64)  # one past the last token of each component
    for i in range(n):
        s_last[labels[i]] = i + 1
    for j in range(m):
        t_last[labels[n + j]] = j + 1
    i = j = g = 0
    while i < n or j < m:
        i0, j0 = i, j
        s_alone = i < n and t_last[labels[i]] == 0
        t_alone = j < m and s_last[labels[n + j]] == 0
        if s_alone and t_alone:
            s_alone = s[i, 0] <= t[j, 0]
        if s_alone:
            i += 1
        elif t_alone:
            j += 1
        else:
            s_goal, t_goal = i + 1, j + 1
            while i < s_goal or j < t_goal:
                if i < s_goal:
                    label = labels[i]
                    i += 1
                else:
                    label = labels[n + j]
                    j += 1
                s_goal, t_goal = max(s_goal, s_last[label]), max(t_goal, t_last[label])
        out[g, 0], out[g, 1], out[g, 2], out[g, 3] = i0, i, j0, j
        g += 1
    return g
