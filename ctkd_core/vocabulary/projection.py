"""Projection: a sparse map from student tokens to teacher tokens, with the reason of every entry."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.errors import ProjectionError

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_matrix

    from ctkd_core.encoding import Tokenizer

# Codes of `Projection.reason`: the index into this tuple. Append only, saved maps keep their codes.
REASONS = ("exact", "role", "pieces")
EXACT, ROLE, PIECES = range(3)


@dataclass(frozen=True, eq=False)
class Projection:
    """Which teacher tokens say what a student token says.

    matrix  scipy csr_matrix float32 [Vs, Vt], indices sorted; each row sums to 1 or is empty
    reason  uint8 [matrix.nnz], aligned with matrix.data: index into REASONS
            exact: equal bytes; role: BOS to BOS, EOS to EOS, padding to padding; pieces: the teacher's cut of the bytes
    """

    matrix: csr_matrix
    reason: NDArray[np.uint8]
    method: str
    student: Tokenizer = field(repr=False)
    teacher: Tokenizer = field(repr=False)
    options: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def student_fingerprint(self) -> str:
        """SHA-256 of the student's tokenizer.json."""
        return self.student.fingerprint

    @cached_property
    def teacher_fingerprint(self) -> str:
        """SHA-256 of the teacher's tokenizer.json."""
        return self.teacher.fingerprint

    @property
    def shape(self) -> tuple[int, int]:
        """Student ids, teacher ids."""
        return self.matrix.shape

    @cached_property
    def row_reason(self) -> NDArray[np.int16]:
        """int16 [Vs]: the reason of each row's entries, -1 for an empty row."""
        reasons = np.full(self.shape[0], -1, dtype=np.int16)
        filled = np.flatnonzero(np.diff(self.matrix.indptr))
        reasons[filled] = self.reason[self.matrix.indptr[filled]]
        return reasons

    def rows(self) -> dict[str, int]:
        """Number of rows by reason, and `empty`."""
        counts = np.bincount(self.row_reason + 1, minlength=len(REASONS) + 1)
        return {name: int(counts[i + 1]) for i, name in enumerate(REASONS)} | {"empty": int(counts[0])}

    @property
    def row_sum_error(self) -> float:
        """Largest distance of a filled row's sum from 1."""
        sums = np.asarray(self.matrix.sum(axis=1, dtype=np.float64)).ravel()
        return float(np.abs(sums[np.diff(self.matrix.indptr) > 0] - 1).max(initial=0.0))

    def explain(self, student_id: int) -> pd.DataFrame:
        """One row of the map: teacher_id, teacher_token, teacher_bytes, weight, reason; heaviest first.

        Raises ProjectionError for an id outside the student's vocabulary.
        """
        import pandas as pd

        if not 0 <= student_id < self.shape[0]:
            raise ProjectionError(f"student token id {student_id} is out of range; ids run to {self.shape[0] - 1}.")
        entries = slice(int(self.matrix.indptr[student_id]), int(self.matrix.indptr[student_id + 1]))
        ids = self.matrix.indices[entries].tolist()
        frame = pd.DataFrame(
            {
                "teacher_id": ids,
                "teacher_token": [self.teacher.token(i) for i in ids],
                "teacher_bytes": [self.teacher.token_bytes(i) for i in ids],
                "weight": self.matrix.data[entries],
                "reason": [REASONS[r] for r in self.reason[entries]],
            }
        )
        return frame.sort_values("weight", ascending=False, kind="stable", ignore_index=True)


def from_entries(
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    weights: NDArray[np.float64],
    reasons: NDArray[np.uint8],
    shape: tuple[int, int],
) -> tuple[csr_matrix, NDArray[np.uint8]]:
    """Matrix and aligned reasons from entries [k] in any order; weights of the same cell add up, rows sum to 1."""
    from scipy.sparse import csr_matrix

    cells, first, inverse = np.unique(rows * shape[1] + columns, return_index=True, return_inverse=True)
    summed = np.bincount(inverse, weights=weights, minlength=len(cells))
    row = cells // shape[1]
    total = np.bincount(row, weights=summed, minlength=shape[0])
    data = (summed / total[row]).astype(np.float32)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=shape[0]))])
    return csr_matrix((data, cells % shape[1], indptr), shape=shape), reasons[first]
