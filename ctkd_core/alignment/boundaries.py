"""Groups between common byte boundaries: one closes wherever a token of either side ends at the same byte.

GOLD and ALM both walk this way. On texts that both sides cover completely these are the span components; where a side
leaves bytes uncovered, the other side's tokens over them join the group that follows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctkd_core.alignment.base import Alignment
from ctkd_core.alignment.components import component_ranges, to_positions
from ctkd_core.tokenizers.encoding import Encoding


def boundary_groups(student: Encoding, teacher: Encoding) -> tuple[NDArray[np.int32], tuple[int, int]]:
    """Groups int32 [G, 4] over the tokens that aren't special, and how many of either side were left over at the end.

    Tokens after the last common end are not forced together: they are grouped by the bytes that they share.
    """
    s_at, t_at = text_positions(student), text_positions(teacher)
    s, t = _spans_at(student, s_at), _spans_at(teacher, t_at)
    closed = closed_groups(s, t)
    s_end, t_end = (int(closed[-1, 1]), int(closed[-1, 3])) if len(closed) else (0, 0)
    rest = component_ranges(s[s_end:], t[t_end:]) + np.array([s_end, s_end, t_end, t_end], dtype=np.int32)
    groups = np.concatenate([closed, rest]).astype(np.int32)
    return placed(groups, s_at, t_at, student, teacher), (len(s) - s_end, len(t) - t_end)


def closed_groups(student_spans: NDArray[np.int64], teacher_spans: NDArray[np.int64]) -> NDArray[np.int32]:
    """Groups int32 [G, 4] of two span lists int64 [n, 2], [m, 2] whose ends don't decrease, up to the last common end.

    Tokens that end where the one before them ended (they cover nothing) pair off in order; one that finds no partner
    belongs to the group that follows.
    """
    from ctkd_core.alignment.kernels import spans as kernels

    out = np.empty((min(len(student_spans), len(teacher_spans)), 4), dtype=np.int32)
    return out[: kernels.common_ends(student_spans, teacher_spans, out)]


def text_positions(encoding: Encoding) -> NDArray[np.int64] | None:
    """Positions int64 [k] of the tokens that a walk over the text meets, or None when it meets all of them.

    All but the special ones that a template adds: where a text spells a special token, that token stands for its bytes.
    """
    added = encoding.special & (encoding.spans[:, 0] == encoding.spans[:, 1])
    return np.flatnonzero(~added) if added.any() else None


def bytes_at(encoding: Encoding, positions: NDArray[np.int64] | None) -> list[bytes]:
    """Bytes of the tokens at `positions` (None: of all)."""
    pieces = encoding.token_bytes
    return pieces if positions is None else [pieces[k] for k in positions.tolist()]


def _spans_at(encoding: Encoding, positions: NDArray[np.int64] | None) -> NDArray[np.int64]:
    return np.ascontiguousarray(encoding.spans if positions is None else encoding.spans[positions])


def placed(
    groups: NDArray[np.int32],
    student_at: NDArray[np.int64] | None,
    teacher_at: NDArray[np.int64] | None,
    student: Encoding,
    teacher: Encoding,
) -> NDArray[np.int32]:
    """Groups over the given positions (None: all) as groups over all tokens, without the special ones.

    Where a group held special tokens, its others are grouped by the bytes that they share.
    """
    groups = to_positions(groups, student_at, teacher_at)
    if not (student.special.any() or teacher.special.any()):
        return groups
    s_before, t_before = (np.concatenate([[0], np.cumsum(e.special)]) for e in (student, teacher))
    holed = (s_before[groups[:, 1]] > s_before[groups[:, 0]]) | (t_before[groups[:, 3]] > t_before[groups[:, 2]])
    if not holed.any():
        return groups
    parts, done = [], 0
    for g in np.flatnonzero(holed).tolist():
        s0, s1, t0, t1 = groups[g].tolist()
        s_at, t_at = np.flatnonzero(~student.special[s0:s1]), np.flatnonzero(~teacher.special[t0:t1])
        inner = component_ranges(student.spans[s0:s1][s_at], teacher.spans[t0:t1][t_at])
        parts += [groups[done:g], to_positions(inner, s_at, t_at) + np.array([s0, s0, t0, t0], dtype=np.int32)]
        done = g + 1
    return np.concatenate([*parts, groups[done:]]).astype(np.int32)


def same_bytes(alignment: Alignment) -> NDArray[np.bool_]:
    """bool [G]: two-sided groups whose sides begin at the same byte, end at the same byte and cover as many."""
    groups = alignment.groups
    equal = np.asarray((alignment.sizes > 0).all(axis=1))
    some = np.flatnonzero(equal)
    s, t = (side.spans for side in (alignment.student, alignment.teacher))
    s0, s1, t0, t1 = groups[some].T
    s_width, t_width = (np.concatenate([[0], np.cumsum(_added(x))]) for x in (s, t))
    equal[some] = (
        (s[s0, 0] == t[t0, 0])
        & (s[s1 - 1, 1] == t[t1 - 1, 1])
        & (s_width[s1] - s_width[s0] == t_width[t1] - t_width[t0])
    )
    return equal


def _added(spans: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64 [n]: bytes that each token covers and none before it does."""
    reached = np.concatenate([[0], np.maximum.accumulate(spans[:, 1])[:-1]]) if len(spans) else spans[:, 1]
    return np.maximum(spans[:, 1] - np.maximum(spans[:, 0], reached), 0)


def left_over_note(left_over: tuple[int, int]) -> tuple[str, ...]:
    """A sentence on tokens that no common end closes."""
    if not any(left_over):
        return ()
    return (
        f"The last {left_over[0]} student and {left_over[1]} teacher tokens never end at one byte together. They are "
        "grouped by the bytes that they share, and flagged.",
    )


def lists_to_groups(lists: list[tuple[list[int], list[int]]]) -> NDArray[np.int32]:
    """Groups as lists of neighbouring tokens -> int32 [G, 4]; an empty side stands after the tokens before it."""
    rows, s_here, t_here = [], 0, 0
    for mine, other in lists:
        s0, s_here = (mine[0], mine[-1] + 1) if mine else (s_here, s_here)
        t0, t_here = (other[0], other[-1] + 1) if other else (t_here, t_here)
        rows.append([s0, s_here, t0, t_here])
    return np.array(rows, dtype=np.int32).reshape(-1, 4)
