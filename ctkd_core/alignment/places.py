"""Where in the text the two sides of a group stand: at one place, at different ones, at several that could be parted.

Bytes of the text decide, not their spelling: a token that a normaliser rewrote still stands where it was made of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ctkd_core.alignment.components import smallest_groups
from ctkd_core.tokenizers.encoding import Encoding

if TYPE_CHECKING:
    from ctkd_core.alignment.base import Alignment


@dataclass(frozen=True, eq=False)
class Places:
    """What the groups of an alignment have in common with the text.

    shared     bool [G]: both sides cover some byte of the text together, or one of them covers none at all
    misplaced  bytes under a student token of one group and a teacher token of another, where one of the two groups
               has two sides: whatever that byte faces, it isn't itself
    divisible  groups that hold more than one of the smallest groups in which every byte faces itself
    """

    shared: NDArray[np.bool_]
    misplaced: int
    divisible: int


def places(alignment: Alignment) -> Places:
    """Compare both sides of every group byte by byte. Special tokens have no place."""
    count, length = len(alignment), alignment.student.n_bytes
    groups = alignment.groups
    student = _owners(alignment.student, groups[:, :2], length)
    teacher = _owners(alignment.teacher, groups[:, 2:], length)
    known = (student >= 0) & (teacher >= 0)
    own = known & (student == teacher)
    apart = known & ~own
    two_sided = np.asarray((alignment.sizes > 0).all(axis=1))
    misplaced = int((two_sided[student[apart]] | two_sided[teacher[apart]]).sum())
    shared = np.logical_not(_covering(student, count) & _covering(teacher, count))
    shared[student[own]] = True
    smallest = smallest_groups(alignment.student, alignment.teacher)
    parts = _owners(alignment.student, smallest[:, :2], length)
    return Places(shared, misplaced, _divisible(student[own], parts[own]))


def _owners(encoding: Encoding, ranges: NDArray[np.int32], length: int) -> NDArray[np.int64]:
    """int64 [length]: for each byte of the text the range of tokens that covers it, -1 for none."""
    size = (ranges[:, 1] - ranges[:, 0]).astype(np.int64)
    of_token = np.full(len(encoding), -1, dtype=np.int64)
    of_token[_positions(ranges[:, 0], size)] = np.repeat(np.arange(len(ranges)), size)
    chosen = np.flatnonzero((of_token >= 0) & ~encoding.special)
    start = encoding.spans[chosen, 0]
    width = encoding.spans[chosen, 1] - start
    owners = np.full(length, -1, dtype=np.int64)
    owners[_positions(start, width)] = np.repeat(of_token[chosen], width)
    return owners


def _positions(starts: NDArray[np.integer], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """All positions of ranges, one after the other."""
    first = np.cumsum(sizes) - sizes
    return np.arange(int(sizes.sum())) - np.repeat(first, sizes) + np.repeat(starts.astype(np.int64), sizes)


def _covering(owners: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """bool [count]: ranges that cover some byte."""
    found = np.zeros(count, dtype=np.bool_)
    found[owners[owners >= 0]] = True
    return found


def _divisible(mine: NDArray[np.int64], parts: NDArray[np.int64]) -> int:
    """How many of the groups `mine` meet more than one part; both arrays have one entry a byte."""
    if not len(mine):
        return 0
    begins = np.concatenate([[True], (mine[1:] != mine[:-1]) | (parts[1:] != parts[:-1])])
    width = int(parts.max()) + 1
    pairs = np.unique(mine[begins] * width + parts[begins])  # one number for each pair
    return int((np.unique(pairs // width, return_counts=True)[1] > 1).sum())
