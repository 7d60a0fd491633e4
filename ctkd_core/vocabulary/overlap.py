"""Overlap: how much of two vocabularies is the same, counted three ways.

As raw vocabulary strings (what TRL's vocabulary map compares), by canonical form (what X-Token counts) and by bytes
(what this project's exact map uses). "Ġthe" and "▁the" differ as strings and agree in the other two.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ctkd_core.errors import unknown
from ctkd_core.files.sized_cache import MIB, sized_cache
from ctkd_core.tokenizers.canonical import canonical_table
from ctkd_core.tokenizers.load import as_pair

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

WAYS = ("raw", "canonical", "bytes")


@dataclass(frozen=True)
class SpellingShares:
    """One way of counting.

    count    distinct spellings that both vocabularies have
    student  share of the student's tokens that have one of them; teacher: of the teacher's
    smaller  `count` over the distinct spellings of the vocabulary that has fewer
    """

    count: int
    student: float
    teacher: float
    smaller: float


@dataclass(frozen=True, eq=False)
class Overlap:
    """What two vocabularies share. Sizes count tokens, added ones included, not ids.

    shares           one of SpellingShares for each of WAYS
    student_matched  bool [student.n_ids] for each of WAYS: this student token is shared; teacher_matched likewise

    Special tokens count as raw strings and, by canonical form, by their role; they spell no bytes.
    """

    student_size: int
    teacher_size: int
    shares: dict[str, SpellingShares]
    student_matched: dict[str, NDArray[np.bool_]] = field(repr=False)
    teacher_matched: dict[str, NDArray[np.bool_]] = field(repr=False)

    @property
    def raw(self) -> int:
        """Shared raw vocabulary strings."""
        return self.shares["raw"].count

    @property
    def canonical(self) -> int:
        """Shared canonical forms."""
        return self.shares["canonical"].count

    @property
    def bytes(self) -> int:
        """Shared byte strings."""
        return self.shares["bytes"].count

    def matched(self, way: str = "canonical") -> NDArray[np.bool_]:
        """bool [student.n_ids]: student tokens that the teacher has too, counted one of WAYS."""
        if way not in WAYS:
            raise unknown("way to count an overlap", way, WAYS)
        return self.student_matched[way]


def overlap(student: Tokenizer, teacher: Tokenizer) -> Overlap:
    """What the two vocabularies share; about 0.3 s for 128k x 152k tokens the first time, then kept."""
    return _overlap(*as_pair(student, teacher))


@sized_cache(64 * MIB)
def _overlap(student: Tokenizer, teacher: Tokenizer) -> Overlap:
    own, other = _spellings(student), _spellings(teacher)
    shares: dict[str, SpellingShares] = {}
    masks: tuple[dict[str, NDArray[np.bool_]], dict[str, NDArray[np.bool_]]] = ({}, {})
    for way in WAYS:
        shares[way], masks[0][way], masks[1][way] = _compare(own[way], other[way])
    return Overlap(student.vocab_size, teacher.vocab_size, shares, *masks)


@dataclass(frozen=True, eq=False)
class _Spellings:
    """A vocabulary counted one way, as numbers: equal spellings have equal ones.

    numbers   int64 [n_ids], 0 for ids without a spelling
    distinct  int64, the distinct ones, ascending, without 0
    """

    numbers: NDArray[np.int64]
    distinct: NDArray[np.int64]


@sized_cache(64 * MIB)
def _spellings(tokenizer: Tokenizer) -> dict[str, _Spellings]:
    """For each of WAYS the spelling of every id. Kept: all pairs of n tokenizers ask for each n - 1 times."""
    spelled = list(tokenizer.all_token_bytes())
    for token_id in tokenizer.special_ids:
        spelled[token_id] = b""
    raw = [tokenizer.token(token_id) for token_id in range(tokenizer.n_ids)]
    return {
        "raw": _numbered(map(_encoded, raw)),
        "canonical": _numbered(map(_encoded, canonical_table(tokenizer))),
        "bytes": _numbered(spelled),
    }


def _encoded(text: str) -> bytes:
    """Python's hash of a text is that of its characters in one, two or four bytes each: "GY" has that of "\u5947"."""
    return text.encode("utf-8", "surrogatepass")


def _numbered(spellings: Iterable[bytes]) -> _Spellings:
    """By Python's hash of 64 bits, which has a secret key: two of 2^18 spellings meet once in 5e8 processes."""
    numbers = np.fromiter((hash(each) if each else 0 for each in spellings), np.int64)
    distinct = np.unique(numbers)
    return _Spellings(numbers, distinct[distinct != 0])


def _compare(student: _Spellings, teacher: _Spellings) -> tuple[SpellingShares, NDArray[np.bool_], NDArray[np.bool_]]:
    """Shares and the two masks; empty spellings (ids without text) are no tokens."""
    common = np.intersect1d(student.distinct, teacher.distinct, assume_unique=True)
    masks = [_among(side.numbers, common) for side in (student, teacher)]
    totals = [int((side.numbers != 0).sum()) for side in (student, teacher)]
    rates = [float(mask.sum()) / total if total else 0.0 for mask, total in zip(masks, totals)]
    fewer = min(len(student.distinct), len(teacher.distinct))
    return SpellingShares(len(common), rates[0], rates[1], len(common) / fewer if fewer else 0.0), masks[0], masks[1]


def _among(numbers: NDArray[np.int64], ascending: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool, the shape of `numbers`: which are among the others."""
    if not len(ascending):
        return np.zeros(len(numbers), np.bool_)
    at = np.searchsorted(ascending, numbers).clip(max=len(ascending) - 1)
    found: NDArray[np.bool_] = ascending[at] == numbers
    return found
