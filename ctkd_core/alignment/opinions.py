"""Several alignments of one pair of encodings, token by token: which methods put a student token in the same group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ctkd_core.alignment.base import Alignment
from ctkd_core.alignment.components import check_same_text
from ctkd_core.errors import AlignmentError


def opinions(alignments: Sequence[Alignment]) -> NDArray[np.int8]:
    """int8 [student tokens, methods]: which of the groups that hold this token is the method's, numbered from 0.

    Two methods have the same number at a token where their groups are the same tokens on both sides; the first method
    has 0 wherever it has a group. -1: the method has none (special tokens). Raises AlignmentError for encodings of
    different texts or tokens, and for more than 100 alignments.
    """
    if len(alignments) > 100:
        raise AlignmentError(f"at most 100 alignments are compared at once; got {len(alignments)}.")
    for one in alignments[1:]:
        check_same_text(alignments[0].student, one.student)
        for side in ("student", "teacher"):
            if not np.array_equal(getattr(alignments[0], side).ids, getattr(one, side).ids):
                raise AlignmentError(
                    f"the alignments have different {side} tokens; only alignments of one pair of tokenizers can be "
                    "compared."
                )
    count = len(alignments[0].student) if alignments else 0
    held = [_groups_held(one) for one in alignments]
    out = np.full((count, len(held)), -1, dtype=np.int8)
    fresh = np.zeros(count, dtype=np.int8)  # the next number at each token
    for k, mine in enumerate(held):
        has = mine[:, 0] >= 0
        for j in range(k):
            same = has & (out[:, k] < 0) & (mine == held[j]).all(axis=1)
            out[same, k] = out[same, j]
        new = has & (out[:, k] < 0)
        out[new, k] = fresh[new]
        fresh[new] += 1
    return out


def group_of_tokens(alignment: Alignment, side: str) -> NDArray[np.int64]:
    """int64 [n]: the group of each token of "student" or "teacher", -1 for a token in none."""
    first = 0 if side == "student" else 2
    ranges = alignment.groups[:, first : first + 2].astype(np.int64)
    lengths = ranges[:, 1] - ranges[:, 0]
    before = np.cumsum(lengths) - lengths
    owner = np.full(len(getattr(alignment, side)), -1, dtype=np.int64)
    members = np.arange(int(lengths.sum())) - np.repeat(before, lengths) + np.repeat(ranges[:, 0], lengths)
    owner[members] = np.repeat(np.arange(len(alignment)), lengths)
    return owner


def _groups_held(alignment: Alignment) -> NDArray[np.int32]:
    """int32 [n, 4]: the group of each student token, -1 four times for a token in none.

    A group without a teacher token is the same wherever between the teacher's tokens it stands.
    """
    groups = np.concatenate([alignment.groups, [[-1] * 4]]).astype(np.int32)
    groups[:-1][alignment.sizes[:, 1] == 0, 2:] = -1
    return groups[group_of_tokens(alignment, "student")]


def disputed(found: NDArray[np.int8]) -> NDArray[np.int64]:
    """int64 [k, 2]: the longest stretches of student tokens, half-open, in which at every token opinions differ.

    found: what `opinions` gives.
    """
    differs = (found > 0).any(axis=1) if found.size else np.zeros(len(found), dtype=np.bool_)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], differs, [False]]).astype(np.int8)))
    return edges.reshape(-1, 2).astype(np.int64)


def common_cuts(alignments: Sequence[Alignment]) -> NDArray[np.int64]:
    """int64 [k]: positions between student tokens, 0 and their number among them, that are inside no method's group."""
    count = len(alignments[0].student)
    inside = np.zeros(count + 2, dtype=np.int64)
    for one in alignments:
        held = one.groups[one.sizes[:, 0] > 1]
        np.add.at(inside, held[:, 0] + 1, 1)
        np.add.at(inside, held[:, 1], -1)
    return np.flatnonzero(np.cumsum(inside)[: count + 1] == 0)
