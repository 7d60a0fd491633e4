"""Exact token alignment (DSKD v2): tokens that are equal and stand after equal text face each other, no others do.

Source: DSKDv2 (arXiv 2504.11426) and its released code. Differs (variant "clean"): "equal text before" is decided on
the bytes of the text that each token covers rather than on strings without blanks, and the tokens that the method
masks are kept, each as a one-sided group.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ctkd_core.alignment.base import Alignment
from ctkd_core.alignment.components import check_same_text, coverage_notes
from ctkd_core.alignment.dtw import positions
from ctkd_core.tokenizers.encoding import Encoding


def exact_tokens(student: Encoding, teacher: Encoding, *, variant: str = "clean") -> Alignment:
    """Pairs of equal tokens with equal history over the tokens that aren't special; every other token stands alone.

    clean     both tokens cover the same bytes of the text and spell the same, blanks aside
    released  two pointers over strings without blanks: a blank belongs to neither of its neighbours

    Raises AlignmentError for two different texts.
    """
    check_same_text(student, teacher)
    s_at, t_at = positions(student), positions(teacher)
    s, t = ([e.token_bytes[k] for k in at.tolist()] for e, at in ((student, s_at), (teacher, t_at)))
    if variant == "released":
        pairs = equal_history([_text(x) for x in s], [_text(x) for x in t])
    else:
        pairs = _equal_spans(student.spans[s_at], teacher.spans[t_at])
        equal = [s[i] == t[j] or _text(s[i]) == _text(t[j]) for i, j in pairs.tolist()]
        pairs = pairs[np.array(equal, dtype=np.bool_)]
    s_groups, t_groups = _group_numbers(pairs, len(s_at), len(t_at))
    return Alignment(
        student=student,
        teacher=teacher,
        method="dskd-eta",
        groups=_groups(s_groups, t_groups, s_at, t_at),
        pairs=np.stack([s_at[pairs[:, 0]], t_at[pairs[:, 1]]], axis=1).astype(np.int32),
        variant=variant,
        notes=(*coverage_notes(student, teacher), _masked_note(len(pairs), len(s_at), len(t_at))),
    )


def equal_history(
    student: Sequence[str], teacher: Sequence[str], end_pairs: Sequence[tuple[str, str]] = ()
) -> NDArray[np.int32]:
    """The released rule over strings whose markers are gone: int32 [P, 2].

    A pair needs equal joined strings before it and equal strings; otherwise the side with the shorter text before it
    goes on, both where the lengths are equal. `end_pairs`: (student, teacher) strings that count as equal.
    """
    ends = set(end_pairs)
    pairs = []
    i = j = 0
    s_pending = t_pending = ""  # what each side says after the last text that both agree on
    while i < len(student) and j < len(teacher):
        s_length, t_length = len(s_pending), len(t_pending)
        if s_length == t_length:
            if s_pending != t_pending:
                break  # texts that differ once are never equal again
            s_pending = t_pending = ""
            if student[i] == teacher[j] or (student[i], teacher[j]) in ends:
                pairs.append((i, j))
        if s_length <= t_length:
            s_pending += student[i]
            i += 1
        if t_length <= s_length:
            t_pending += teacher[j]
            j += 1
    return np.array(pairs, dtype=np.int32).reshape(-1, 2)


def _equal_spans(s: NDArray[np.int64], t: NDArray[np.int64]) -> NDArray[np.int32]:
    """Tokens that cover exactly the same bytes, int32 [P, 2]; where several do, the first of each side in order."""
    wide = 1 + int(max(s.max(initial=0), t.max(initial=0)))
    s_key, t_key = s[:, 0] * wide + s[:, 1], t[:, 0] * wide + t[:, 1]
    # tokens that cover nothing are equal to none
    s_key, t_key = np.where(s[:, 1] > s[:, 0], s_key, -1), np.where(t[:, 1] > t[:, 0], t_key, -2)
    _, i, j = np.intersect1d(s_key, t_key, return_indices=True)
    # unsorted spans could make pairs that cross: keep those that go forward on both sides
    order = np.argsort(i, kind="stable")
    i, j = i[order], j[order]
    forward = j > np.concatenate([[-1], np.maximum.accumulate(j)[:-1]]) if len(j) else np.zeros(0, dtype=np.bool_)
    return np.stack([i[forward], j[forward]], axis=1).astype(np.int32)


def _group_numbers(pairs: NDArray[np.int32], n: int, m: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Group of each content token, int64 [n] and [m]: a pair shares one, between pairs students come first."""
    s_pairs, t_pairs = pairs.T.astype(np.int64)
    # tokens of the other side in earlier groups: up to the last pair for a student, up to the next one for a teacher
    t_before = np.append(0, t_pairs + 1)[np.searchsorted(s_pairs, np.arange(n), "left")]
    s_before = np.append(s_pairs, n)[np.searchsorted(t_pairs, np.arange(m), "left")]
    # a pair counts twice among the tokens before a group, but is one group
    s_numbers = np.arange(n) + t_before - np.searchsorted(s_pairs, np.arange(n), "left")
    t_numbers = np.arange(m) + s_before - np.searchsorted(t_pairs, np.arange(m), "left")
    s_numbers[s_pairs] = t_numbers[t_pairs]
    return s_numbers, t_numbers


def _groups(
    s_numbers: NDArray[np.int64], t_numbers: NDArray[np.int64], s_at: NDArray[np.int64], t_at: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Groups int32 [G, 4] over all tokens, from the group of each content token; an empty side follows the last one."""
    count = int(max(s_numbers.max(initial=-1), t_numbers.max(initial=-1))) + 1
    out = np.zeros((count, 4), dtype=np.int32)
    for column, numbers, at in ((0, s_numbers, s_at), (2, t_numbers, t_at)):
        own = np.zeros(count, dtype=np.bool_)
        own[numbers] = True
        out[numbers, column + 1] = at + 1
        out[:, column + 1] = np.maximum.accumulate(out[:, column + 1])
        out[:, column] = out[:, column + 1]
        out[numbers, column] = at
    return out


def _text(piece: bytes) -> str:
    """One character a byte, as byte-level vocabularies spell it, without blanks: pieces of a character add up."""
    return piece.replace(b" ", b"").decode("latin-1")


def _masked_note(pairs: int, students: int, teachers: int) -> str:
    return (
        f"{pairs} of {students} student tokens and of {teachers} teacher tokens have an equal partner; the method "
        "masks all others."
    )
