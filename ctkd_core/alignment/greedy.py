"""Greedy text matching, GOLD's first alignment: two text buffers grow and a group closes when they are equal.

The shorter buffer is extended; buffers that never meet again make the rest of the text one group. This is the collapse
that byte offsets ended (`gold.py`), and the method is kept to show it. Source: huggingface/trl, the parent of 2ac060ee.
Differs (variant "clean"): the buffers hold the tokens' bytes, not what the decoder makes of them, so characters that
tokens cut do no harm, and special tokens that a template adds take no part. What is left is the collapse where two
tokenizers spell a text differently: a normaliser, or a blank before the first word on one side only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.alignment.base import Alignment
from ctkd_core.alignment.boundaries import bytes_at, closed_groups, placed, text_positions
from ctkd_core.alignment.components import check_same_text, to_positions
from ctkd_core.alignment.released.decoding import decoded_pieces
from ctkd_core.tokenizers.encoding import Encoding


def gold_greedy(student: Encoding, teacher: Encoding, *, variant: str = "clean") -> Alignment:
    """Groups of equal text, then all the rest as one group, which `flags` marks as incorrect.

    `released` compares decoded text and reads special tokens as text like any other; they are taken out of the groups
    that closed, and stay in the one that did not. Raises AlignmentError for two different texts.
    """
    check_same_text(student, teacher)
    groups, met = _released(student, teacher) if variant == "released" else _clean(student, teacher)
    both = (groups[:, 0] < groups[:, 1]) & (groups[:, 2] < groups[:, 3])
    return Alignment(
        student=student,
        teacher=teacher,
        method="gold-greedy",
        groups=groups,
        variant=variant,
        notes=_collapse_note(student, teacher, met),
        flags=both & (groups[:, 1] <= met[0]) & (groups[:, 3] <= met[1]),
    )


def buffer_groups(
    student: Sequence[str | bytes], teacher: Sequence[str | bytes], empty: bool = False
) -> tuple[NDArray[np.int32], int]:
    """Groups int32 [G, 4] of two lists of strings, and how many of them closed (the last may not have).

    Pieces that add nothing belong to the group that follows; with `empty` those of both sides pair off in order.
    Linear: buffers that were equal at the end of every group can only meet inside the common start of both texts.
    """
    (s, s_codes), (t, t_codes) = _measured(student), _measured(teacher)
    shared = _common_start(s_codes, t_codes)
    s_in, t_in = (int(np.searchsorted(x[:, 1], shared, side="right")) for x in (s, t))
    groups = closed_groups(s[:s_in], t[:t_in])
    if not empty and len(groups):
        ends = s[groups[:, 1] - 1, 1]
        groups = groups[np.diff(ends, prepend=0) > 0]
        groups[1:, [0, 2]] = groups[:-1, [1, 3]]
        groups[:1, [0, 2]] = 0
    i, j = _last_ends(groups)
    if i == len(student) and j == len(teacher):
        return groups, len(groups)
    rest = np.array([[i, len(student), j, len(teacher)]], dtype=np.int32)
    return np.concatenate([groups, rest]), len(groups)


def _clean(student: Encoding, teacher: Encoding) -> tuple[NDArray[np.int32], tuple[int, int]]:
    """Groups, and the positions up to which the buffers met."""
    s_at, t_at = text_positions(student), text_positions(teacher)
    groups, closed = buffer_groups(bytes_at(student, s_at), bytes_at(teacher, t_at), empty=True)
    i, j = met = _last_ends(to_positions(groups[:closed], s_at, t_at))
    rest = np.array([i, i, j, j], dtype=np.int32) + one_group(~student.special[i:], ~teacher.special[j:])
    return np.concatenate([placed(groups[:closed], s_at, t_at, student, teacher), rest]), met


def one_group(student: NDArray[np.bool_], teacher: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The tokens marked in either list as one group int32 [G, 4], divided only where unmarked ones lie in between."""
    s_at, t_at = np.flatnonzero(student), np.flatnonzero(teacher)
    if not len(s_at) and not len(t_at):
        return np.zeros((0, 4), dtype=np.int32)
    return to_positions(np.array([[0, len(s_at), 0, len(t_at)]], dtype=np.int32), s_at, t_at)


def _released(student: Encoding, teacher: Encoding) -> tuple[NDArray[np.int32], tuple[int, int]]:
    groups, closed = buffer_groups(decoded_pieces(student), decoded_pieces(teacher))
    i, j = met = _last_ends(groups[:closed])
    rest = groups[closed:] if not (student.special[i:].all() and teacher.special[j:].all()) else groups[:0]
    return np.concatenate([placed(groups[:closed], None, None, student, teacher), rest]), met


def _last_ends(groups: NDArray[np.int32]) -> tuple[int, int]:
    return (int(groups[-1, 1]), int(groups[-1, 3])) if len(groups) else (0, 0)


def _measured(pieces: Sequence[str | bytes]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Where each piece begins and ends in all of them together, int64 [n, 2]; and the characters or bytes of all."""
    sizes = np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces))
    ends = np.cumsum(sizes)
    if pieces and isinstance(pieces[0], bytes):
        codes = np.frombuffer(b"".join(pieces), dtype=np.uint8)  # type: ignore[arg-type]
    else:
        codes = np.frombuffer("".join(pieces).encode("utf-32-le"), dtype=np.uint32)  # type: ignore[arg-type]
    return np.stack([ends - sizes, ends], axis=1), codes


def _common_start(a: NDArray[Any], b: NDArray[Any]) -> int:
    """How many entries from the start are equal."""
    shorter = min(len(a), len(b))
    different = np.flatnonzero(a[:shorter] != b[:shorter])
    return int(different[0]) if len(different) else shorter


def _collapse_note(student: Encoding, teacher: Encoding, met: tuple[int, int]) -> tuple[str, ...]:
    left = len(student) - met[0], len(teacher) - met[1]
    s, t = (~e.special[at:] for e, at in zip((student, teacher), met))
    if not s.any() and not t.any():
        return ()
    return (
        f"The two texts stop matching at student token {met[0]} and teacher token {met[1]}: from there on "
        f"{left[0]} and {left[1]} tokens are one group, which nothing inside aligns.",
    )
