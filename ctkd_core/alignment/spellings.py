"""Strings of both sides as bytes, and the search of X-Token's dynamic program over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctkd_core.alignment import cheapest_path
from ctkd_core.errors import AlignmentError

# Scores of the released program (its defaults): equal tokens (unequal ones cost as much), each token of a span, a gap.
EQUAL, SPAN_TOKEN, GAP = 3.0, 1.5, -1.5
# Most tokens that one token of the other side may face at once (released default).
MAX_SPAN = 4
# Length of the n-grams that pin the path where they are unique on both sides (released default).
ANCHOR_LENGTH = 3


@dataclass(frozen=True, eq=False)
class Spellings:
    """Strings of one side: `data` uint8, one after another; token k is data[at[k] : at[k + 1]]."""

    strings: tuple[bytes, ...]
    data: NDArray[np.uint8]
    at: NDArray[np.int64]

    @classmethod
    def of(cls, strings: Sequence[bytes]) -> Spellings:
        """The spellings of these strings."""
        at = np.zeros(len(strings) + 1, dtype=np.int64)
        np.cumsum([len(x) for x in strings], out=at[1:])
        return cls(tuple(strings), np.frombuffer(b"".join(strings), dtype=np.uint8), at)

    def text(self, start: int, end: int) -> bytes:
        """What tokens start to end - 1 spell together."""
        return self.data[self.at[start] : self.at[end]].tobytes()

    def __len__(self) -> int:
        return len(self.strings)


def span_pairs(
    student: Spellings,
    teacher: Spellings,
    max_span: int = MAX_SPAN,
    anchors: bool = True,
    spans: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
) -> tuple[NDArray[np.int32], int]:
    """The best way before any repair, int32 [P, 4] as groups, and how many cuts a very long stretch needed.

    `spans` int64 [n, 2], [m, 2]: bytes of the text under each token. With them anchors must begin at the same byte (a
    3-gram that is unique on both sides may still stand at two different places), and long stretches can be cut.
    """
    from ctkd_core.alignment.kernels import dynamic as kernels

    s_code, t_code = _codes(student, teacher)
    pins = _anchors(s_code, t_code, spans) if anchors else np.zeros((0, 3), dtype=np.int64)
    pins, cuts = _with_cuts(pins, len(student), len(teacher), spans)
    scores = np.array([EQUAL, SPAN_TOKEN, GAP], dtype=np.float32)
    found = kernels.span_path(
        s_code, student.data, student.at, t_code, teacher.data, teacher.at, pins, max_span, scores
    )
    return found, cuts


def agreement(pairs: NDArray[np.int32], judged: Sequence[tuple[Spellings, Spellings]]) -> NDArray[np.bool_]:
    """bool [P]: whether both sides of each group spell the same in one of the spellings."""
    from ctkd_core.alignment.kernels import dynamic as kernels

    out = np.zeros(len(pairs), dtype=np.bool_)
    for s, t in judged:
        out |= kernels.agreeing(np.ascontiguousarray(pairs), s.data, s.at, t.data, t.at)
    return out


def _anchors(
    s: NDArray[np.int32], t: NDArray[np.int32], spans: tuple[NDArray[np.int64], NDArray[np.int64]] | None
) -> NDArray[np.int64]:
    """Pins int64 [A, 3] where a 3-gram occurs once on both sides: left to right, never overlapping, never back."""
    from ctkd_core.alignment.kernels import dynamic as kernels

    s_grams, s_at = _unique_grams(s)
    t_grams, t_at = _unique_grams(t)
    _, a, b = np.intersect1d(s_grams, t_grams, assume_unique=True, return_indices=True)
    at = np.stack([s_at[a], t_at[b]], axis=1)
    if spans is not None:
        at = at[spans[0][at[:, 0], 0] == spans[1][at[:, 1], 0]]
    at = np.ascontiguousarray(at[np.argsort(at[:, 0], kind="stable")])
    chosen = kernels.choose_anchors(at, ANCHOR_LENGTH, len(t))
    return np.column_stack([chosen, np.full(len(chosen), ANCHOR_LENGTH)])


def _unique_grams(codes: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The 3-grams that occur once, as one number each, and where."""
    if len(codes) < ANCHOR_LENGTH:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    wide = codes.astype(np.int64)  # 21 bits a code: a text of 2 million different tokens still fits
    grams = (wide[:-2] << 42) | (wide[1:-1] << 21) | wide[2:]
    values, first, count = np.unique(grams, return_index=True, return_counts=True)
    return values[count == 1], first[count == 1].astype(np.int64)


def _with_cuts(
    pins: NDArray[np.int64], n: int, m: int, spans: tuple[NDArray[np.int64], NDArray[np.int64]] | None
) -> tuple[NDArray[np.int64], int]:
    """The pins and, inside stretches with too many cells for one search, cuts at common byte boundaries."""
    starts = np.vstack([[0, 0], pins[:, :2] + pins[:, 2:]])
    ends = np.vstack([pins[:, :2], [n, m]])
    sizes = (ends - starts).prod(axis=1)
    large = np.flatnonzero(sizes > cheapest_path.MAX_CELLS)
    if not len(large):
        return pins, 0
    rows = []
    for k in large.tolist():
        (i0, j0), (i1, j1) = starts[k].tolist(), ends[k].tolist()
        found = None if spans is None else cheapest_path.common_cuts(spans[0][i0:i1], spans[1][j0:j1], 0)
        inner = np.zeros((0, 2), dtype=np.int64) if found is None else found[:-1] + np.array([i0, j0])
        _check_cells(np.vstack([[i0, j0], inner, [i1, j1]]), found is not None)
        rows.append(np.column_stack([inner, np.zeros(len(inner), dtype=np.int64)]))
    cuts = np.concatenate(rows)
    joined = np.concatenate([pins, cuts])
    return np.ascontiguousarray(joined[np.argsort(joined[:, 0], kind="stable")]), len(cuts)


def _check_cells(edges: NDArray[np.int64], cut: bool) -> None:
    sizes = np.diff(edges, axis=0)
    cells = sizes.prod(axis=1)
    if cells.max() > cheapest_path.BAND_CELLS:
        n, m = sizes[int(cells.argmax())].tolist()
        raise AlignmentError(
            f"a stretch of {n} student and {m} teacher tokens has no 3-gram to pin the path"
            + (" and no byte boundary in common" if cut else "")
            + f"; its {n * m:,} cells are more than {cheapest_path.BAND_CELLS:,}. Split the text, or use "
            + (
                "method 'sedi', which is linear."
                if cut
                else "variant 'clean', which cuts it at common byte boundaries."
            )
        )


def _codes(student: Spellings, teacher: Spellings) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """int32 [n], [m]: equal numbers for equal strings of both sides."""
    number: dict[bytes, int] = {}
    sides = (
        np.fromiter((number.setdefault(x, len(number)) for x in side.strings), dtype=np.int32, count=len(side))
        for side in (student, teacher)
    )
    s, t = sides
    return s, t
