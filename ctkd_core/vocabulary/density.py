"""A vocabulary map at sizes that a screen can show: token orders, binned density, windows of single tokens.

A map of 150,000 x 130,000 cells is counted into at most 256 x 256 bins. Windows leave out empty rows and columns: a
map has about one entry a row, so 64 neighbouring rows and 64 neighbouring columns hardly ever share one.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ctkd_core.errors import ProjectionError, unknown
from ctkd_core.files.sized_cache import MIB, sized_cache
from ctkd_core.vocabulary.classes import CLASSES, token_classes

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer
    from ctkd_core.vocabulary.projection import Projection

MAX_BINS = 256
MAX_WINDOW = 64
ORDERS = ("id", "class", "script", "length")
WEIGHTS = ("entries", "mass")
_NO_TEXT = "no text"  # ids that the vocabulary leaves out, in every order but "id" at the end


@dataclass(frozen=True, eq=False)
class IdOrder:
    """The ids of a vocabulary in some order.

    ids       int64 [n]: the id at each position
    position  int64 [n]: the position of each id
    sections  (name, first position) of the stretches of equal kind, in order; empty for order "id"
    """

    by: str
    ids: NDArray[np.int64]
    position: NDArray[np.int64]
    sections: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Window:
    """A rectangle of positions: `row_count` student positions from `row`, `column_count` teacher ones from `column`."""

    row: int
    row_count: int
    column: int
    column_count: int

    def clamped(self, rows: int, columns: int) -> Window:
        """The nearest rectangle that lies inside rows x columns and holds at least one cell where there is one."""
        row, column = min(max(0, self.row), max(0, rows - 1)), min(max(0, self.column), max(0, columns - 1))
        return Window(
            row,
            min(max(1, self.row_count), rows - row),
            column,
            min(max(1, self.column_count), columns - column),
        )


@dataclass(frozen=True, eq=False)
class Density:
    """Entries per bin.

    values        float64 [r, c]: number of entries, or their weights added up
    row_edges     int64 [r + 1]: first position of each bin, then the end; column_edges int64 [c + 1]
    """

    values: NDArray[np.float64]
    row_edges: NDArray[np.int64]
    column_edges: NDArray[np.int64]
    weight: str


@dataclass(frozen=True, eq=False)
class Cells:
    """The entries inside a window, token by token.

    row_ids, column_ids  int64: the ids shown, in order, at most 64 each
    weights              float32 [rows, columns], NaN where the map has no entry
    reasons              int16 [rows, columns], -1 where there is none
    rows_with_entries    filled rows of the whole window, of which `row_ids` are the first
    next_row             position after the last row shown
    """

    row_ids: NDArray[np.int64]
    column_ids: NDArray[np.int64]
    weights: NDArray[np.float32]
    reasons: NDArray[np.int16]
    rows_with_entries: int
    next_row: int


@sized_cache(32 * MIB)
def order_of(tokenizer: Tokenizer, by: str = "id") -> IdOrder:
    """All ids of a tokenizer by id, class, script or length in bytes; equal ones by id. About 0.3 s, then kept.

    Raises ProjectionError for an order that isn't in ORDERS.
    """
    if by not in ORDERS:
        raise unknown("order of tokens", by, ORDERS, ProjectionError)
    n = tokenizer.n_ids
    if by == "id":
        return IdOrder(by, np.arange(n), np.arange(n))
    keys, names = _keys(tokenizer, by)
    ids = np.argsort(keys, kind="stable")
    position = np.empty(n, dtype=np.int64)
    position[ids] = np.arange(n)
    ordered = keys[ids]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1)) if n else np.zeros(0, int)
    sections = tuple((names[int(ordered[at])], int(at)) for at in starts.tolist())
    return IdOrder(by, ids, position, sections)


def _keys(tokenizer: Tokenizer, by: str) -> tuple[NDArray[np.int64], dict[int, str]]:
    """Sort key of every id and the name of each key."""
    table = tokenizer.all_token_bytes()
    if by == "class":
        codes = token_classes(tokenizer).astype(np.int64)
        keys = np.where(codes < 0, len(CLASSES), codes)
        return keys, dict(enumerate((*CLASSES, _NO_TEXT)))
    if by == "length":
        lengths = np.fromiter(map(len, table), dtype=np.int64, count=len(table))
        longest = int(lengths.max(initial=0)) + 1
        keys = np.where(lengths == 0, longest, lengths)
        return keys, {k: f"{k} bytes" if k > 1 else "1 byte" for k in range(1, longest)} | {longest: _NO_TEXT}
    special = tokenizer.special_ids
    scripts = ["special" if i in special else _script(data) if data else _NO_TEXT for i, data in enumerate(table)]
    counts: dict[str, int] = {}
    for name in scripts:
        counts[name] = counts.get(name, 0) + 1
    counts.pop(_NO_TEXT, None)
    names = [*sorted(counts, key=lambda name: (-counts[name], name)), _NO_TEXT]  # the largest script first
    codes_of = {name: code for code, name in enumerate(names)}
    keys = np.fromiter(map(codes_of.__getitem__, scripts), dtype=np.int64, count=len(scripts))
    return keys, dict(enumerate(names))


def _script(data: bytes) -> str:
    """Script of a token's first letter, "numbers", "signs" without one, "cut characters" for half of one."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return "cut characters"
    for character in text:
        if character.isalpha():
            return _script_of_letter(character)
    return "numbers" if any(map(str.isdigit, text)) else "signs"


