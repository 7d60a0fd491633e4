"""The cost surface of a DTW: computed in windows on demand, never as a whole for long texts."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ctkd_core.alignment.cheapest_path import Block
from ctkd_core.alignment.costs import TokenCosts
from ctkd_core.errors import AlignmentError, unknown

KINDS = ("local", "accumulated")
# A binned picture reads at most this many tokens of each side; longer texts are sampled evenly.
MAX_SAMPLED = 4096


@dataclass(frozen=True, eq=False)
class DtwSurface:
    """`CostSurface` of CDM or MinED; rows are student tokens, columns teacher tokens, of the whole encodings.

    Accumulated costs exist inside the searched stretches only; everywhere else (other stretches, outside a band,
    special tokens) they are NaN.
    """

    costs: TokenCosts
    blocks: tuple[Block, ...]
    student_at: NDArray[np.int64]  # positions of the content tokens
    teacher_at: NDArray[np.int64]
    student_entropy: NDArray[np.float32] | None = None
    teacher_entropy: NDArray[np.float32] | None = None
    unit: str = "edits x student weight x teacher weight"
    ties: str = "teacher"  # which side goes on alone where that costs the same (`cheapest_path.dtw`)
    _kept: dict[Block, NDArray[np.float32]] = field(default_factory=dict, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Student tokens, teacher tokens."""
        return len(self.costs.student_codes), len(self.costs.teacher_codes)

    @property
    def student_weights(self) -> NDArray[np.float32]:
        """float32 [n_student]."""
        return self.costs.student_weights.astype(np.float32)

    @property
    def teacher_weights(self) -> NDArray[np.float32]:
        """float32 [n_teacher]."""
        return self.costs.teacher_weights.astype(np.float32)

    @property
    def total(self) -> float:
        """Cost of the whole path."""
        return self.blocks[-1].after if self.blocks else 0.0

    def window(self, kind: str, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Costs float32 of a window: "local" (one cell) or "accumulated" (cheapest way to it). Slices need step 1."""
        n, m = self.shape
        return self._cells(kind, np.arange(n)[rows], np.arange(m)[columns])

    def binned(self, kind: str, max_rows: int, max_columns: int) -> NDArray[np.float32]:
        """Averages over equal bins, at most [max_rows, max_columns]; cells that weren't searched don't count.

        Up to 4,096 tokens a side every cell counts; of longer texts an even sample does.
        """
        if max_rows < 1 or max_columns < 1:
            raise AlignmentError(f"a picture needs at least one row and column; got {max_rows} x {max_columns}.")
        n, m = self.shape
        rows, columns = _sample(n, max_rows), _sample(m, max_columns)
        if n == 0 or m == 0:
            return np.zeros((min(n, max_rows), min(m, max_columns)), dtype=np.float32)
        row_starts = _bin_starts(rows, n, min(n, max_rows))
        column_starts = _bin_starts(columns, m, min(m, max_columns))
        out = np.empty((len(row_starts), len(column_starts)), dtype=np.float32)
        row_ends = np.append(row_starts[1:], len(rows))
        # a few bins at a time, so that the sample of a long text is never in memory as a whole
        for k, (a, b) in enumerate(zip(row_starts, row_ends)):
            cells = self._cells(kind, rows[a:b], columns)
            known = np.isfinite(cells)
            total = np.add.reduceat(np.where(known, cells, 0).sum(axis=0, dtype=np.float64), column_starts)
            count = np.add.reduceat(known.sum(axis=0), column_starts)
            out[k] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        return out

    def candidates(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """What the recurrence chooses from in every cell of a window, float32 [3, rows, columns]; slices need step 1.

        The cost of the cheapest way so far when both sides go on (the diagonal), the teacher alone, the student alone;
        NaN where nothing was searched. The first cell of the text has nothing before it: its diagonal is 0.
        """
        n, m = self.shape
        r_at, r = _content_index(self.student_at, np.arange(n)[rows])
        c_at, c = _content_index(self.teacher_at, np.arange(m)[columns])
        out = np.full((3, len(range(n)[rows]), len(range(m)[columns])), np.nan, dtype=np.float32)
        if not len(r) or not len(c):
            return out
        before = np.full((len(r) + 1, len(c) + 1), np.nan, dtype=np.float32)
        first_row, first_column = int(r[0] == 0), int(c[0] == 0)
        before[first_row:, first_column:] = self._accumulated(
            self.student_at[r[0] - 1 + first_row : r[-1] + 1], self.teacher_at[c[0] - 1 + first_column : c[-1] + 1]
        )
        if first_row and first_column:
            before[0, 0] = 0.0
        for k, (i, j) in enumerate(((0, 0), (1, 0), (0, 1))):
            out[k][np.ix_(r_at, c_at)] = before[i : i + len(r), j : j + len(c)]
        return out

    def taken(self, candidates: NDArray[np.float32]) -> NDArray[np.int8]:
        """Which of `candidates` [3, ...] the search takes, 0 to 2, -1 where there is none; the diagonal wins ties."""
        known = np.where(np.isnan(candidates), np.inf, candidates)
        order = (0, 1, 2) if self.ties == "teacher" else (0, 2, 1)
        best = np.array(order, dtype=np.int8)[np.argmin(known[list(order)], axis=0)]
        return np.where(np.isfinite(known).any(axis=0), best, np.int8(-1))

    def _cells(self, kind: str, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        if kind not in KINDS:
            raise unknown("kind of cost", kind, KINDS, AlignmentError)
        if not len(rows) or not len(columns):
            return np.zeros((len(rows), len(columns)), dtype=np.float32)
        return self.costs.take(rows, columns).local() if kind == "local" else self._accumulated(rows, columns)

    def _accumulated(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        out = np.full((len(rows), len(columns)), np.nan, dtype=np.float32)
        r_at, r = _content_index(self.student_at, rows)
        c_at, c = _content_index(self.teacher_at, columns)
        for block in self.blocks:
            r0, r1 = np.searchsorted(r, [block.s0, block.s1])
            c0, c1 = np.searchsorted(c, [block.t0, block.t1])
            if r0 < r1 and c0 < c1:
                here = self._block(block)[np.ix_(r[r0:r1] - block.s0, c[c0:c1] - block.t0)]
                out[np.ix_(r_at[r0:r1], c_at[c0:c1])] = here
        return out

    def _block(self, block: Block) -> NDArray[np.float32]:
        """Accumulated costs [s1 - s0, t1 - t0] of one stretch; the last one asked for is kept."""
        from ctkd_core.alignment.cheapest_path import accumulated

        if block not in self._kept:
            costs = self.costs.take(self.student_at[block.s0 : block.s1], self.teacher_at[block.t0 : block.t1])
            if block.banded:
                raise AlignmentError(
                    f"the stretch of {block.s1 - block.s0} x {block.t1 - block.t0} tokens was searched in a band only; "
                    "its accumulated costs are too many to show. Show the local costs, or align a shorter text."
                )
            found = accumulated(costs)
            self._kept.clear()
            self._kept[block] = found + np.float32(block.before)
        return self._kept[block]


def _content_index(
    content_at: NDArray[np.int64], positions: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which of the sorted `positions` are content tokens, and the numbers of those among all content tokens."""
    number = np.searchsorted(content_at, positions)
    found = np.flatnonzero(np.append(content_at, -1)[number] == positions)
    return found, number[found]


def _sample(count: int, bins: int) -> NDArray[np.int64]:
    """Positions to read: all, or an even sample that has at least one in every bin."""
    wanted = max(MAX_SAMPLED, bins)
    return np.arange(count) if count <= wanted else np.arange(wanted) * count // wanted


def _bin_starts(positions: NDArray[np.int64], count: int, bins: int) -> NDArray[np.int64]:
    """Index of the first sampled position of each bin."""
    return np.searchsorted(positions, np.ceil(np.arange(bins) * count / bins))
