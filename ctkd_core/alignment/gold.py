"""GOLD: groups close where both sides have reached the same byte of the text.

Source: General On-Policy Logit Distillation in TRL 1.16, `trl.experimental.gold` (byte offsets since June 2026).
Differs (variant "clean"): any tokenizer with exact byte spans, not only byte-level ones; what is left over at the end
is not forced into one group but grouped by shared bytes; groups whose sides cover different bytes are flagged.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ctkd_core.alignment.base import Alignment
from ctkd_core.alignment.boundaries import (
    boundary_groups,
    bytes_at,
    left_over_note,
    lists_to_groups,
    placed,
    same_bytes,
    text_positions,
)
from ctkd_core.alignment.components import check_same_text, coverage_notes
from ctkd_core.alignment.mined import mined
from ctkd_core.alignment.positional import uld
from ctkd_core.alignment.released import gold as released
from ctkd_core.errors import AlignmentError, unknown
from ctkd_core.tokenizers.encoding import Encoding

GROUPINGS = ("bytes", "dtw", "positional")


def gold(student: Encoding, teacher: Encoding, *, variant: str = "clean", groups: str = "bytes") -> Alignment:
    """Groups between common byte boundaries; `flags` says which of them cover the same bytes on both sides.

    groups  "bytes"; or, to see what errors of the alignment cost the same loss, "dtw": the connected components of
            MinED's path, or "positional": ULD's pairs by index (variant "clean" only)

    Tokens over bytes that the other side leaves uncovered join the group that follows. `released` takes byte offsets
    from the reported characters as the trainer does and forces the left-over tokens into one last group; where that
    group lacks a side the trainer drops it, here it stays as a one-sided group.

    Raises AlignmentError for two different texts, an unknown `groups`, and with `released` for other `groups` than
    "bytes" and for tokenizers that aren't byte-level.
    """
    if groups not in GROUPINGS:
        raise unknown("value of 'groups'", groups, GROUPINGS, AlignmentError)
    if variant == "released" and groups != "bytes":
        raise AlignmentError(f"variant 'released' has its own groups and reads no 'groups' ({groups!r}); leave it out.")
    check_same_text(student, teacher)
    if variant == "released":
        found, notes = _released(student, teacher)
    elif groups == "bytes":
        found, notes = _clean(student, teacher)
    else:
        other = (mined if groups == "dtw" else uld)(student, teacher)
        found, notes = other.groups, (f"The groups are those of {other.method!r}, which may join different text.",)
    alignment = Alignment(
        student=student,
        teacher=teacher,
        method="gold",
        groups=found,
        variant=variant,
        options={"groups": groups},
        notes=(*coverage_notes(student, teacher), *notes),
    )
    return replace(alignment, flags=same_bytes(alignment))


def _clean(student: Encoding, teacher: Encoding) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    groups, left_over = boundary_groups(student, teacher)
    return groups, left_over_note(left_over)


def _released(student: Encoding, teacher: Encoding) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    released.check_byte_level(**{side: e.kind in ("byte-level", "") for side, e in _sides(student, teacher)})
    s_at, t_at = text_positions(student), text_positions(teacher)
    s, t = _offsets(student, s_at), _offsets(teacher, t_at)
    lists = released.end_boundary_walk(s, t)
    notes: tuple[str, ...] = ()
    if lists and not _closes(lists[-1], s, t):
        mine, other = map(len, lists[-1])
        notes = (
            f"The last {mine} student and {other} teacher tokens never end at one byte together; the released trainer "
            + ("closes them as one group all the same." if mine and other else "drops them."),
        )
    return placed(lists_to_groups(lists), s_at, t_at, student, teacher), notes


def _sides(student: Encoding, teacher: Encoding) -> tuple[tuple[str, Encoding], ...]:
    return (("student", student), ("teacher", teacher))


def _offsets(encoding: Encoding, at: NDArray[np.int64] | None) -> list[list[int]]:
    chars = encoding.char_spans if at is None else encoding.char_spans[at]
    return released.byte_offsets(encoding.text, chars.tolist(), bytes_at(encoding, at))


def _closes(group: tuple[list[int], list[int]], s: list[list[int]], t: list[list[int]]) -> bool:
    return bool(group[0] and group[1]) and s[group[0][-1]][1] == t[group[1][-1]][1]
