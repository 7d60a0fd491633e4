"""Projection: a sparse map from student tokens to teacher tokens, with the reason of every entry."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.errors import ProjectionError

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_matrix

    from ctkd_core.tokenizers.tokenizer import Tokenizer

# Codes of `Projection.reason`: the index into this tuple. Append only, saved maps keep their codes.
REASONS = ("exact", "role", "pieces", "canonical", "nearest", "reverse", "similar", "scale")
EXACT, ROLE, PIECES, CANONICAL, NEAREST, REVERSE, SIMILAR, SCALE = range(8)
# Reasons of rows that one teacher token says alone.
MATCHED = (EXACT, ROLE, CANONICAL)

MOST_IDS = 4_000_000  # of either side after `widen`; ten times the largest vocabularies


@dataclass(frozen=True, eq=False)
class Projection:
    """Which teacher tokens say what a student token says.

    matrix  scipy csr_matrix float32 [Vs, Vt], indices sorted; each row sums to 1 or is empty (maps that imitate
            bfloat16 storage sum to 1 within 0.01; see `row_sum_error`). Vs and Vt are the numbers of ids of the
            tokenizers, or more after `widen`.
    reason  uint8 [matrix.nnz], aligned with matrix.data: index into REASONS
            exact: equal bytes; role: BOS to BOS, EOS to EOS, padding to padding; canonical: equal apart from space
            markers and the like; pieces: the teacher's cut of the bytes; nearest: least edit distance; reverse: a
            teacher token that begins with or holds the student's; similar: special tokens with similar names;
            scale: the released tools' scale slot
    """

    matrix: csr_matrix
    reason: NDArray[np.uint8]
    method: str
    student: Tokenizer
    teacher: Tokenizer
    options: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        from ctkd_core.vocabulary.display import projection_line

        return projection_line(self)

    def _repr_html_(self) -> str:
        from ctkd_core.vocabulary.display import projection_card

        return projection_card(self)

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
        """int16 [Vs]: the reason of each row's heaviest entry, -1 for an empty row.

        Of equal weights an equal token's counts (MATCHED), then the lowest id's.
        """
        reasons = np.full(self.shape[0], -1, dtype=np.int16)
        row = np.repeat(np.arange(self.shape[0]), self.fan_out())
        order = np.lexsort((~np.isin(self.reason, MATCHED), -self.matrix.data, row))
        filled, first = np.unique(row[order], return_index=True)
        reasons[filled] = self.reason[order[first]]
        return reasons

    @property
    def padding(self) -> tuple[int, int]:
        """Rows and columns beyond the ids of the tokenizers, see `widen`."""
        return self.shape[0] - self.student.n_ids, self.shape[1] - self.teacher.n_ids

    def rows(self) -> dict[str, int]:
        """Number of rows by reason, `empty` ones, and `padding` ones beyond the student's ids; they add up to Vs."""
        counts = np.bincount(self.row_reason + 1, minlength=len(REASONS) + 1)
        padding = self.padding[0]
        named = {name: int(counts[i + 1]) for i, name in enumerate(REASONS)}
        return named | {"empty": int(counts[0]) - padding, "padding": padding}

    def row_sums(self) -> NDArray[np.float64]:
        """float64 [Vs]: sum of each row, 0 for an empty one."""
        return np.asarray(self.matrix.sum(axis=1, dtype=np.float64)).ravel()

    def fan_out(self) -> NDArray[np.int64]:
        """int64 [Vs]: teacher tokens that each student token points at."""
        return np.diff(self.matrix.indptr).astype(np.int64)

    def column_load(self) -> NDArray[np.int64]:
        """int64 [Vt]: student tokens that point at each teacher token."""
        return np.bincount(self.matrix.indices, minlength=self.shape[1]).astype(np.int64)

    def audit(self) -> dict[str, dict[str, int]]:
        """Per class of student tokens `total` and `matched`: those that one teacher token says alone.

        Not "rows with one entry": "22" cut into 2 and 2 has one entry too.
        """
        from ctkd_core.vocabulary.classes import audit

        return audit(self.student, np.isin(self.row_reason[: self.student.n_ids], MATCHED))

    def widen(self, student_width: int | None = None, teacher_width: int | None = None) -> Projection:
        """The same map for models whose logits are wider than their tokenizers: [student_width, teacher_width].

        Added rows and columns are empty; `padding` and `rows` report them. Raises ProjectionError for a width below
        the tokenizer's number of ids.
        """
        from scipy.sparse import csr_matrix

        sides = (("student", student_width, self.shape[0]), ("teacher", teacher_width, self.shape[1]))
        for side, width, ids in sides:
            if width is not None and width > MOST_IDS:
                raise ProjectionError(
                    f"the {side}'s width {width:,} is above {MOST_IDS:,}; no model's output is as wide."
                )
            if width is not None and width < ids:
                raise ProjectionError(
                    f"the {side}'s width {width} is smaller than the {ids} ids of this map; give the number of "
                    "rows of that model's output layer, which can't be below its tokenizer's ids."
                )
        shape = tuple(ids if width is None else width for _, width, ids in sides)
        indptr = np.pad(self.matrix.indptr, (0, shape[0] - self.shape[0]), mode="edge")
        return replace(self, matrix=csr_matrix((self.matrix.data, self.matrix.indices, indptr), shape=shape))

    @property
    def row_sum_error(self) -> float:
        """Largest distance of a filled row's sum from 1."""
        return float(np.abs(self.row_sums()[self.fan_out() > 0] - 1).max(initial=0.0))

    def explain(self, student_id: int) -> pd.DataFrame:
        """One row of the map: teacher_id, teacher_token, teacher_bytes, weight, reason; heaviest first.

        Raises ProjectionError for an id outside the student's vocabulary.
        """
        import pandas as pd

        if not isinstance(student_id, int | np.integer):
            raise ProjectionError(f"a student token id is a whole number; got {student_id!r}.")
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

    def column(self, teacher_id: int) -> pd.DataFrame:
        """Who points at one teacher token: student_id, student_token, student_bytes, weight, reason; heaviest first.

        Raises ProjectionError for an id outside the teacher's vocabulary.
        """
        import pandas as pd

        if not isinstance(teacher_id, int | np.integer):
            raise ProjectionError(f"a teacher token id is a whole number; got {teacher_id!r}.")
        if not 0 <= teacher_id < self.shape[1]:
            raise ProjectionError(f"teacher token id {teacher_id} is out of range; ids run to {self.shape[1] - 1}.")
        entries = np.flatnonzero(self.matrix.indices == teacher_id)
        ids = (np.searchsorted(self.matrix.indptr, entries, side="right") - 1).tolist()
        frame = pd.DataFrame(
            {
                "student_id": ids,
                "student_token": [self.student.token(i) for i in ids],
                "student_bytes": [self.student.token_bytes(i) for i in ids],
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
    normalise: bool = True,
) -> tuple[csr_matrix, NDArray[np.uint8]]:
    """Matrix and aligned reasons from entries [k] in any order; weights of the same cell add up, rows sum to 1.

    Weights too small for float32 leave no entry. `normalise` False keeps the sums of the rows.
    """
    from scipy.sparse import csr_matrix

    cells, first, inverse = np.unique(rows * shape[1] + columns, return_index=True, return_inverse=True)
    summed = np.bincount(inverse, weights=weights, minlength=len(cells))
    if normalise:
        summed = summed / np.bincount(cells // shape[1], weights=summed, minlength=shape[0])[cells // shape[1]]
    data = summed.astype(np.float32)
    kept = data > 0
    row = cells[kept] // shape[1]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=shape[0]))])
    return csr_matrix((data[kept], cells[kept] % shape[1], indptr), shape=shape), reasons[first][kept]
