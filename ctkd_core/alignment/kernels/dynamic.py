"""Compiled loops of the X-Token aligner (numba, cached on disk). Import this module only where a kernel is called.

The slow twin is `reference.span_alignment_plain`, which tests compare the path with.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.files.machine_code import njit

# How a cell was reached. One student token over k teacher tokens is OVER_TEACHER + k, the reverse OVER_STUDENT + k.
MATCH, STUDENT_GAP, TEACHER_GAP, OVER_TEACHER, OVER_STUDENT = 0, 1, 2, 32, 64


@njit()
def same_bytes(u: NDArray[np.uint8], a: int, b: int, v: NDArray[np.uint8], c: int, d: int) -> bool:
    """Whether u[a:b] and v[c:d] are equal."""
    if b - a != d - c:
        return False
    for k in range(b - a):  # noqa: SIM110 - numba compiles no generators inside all()
        if u[a + k] != v[c + k]:
            return False
    return True


@njit()
def agreeing(
    pairs: NDArray[np.int32],
    u: NDArray[np.uint8],
    u_at: NDArray[np.int64],
    v: NDArray[np.uint8],
    v_at: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """bool [P]: whether the two ranges of each pair int32 [P, 4] spell the same (token k: u[u_at[k]:u_at[k + 1]])."""
    out = np.empty(len(pairs), np.bool_)
    for p in range(len(pairs)):
        s0, s1, t0, t1 = pairs[p]
        out[p] = same_bytes(u, u_at[s0], u_at[s1], v, v_at[t0], v_at[t1])
    return out


@njit()
def choose_anchors(at: NDArray[np.int64], length: int, m: int) -> NDArray[np.int64]:
    """Of n-grams that match, int64 [A, 2] by student position, those that overlap no earlier one and never go back."""
    taken = np.zeros(m + length, np.bool_)
    out = np.empty((len(at), 2), np.int64)
    count, s_free, t_free = 0, 0, 0
    for a in range(len(at)):
        i, j = at[a]
        if i < s_free:
            continue
        free = True
        for k in range(length):
            free &= not taken[j + k]
        if not free:
            continue
        # an anchor that goes back is dropped, but its tokens stay taken (the released order of the two tests)
        s_free = i + length
        for k in range(length):
            taken[j + k] = True
        if j >= t_free:
            out[count, 0], out[count, 1] = i, j
            t_free = j + length
            count += 1
    return out[:count]


@njit()
def span_path(
    s_code: NDArray[np.int32],
    u: NDArray[np.uint8],
    u_at: NDArray[np.int64],
    t_code: NDArray[np.int32],
    v: NDArray[np.uint8],
    v_at: NDArray[np.int64],
    pins: NDArray[np.int64],
    max_span: int,
    scores: NDArray[np.float32],
) -> NDArray[np.int32]:
    """Best way through every stretch between two pins, int32 [P, 4]; an empty range stands where a token faces nothing.

    s_code, t_code: equal numbers mean equal strings; u, u_at and v, v_at: the strings' bytes, one after another.
    pins int64 [A, 3]: (student, teacher, k): k tokens from there on face one another, k = 0 only cuts. They must not
    overlap or go back. scores: of equal tokens, per token of a span, of a gap; unequal tokens cost the first.
    """
    n, m = len(s_code), len(t_code)
    cells, width, i0, j0 = 0, 0, 0, 0
    for a in range(len(pins) + 1):
        i1, j1 = (pins[a, 0], pins[a, 1]) if a < len(pins) else (n, m)
        cells, width = max(cells, (i1 - i0 + 1) * (j1 - j0 + 1)), max(width, j1 - j0 + 1)
        if a < len(pins):
            i0, j0 = i1 + pins[a, 2], j1 + pins[a, 2]
    moves = np.empty(cells, np.uint8)
    best = np.empty((max_span + 1, width), np.float32)
    out = np.empty((n + m, 4), np.int32)
    count, i0, j0 = 0, 0, 0
    for a in range(len(pins) + 1):
        i1, j1 = (pins[a, 0], pins[a, 1]) if a < len(pins) else (n, m)
        if i1 > i0 or j1 > j0:
            _fill(s_code, u, u_at, t_code, v, v_at, i0, i1, j0, j1, max_span, scores, best, moves)
            count = _trace(moves, i0, i1, j0, j1, out, count)
        if a < len(pins):
            for k in range(pins[a, 2]):
                out[count, 0], out[count, 1], out[count, 2], out[count, 3] = i1 + k, i1 + k + 1, j1 + k, j1 + k + 1
                count += 1
            i0, j0 = i1 + pins[a, 2], j1 + pins[a, 2]
    return out[:count]


@njit()
def _fill(
    s_code: Any,
    u: Any,
    u_at: Any,
    t_code: Any,
    v: Any,
    v_at: Any,
    i0: int,
    i1: int,
    j0: int,
    j1: int,
    max_span: int,
    scores: Any,
    best: Any,
    moves: Any,
) -> None:
    """Moves of one stretch. `best` keeps the last max_span + 1 rows of scores, row i at i % (max_span + 1)."""
    n, m, kept = i1 - i0, j1 - j0, max_span + 1
    equal, per_token, gap = scores[0], scores[1], scores[2]
    for j in range(m + 1):
        best[0, j] = j * gap
        moves[j] = TEACHER_GAP
    for i in range(1, n + 1):
        here, above = best[i % kept], best[(i - 1) % kept]
        here[0] = i * gap
        moves[i * (m + 1)] = STUDENT_GAP
        x = i0 + i - 1
        x_start, x_end = u_at[x], u_at[x + 1]
        for j in range(1, m + 1):
            y = j0 + j - 1
            score = above[j - 1] + (equal if s_code[x] == t_code[y] else -equal)
            move = MATCH
            if above[j] + gap > score:
                score, move = above[j] + gap, STUDENT_GAP
            if here[j - 1] + gap > score:
                score, move = here[j - 1] + gap, TEACHER_GAP
            y_start, y_end = v_at[y], v_at[y + 1]
            for k in range(2, min(j, max_span) + 1):
                start = v_at[y + 1 - k]
                if y_end - start > x_end - x_start:
                    break  # more tokens are never shorter
                if y_end - start == x_end - x_start and same_bytes(u, x_start, x_end, v, start, y_end):
                    over = above[j - k] + per_token * k
                    if over > score:
                        score, move = over, OVER_TEACHER + k
            for k in range(2, min(i, max_span) + 1):
                start = u_at[x + 1 - k]
                if x_end - start > y_end - y_start:
                    break
                if x_end - start == y_end - y_start and same_bytes(u, start, x_end, v, y_start, y_end):
                    over = best[(i - k) % kept, j - 1] + per_token * k
                    if over > score:
                        score, move = over, OVER_STUDENT + k
            here[j] = score
            moves[i * (m + 1) + j] = move


@njit()
def _trace(moves: Any, i0: int, i1: int, j0: int, j1: int, out: Any, count: int) -> int:
    """Walk back through one stretch; `out` receives its pairs in text order from `count` on. Returns the new count."""
    i, j, m = i1 - i0, j1 - j0, j1 - j0
    first = count
    while i > 0 or j > 0:
        move = moves[i * (m + 1) + j]
        if move >= OVER_STUDENT:
            s, t = move - OVER_STUDENT, 1
        elif move >= OVER_TEACHER:
            s, t = 1, move - OVER_TEACHER
        else:
            s, t = 0 if move == TEACHER_GAP else 1, 0 if move == STUDENT_GAP else 1
        out[count, 0], out[count, 1], out[count, 2], out[count, 3] = i0 + i - s, i0 + i, j0 + j - t, j0 + j
        i -= s
        j -= t
        count += 1
    for k in range((count - first) // 2):
        for c in range(4):
            out[first + k, c], out[count - 1 - k, c] = out[count - 1 - k, c], out[first + k, c]
    return count