@lru_cache(maxsize=1 << 16)
def _script_of_letter(character: str) -> str:
    # Unicode names begin with the script: LATIN SMALL LETTER A, CJK UNIFIED IDEOGRAPH-4E00.
    word = unicodedata.name(character, "OTHER").replace("-", " ").split(" ")[0]
    return "CJK" if word == "CJK" else word.capitalize()


def density(
    projection: Projection, rows: IdOrder, columns: IdOrder, weight: str = "entries", bins: int = MAX_BINS
) -> Density:
    """The whole map in at most `bins` x `bins` bins of (nearly) equal size; `weight` "entries" or "mass".

    Raises ProjectionError for another weight.
    """
    if weight not in WEIGHTS:
        raise unknown("weight of a bin", weight, WEIGHTS, ProjectionError)
    n, m = len(rows.ids), len(columns.ids)
    r, c = min(bins, n), min(bins, m)
    if not r or not c:
        return Density(np.zeros((r, c)), np.zeros(r + 1, int), np.zeros(c + 1, int), weight)
    row_edges, column_edges = _edges(n, r), _edges(m, c)
    row, column = positions(projection, rows, columns)
    # Bin k holds the positions with floor(position * r / n) == k; see `_edges`.
    flat = (row * r // n) * c + column * c // m
    weights = projection.matrix.data[: len(flat)] if weight == "mass" else None
    values = np.bincount(flat, weights=weights, minlength=r * c).astype(np.float64)
    return Density(values.reshape(r, c), row_edges, column_edges, weight)


def _edges(n: int, bins: int) -> NDArray[np.int64]:
    """First position of each bin: the least p with p * bins // n == k, that is ceil(k * n / bins)."""
    return -(-np.arange(bins + 1, dtype=np.int64) * n // bins)


def positions(projection: Projection, rows: IdOrder, columns: IdOrder) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Position of each stored entry, int64 [nnz] on both sides."""
    matrix = projection.matrix
    row = np.repeat(rows.position, np.diff(matrix.indptr)[: len(rows.position)])
    return row, columns.position[matrix.indices]


def bin_at(density: Density, row: float, column: float) -> Window:
    """The positions of the bin that holds a point."""
    i = _index(density.row_edges, row)
    j = _index(density.column_edges, column)
    r0, r1 = density.row_edges[i : i + 2].tolist()
    c0, c1 = density.column_edges[j : j + 2].tolist()
    return Window(r0, r1 - r0, c0, c1 - c0)


def window_of_box(density: Density, top: float, bottom: float, left: float, right: float) -> Window:
    """The positions of all bins that a box touches (a click is a box without extent); rows run from top to bottom."""
    first, last = bin_at(density, top, left), bin_at(density, bottom, right)
    return Window(
        first.row,
        last.row + last.row_count - first.row,
        first.column,
        last.column + last.column_count - first.column,
    )


def _index(edges: NDArray[np.int64], at: float) -> int:
    return int(np.clip(np.searchsorted(edges, np.floor(at), side="right") - 1, 0, len(edges) - 2))


def around(projection: Projection, student_id: int, rows: IdOrder) -> Window:
    """A window with `student_id` in the middle, every column allowed.

    Raises ProjectionError for an id that the order doesn't hold: padding rows belong to no tokenizer.
    """
    n = len(rows.ids)
    if not 0 <= student_id < len(rows.position):
        raise ProjectionError(f"there is no student id {student_id} to show; they run to {len(rows.position) - 1}.")
    row = min(max(0, int(rows.position[student_id]) - MAX_WINDOW // 2), max(0, n - MAX_WINDOW))
    return Window(row, MAX_WINDOW, 0, projection.shape[1]).clamped(*projection.shape)


def cells(
    projection: Projection,
    rows: IdOrder,
    columns: IdOrder,
    window: Window,
    size: int = MAX_WINDOW,
    compact: bool = True,
) -> Cells:
    """The tokens of a window, at most `size` a side.

    compact  leave out rows and columns that have no entry inside the window (the first rows that fit, and all the
             columns that they point at); else the first `size` of both sides as they stand
    """
    window = window.clamped(len(rows.ids), len(columns.ids))
    row, column = positions(projection, rows, columns)
    inside = (row >= window.row) & (row < window.row + window.row_count)
    inside &= (column >= window.column) & (column < window.column + window.column_count)
    at = np.flatnonzero(inside)
    r, c = row[at], column[at]
    filled = np.unique(r)
    if compact:
        r_shown, c_shown = _fitting(r, c, filled, size)
        next_row = int(r_shown[-1]) + 1 if len(r_shown) else window.row + window.row_count
    else:
        r_shown = np.arange(window.row, window.row + min(size, window.row_count))
        c_shown = np.arange(window.column, window.column + min(size, window.column_count))
        next_row = window.row + min(size, window.row_count)
    kept = np.isin(r, r_shown) & np.isin(c, c_shown)
    i, j = np.searchsorted(r_shown, r[kept]), np.searchsorted(c_shown, c[kept])
    weights = np.full((len(r_shown), len(c_shown)), np.nan, dtype=np.float32)
    reasons = np.full(weights.shape, -1, dtype=np.int16)
    weights[i, j] = projection.matrix.data[at[kept]]
    reasons[i, j] = projection.reason[at[kept]]
    return Cells(rows.ids[r_shown], columns.ids[c_shown], weights, reasons, len(filled), next_row)


def _fitting(
    r: NDArray[np.int64], c: NDArray[np.int64], filled: NDArray[np.int64], size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first rows whose columns together fit into `size`, and those columns; at least one row, cut if need be."""
    first = filled[:size]
    of_row: dict[int, set[int]] = {int(row): set() for row in first}
    for row, column in zip(r.tolist(), c.tolist()):
        if row in of_row:
            of_row[row].add(column)
    shown: set[int] = set()
    count = 0
    for row in first.tolist():
        joined = shown | of_row[row]
        if len(joined) > size and count:
            break
        shown, count = joined, count + 1
    return first[:count], np.array(sorted(shown)[:size], dtype=np.int64)
