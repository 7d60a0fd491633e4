"""Entries of a map before it becomes a matrix: (student id, teacher id, weight, reason), and what is done to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Entries:
    """k entries in any order.

    rows, columns  int64 [k]: student and teacher ids
    weights        float64 [k], not negative
    reasons        uint8 [k]: index into projection.REASONS
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    weights: NDArray[np.float64]
    reasons: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> Entries:
        """The entries at `which` (mask or positions)."""
        return Entries(self.rows[which], self.columns[which], self.weights[which], self.reasons[which])


def entries(
    rows: NDArray[np.int64], columns: NDArray[np.int64], weights: NDArray[np.float64], reason: int | NDArray[np.uint8]
) -> Entries:
    """Entries of one `reason`, or of one each (uint8 [k])."""
    reasons = np.full(len(rows), reason, dtype=np.uint8) if isinstance(reason, int) else reason
    return Entries(rows.astype(np.int64), columns.astype(np.int64), weights.astype(np.float64), reasons)


def join(parts: Sequence[Entries]) -> Entries:
    """All entries of `parts`, in their order."""
    return Entries(
        np.concatenate([p.rows for p in parts]),
        np.concatenate([p.columns for p in parts]),
        np.concatenate([p.weights for p in parts]),
        np.concatenate([p.reasons for p in parts]),
    )


def sum_cells(given: Entries) -> Entries:
    """One entry a cell, sorted by row and column; weights of the same cell add up, the first one's reason stays."""
    width = int(given.columns.max(initial=0)) + 1
    cells, first, inverse = np.unique(given.rows * width + given.columns, return_index=True, return_inverse=True)
    summed = np.bincount(inverse, weights=given.weights, minlength=len(cells)).astype(np.float64)
    return Entries(cells // width, cells % width, summed, given.reasons[first])


def normalised(given: Entries) -> Entries:
    """Weights divided by their row's sum; rows whose sum is 0 are left out."""
    total = np.bincount(given.rows, weights=given.weights)[given.rows]
    kept = given.take(total > 0)
    return replace(kept, weights=kept.weights / total[total > 0])


def heaviest(given: Entries, k: int) -> Entries:
    """The `k` heaviest entries of each row, heaviest first, of equal ones the lowest column; 0 keeps all."""
    ordered = given.take(np.lexsort((given.columns, -given.weights, given.rows)))
    return ordered.take(rank(ordered.rows) < k) if k else ordered


def rank(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64 [k]: position of each entry within its row, for `rows` in ascending order."""
    if not len(rows):
        return np.zeros(0, dtype=np.int64)
    starts = np.flatnonzero(np.concatenate([[True], rows[1:] != rows[:-1]]))
    return np.arange(len(rows)) - np.repeat(starts, np.diff(np.append(starts, len(rows))))
