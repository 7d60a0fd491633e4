"""Which ids of two vocabularies are one token: the columns that a loss may compare by identity."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctkd_core.errors import LossInputError

if TYPE_CHECKING:
    from ctkd_core.losses.base import StateContext
    from ctkd_core.losses.batch import AlignedBatch
    from ctkd_core.tokenizers.tokenizer import Tokenizer


class SameObject:
    """A key for caches of what is made of a map: scipy matrices can't be hashed, so the object itself counts.

    Equal to another one only if both hold the very same object, which it keeps alive, with the same entries: a caller
    may change a scipy matrix between two steps.
    """

    def __init__(self, value: Any):
        self.value = value
        self._entries = _stamp(value)

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SameObject) and other.value is self.value and other._entries == self._entries


def _stamp(value: Any) -> tuple[float, ...]:
    """What tells the entries of a sparse matrix from those that it had before; () for anything else.

    Sums weighed by the place, so that rows which are scaled to 1 anew, or entries that trade places, are told apart.
    """
    if not hasattr(value, "nnz") or not isinstance(getattr(value, "data", None), np.ndarray):
        return ()
    data = value.data.ravel()
    ramp = np.arange(1, len(data) + 1, dtype=np.float64)
    places = [getattr(value, name, None) for name in ("indices", "row", "col", "indptr")]
    sums = [float(p @ ramp[: len(p)]) if len(p) <= len(ramp) else float(p.sum()) for p in places if p is not None]
    return float(value.nnz), float(data @ ramp), *sums


@dataclass(frozen=True)
class Matched:
    """One-to-one matched columns and the others, int64.

    student, teacher            [M] ids of the same token, by student id
    student_rest, teacher_rest  [Vs - M], [Vt - M] the other columns of the logits, padding columns among them
    """

    student: Tensor
    teacher: Tensor
    student_rest: Tensor
    teacher_rest: Tensor

    def to(self, device: Any) -> Matched:
        """The same on another device; made once for each."""
        return self if self.student.device == torch.device(device) else _moved(SameObject(self), str(device))


def matched_ids(
    projection: Any, batch: AlignedBatch | StateContext, widths: tuple[int, int], raw: bool = False
) -> Matched:
    """Matched columns for logits of these widths.

    projection  a Projection or scipy matrix [Vs, Vt]: entries that are alone in their row with weight 1; of several
                student ids on one teacher id the lowest keeps it. None: the batch's tokenizers, equal bytes, or equal
                vocabulary strings with `raw`.
    Raises LossInputError when nothing matches or no tokenizers are there.
    """
    if projection is not None:
        return _matched(SameObject(projection), tuple(widths))
    if batch.student is None or batch.teacher is None:
        raise LossInputError(
            "matching tokens by identity needs both tokenizers: pass them to collate(samples, student, teacher), or "
            "give a projection."
        )
    return _matched_tokens(batch.student, batch.teacher, tuple(widths), raw)


# Looking a vocabulary through takes longer than a step of the loss on a GPU: once for each map and width.
@lru_cache(maxsize=8)
def _matched(projection: SameObject, widths: tuple[int, int]) -> Matched:
    return matched_from_pairs(one_to_one(projection.value), widths)


@lru_cache(maxsize=8)
def _matched_tokens(student: Tokenizer, teacher: Tokenizer, widths: tuple[int, int], raw: bool) -> Matched:
    return matched_from_pairs((_by_string if raw else _by_bytes)(student, teacher), widths)


@lru_cache(maxsize=8)
def _moved(matched: SameObject, device: str) -> Matched:
    own = matched.value
    return Matched(*(t.to(device) for t in (own.student, own.teacher, own.student_rest, own.teacher_rest)))


def matched_from_pairs(pairs: Any, widths: tuple[int, int], none: bool = False) -> Matched:
    """Matched columns from (student, teacher) ids [M, 2], none of them twice on its side, for logits of these widths.

    Pairs beyond the widths are left out. Raises LossInputError when none is left, unless `none` may be.
    """
    pairs = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    pairs = pairs[(pairs[:, 0] < widths[0]) & (pairs[:, 1] < widths[1])]
    if not len(pairs) and not none:
        raise LossInputError(
            "the two vocabularies share no token, so nothing can be compared by identity; use hybrid=False, or a "
            "method that needs no common tokens."
        )
    rest = [torch.ones(width, dtype=torch.bool) for width in widths]
    for column, free in enumerate(rest):
        free[torch.from_numpy(pairs[:, column].copy())] = False
    ids = [torch.from_numpy(pairs[:, column].copy()) for column in (0, 1)]
    return Matched(ids[0], ids[1], *(free.nonzero().squeeze(1) for free in rest))


def without_doubles(projection: Any, teacher: bool = True) -> Any:
    """The matrix [Vs, Vt] of a Projection without ids that only double another one's bytes; a plain matrix as it is.

    "<0x31>" stands beside "1" in vocabularies with byte fallback; the tokenizer writes "1", so that is the id compared.
    `teacher` False keeps the teacher's doubles.
    """
    matrix = getattr(projection, "matrix", projection).tocsr()
    if not hasattr(projection, "student"):
        return matrix
    from scipy.sparse import diags

    keep = [np.ones(size, dtype=matrix.dtype) for size in matrix.shape]
    keep[0][list(projection.student.doubles)] = 0
    keep[1][list(projection.teacher.doubles) if teacher else []] = 0
    if keep[0].all() and keep[1].all():
        return matrix
    found = (diags(keep[0]) @ matrix @ diags(keep[1])).tocsr()
    found.eliminate_zeros()
    return found


def one_to_one(projection: Any) -> NDArray[np.int64]:
    """int64 [M, 2]: (row, column) of entries of weight 1 that are alone in their row; the lowest row keeps a column.

    projection  a Projection, whose doubles are left out first, or a scipy matrix [Vs, Vt].
    """
    csr = without_doubles(projection)
    alone = np.flatnonzero(np.diff(csr.indptr) == 1)
    columns, weights = csr.indices[csr.indptr[alone]], csr.data[csr.indptr[alone]]
    whole = np.isclose(weights, 1.0)
    pairs = np.stack([alone[whole], columns[whole]], axis=1).astype(np.int64)
    _, first = np.unique(pairs[:, 1], return_index=True)
    return pairs[np.sort(first)]


def best_pairs(projection: Any, threshold: float) -> NDArray[np.int64]:
    """int64 [M, 2]: each row's heaviest column where it weighs at least `threshold`, one-to-one.

    projection  a Projection, whose doubles are left out first, or a scipy matrix [Vs, Vt].

    A column wanted by several rows goes to the heaviest, of equal ones to the lowest row (X-Token's relaxed matching).
    """
    csr = without_doubles(projection).sorted_indices()
    filled = np.flatnonzero(np.diff(csr.indptr))
    if not len(filled):
        return np.zeros((0, 2), dtype=np.int64)
    weight = np.maximum.reduceat(csr.data, csr.indptr[filled])
    entry_row = np.repeat(np.arange(csr.shape[0]), np.diff(csr.indptr))
    top = csr.data == weight[np.searchsorted(filled, entry_row)]
    _, first = np.unique(entry_row[top], return_index=True)
    columns = csr.indices[top][first]
    kept = weight >= threshold
    rows, columns, weight = filled[kept], columns[kept], weight[kept]
    order = np.lexsort((rows, -weight, columns))
    _, winner = np.unique(columns[order], return_index=True)
    chosen = np.sort(order[winner])
    return np.stack([rows[chosen], columns[chosen]], axis=1).astype(np.int64)


@lru_cache(maxsize=8)
def _by_bytes(student: Tokenizer, teacher: Tokenizer) -> NDArray[np.int64]:
    from ctkd_core.vocabulary import project

    return one_to_one(project(student, teacher, method="exact"))


@lru_cache(maxsize=8)
def _by_string(student: Tokenizer, teacher: Tokenizer) -> NDArray[np.int64]:
    """As TRL matches: raw vocabulary strings, special tokens too."""
    ids = teacher.backend.get_vocab(with_added_tokens=True)
    own = student.backend.get_vocab(with_added_tokens=True)
    pairs = sorted((own[token], ids[token]) for token in own.keys() & ids.keys())
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)
