"""X-Token's repair of a path: fuse runs of groups that do not agree, search small windows that do once more.

Source: NVIDIA NeMo-RL (X-Token, arXiv 2605.21699); every number below is the released program's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ctkd_core.alignment.spellings import Spellings, agreement, span_pairs

# Share of the groups, at the end of the sequence, where runs are left as they are.
UNFUSED_TAIL = 0.2
# Groups in a window that is searched once more.
SMALLEST_WINDOW, LARGEST_WINDOW = 2, 10
# A window with more cells than this becomes one group without a new search; only fused runs are so large.
MAX_WINDOW_CELLS = 1024 * 1024

Judged = Sequence[tuple[Spellings, Spellings]]


def repaired(
    pairs: NDArray[np.int32], compared: tuple[Spellings, Spellings], judged: Judged, max_span: int
) -> NDArray[np.int32]:
    """The groups int32 [P, 4] after both steps.

    compared  strings that the dynamic program compares; judged: spellings in which a group may agree

    1. Two or more neighbours that do not agree become one group, in the first 80 % of the groups only.
    2. From each group that does not agree, the shortest window of 2 to 10 groups whose two texts agree is searched
       again. If every group of the new way agrees it is taken, else the window becomes one group.
    """
    agree = agreement(pairs, judged)
    if agree.all():
        return pairs
    fused = _fused(pairs, agree)
    agree = agreement(fused, judged)
    out: list[NDArray[np.int32]] = []
    done = 0
    for bad in np.flatnonzero(~agree).tolist():
        if bad < done:
            continue
        out.append(fused[done:bad])
        size = _window(fused, bad, judged)
        out.append(_searched(fused[bad : bad + size], compared, judged, max_span) if size else fused[bad : bad + 1])
        done = bad + max(size, 1)
    out.append(fused[done:])
    return np.concatenate(out)


def _fused(pairs: NDArray[np.int32], agree: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Runs of groups that do not agree as one group each; a run ends where the tail begins."""
    if len(pairs) < 2:
        return pairs
    tail = int(len(pairs) * (1 - UNFUSED_TAIL))
    bad = ~agree
    bad[tail:] = False
    starts = np.ones(len(pairs), dtype=np.bool_)
    starts[1:] = ~(bad[1:] & bad[:-1])
    first = np.flatnonzero(starts)
    last = np.append(first[1:], len(pairs)) - 1
    return np.column_stack([pairs[first, 0], pairs[last, 1], pairs[first, 2], pairs[last, 3]])


def _window(pairs: NDArray[np.int32], bad: int, judged: Judged) -> int:
    """Number of groups of the shortest window from `bad` on whose two texts agree, 0 if there is none."""
    for size in range(SMALLEST_WINDOW, min(LARGEST_WINDOW, len(pairs) - bad) + 1):
        s0, _, t0, _ = pairs[bad].tolist()
        _, s1, _, t1 = pairs[bad + size - 1].tolist()
        for s, t in judged:
            same_length = s.at[s1] - s.at[s0] == t.at[t1] - t.at[t0]
            if same_length and s.text(s0, s1) == t.text(t0, t1):
                return size
    return 0


def _searched(
    window: NDArray[np.int32], compared: tuple[Spellings, Spellings], judged: Judged, max_span: int
) -> NDArray[np.int32]:
    """The window searched once more, or one group when the new way does not agree throughout."""
    s0, t0, s1, t1 = int(window[0, 0]), int(window[0, 2]), int(window[-1, 1]), int(window[-1, 3])
    whole = np.array([[s0, s1, t0, t1]], dtype=np.int32)
    if (s1 - s0) * (t1 - t0) > MAX_WINDOW_CELLS:
        return whole
    s, t = (Spellings.of(side.strings[a:b]) for side, a, b in zip(compared, (s0, t0), (s1, t1)))
    found = span_pairs(s, t, max_span, anchors=False)[0] + np.array([s0, s0, t0, t0], dtype=np.int32)
    return found if agreement(found, judged).all() else whole
