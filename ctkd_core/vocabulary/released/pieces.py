"""What X-Token's released tools add to the pieces map: the reverse pass, rows of slots, the scale slot, bfloat16.

The tools keep a row as P slots (id, weight), P = 32. All weights pass through bfloat16. With the scale slot on, the
last slot is set to 0.2 whatever it holds, and the sorter that cuts rows to K slots counts that slot twice: once among
the others and once as itself. Where the row has fewer than P entries the slot's id is whatever the tools' top-k happens
to put there, so about 28 % of a row goes to an unrelated token; here it is the lowest id that the row doesn't hold.
Source: NVIDIA NeMo-RL, projection tools of the `x_token` package. The paper (arXiv 2605.21699) has none of these.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ctkd_core.background.progress import Progress, silent
from ctkd_core.vocabulary import entries as table
from ctkd_core.vocabulary.entries import Entries
from ctkd_core.vocabulary.projection import REVERSE, SCALE

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

SCALE_WEIGHT = 0.2
# Neither cut nor reached by pieces: chat markers, and ends of text.
_MARKER = re.compile(r"<\|.*\|>", re.DOTALL)
_SKIPPED_ENDS = ("<|endoftext|>", "<eos>")

Rounding = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class PaddedRows:
    """Rows as the tools store them.

    ids      int64 [n, P], -1 for an unused slot
    weights  float32 [n, P], 0 for an unused slot
    """

    ids: NDArray[np.int64]
    weights: NDArray[np.float32]


def is_marker(text: str) -> bool:
    """Whether the tools leave a token out of both piece passes."""
    return bool(_MARKER.fullmatch(text)) or text in _SKIPPED_ENDS


def reverse_entries(
    student: Tokenizer,
    teacher: Tokenizer,
    rows: NDArray[np.int64],
    weights: str,
    max_pieces: int = 0,
    progress: Progress = silent,
) -> Entries:
    """Every teacher token to the student's pieces of its bytes, turned round; only student tokens `rows` are kept."""
    from ctkd_core.vocabulary.cuts import cut

    ids = np.array([i for i in range(teacher.n_ids) if not is_marker(teacher.token(i))], dtype=np.int64)
    token, piece, weight = cut(teacher, student, ids, weights, max_pieces, progress)
    wanted = np.zeros(student.n_ids, dtype=np.bool_)
    wanted[rows] = True
    kept = wanted[piece]
    return table.entries(piece[kept], token[kept], weight[kept], REVERSE)


def through_slots(
    given: Entries,
    rows: NDArray[np.int64],
    n_columns: int,
    prep_top_k: int,
    top_k: int,
    scale_slot: bool,
    rounding: str,
) -> Entries:
    """`given` (one entry a cell, rows among `rows`) as the tools' rows of at most `top_k` slots give it back.

    Every row among `rows` (ascending) gets a scale slot, so that none of them is empty.
    """
    shrink = bfloat16 if rounding == "bfloat16" else _unchanged
    local = replace(given, rows=np.searchsorted(rows, given.rows))
    slots = to_slots(row_shares(local, shrink), len(rows), prep_top_k)
    if scale_slot:
        slots = cut_counting_the_last_twice(with_scale_slot(slots, shrink), top_k, shrink)
    else:
        slots = cut_to(slots, top_k, shrink)
    used = (slots.ids >= 0) & (slots.weights > 0)
    row, column = np.nonzero(used)[0], slots.ids[used]
    reason = _reasons(local, row, column, n_columns)
    return table.entries(rows[row], column, slots.weights[used].astype(np.float64), reason)


def row_shares(given: Entries, shrink: Rounding) -> Entries:
    """Weights over the sum of their row, rounded before and after; `given` has one entry a cell, sorted by row."""
    weights = shrink(given.weights.astype(np.float32))
    total = shrink(np.bincount(given.rows, weights=weights).astype(np.float32))[given.rows]
    return replace(given, weights=shrink(weights / total).astype(np.float64))


def to_slots(given: Entries, n_rows: int, prep_top_k: int) -> PaddedRows:
    """The `prep_top_k` heaviest entries of rows 0 to `n_rows` - 1, heaviest first, of equal ones the lowest id."""
    ordered = table.heaviest(given, prep_top_k)
    at = ordered.rows, table.rank(ordered.rows)
    ids = np.full((n_rows, prep_top_k), -1, dtype=np.int64)
    weights = np.zeros((n_rows, prep_top_k), dtype=np.float32)
    ids[at], weights[at] = ordered.columns, ordered.weights
    return PaddedRows(ids, weights)


def with_scale_slot(slots: PaddedRows, shrink: Rounding) -> PaddedRows:
    """The last slot weighs SCALE_WEIGHT, rows normalised; where it is unused it gets the lowest id not in the row."""
    ids, weights = slots.ids.copy(), slots.weights.copy()
    width = ids.shape[1]
    seen = np.zeros((len(ids), width + 1), dtype=np.bool_)
    row, slot = np.nonzero((ids >= 0) & (ids <= width))
    seen[row, ids[row, slot]] = True
    ids[:, -1] = np.where(ids[:, -1] < 0, seen.argmin(axis=1), ids[:, -1])
    weights[:, -1] = shrink(np.full(len(ids), SCALE_WEIGHT, dtype=np.float32))
    return PaddedRows(ids, _normalised(weights, shrink))


def cut_to(slots: PaddedRows, top_k: int, shrink: Rounding) -> PaddedRows:
    """The `top_k` heaviest slots (0: all), of equal ones the first, rows normalised."""
    return _pick(slots, _order(slots)[:, : top_k or None], shrink)


def cut_counting_the_last_twice(slots: PaddedRows, top_k: int, shrink: Rounding) -> PaddedRows:
    """The `top_k` - 1 heaviest slots (0: all but one) and then the last slot.

    The last slot is among the heaviest too, but in rows without an unused slot. With `top_k` 1 it is all that stays,
    and rows that don't use it are empty.
    """
    width = slots.ids.shape[1]
    full = ((slots.ids >= 0) & (slots.weights > 0)).all(axis=1)
    heaviest = slots.weights.copy()
    heaviest[full, -1] = -1.0
    order = np.argsort(-heaviest, axis=1, kind="stable")[:, : min(top_k or width, width) - 1]
    last = np.full((len(order), 1), width - 1)
    return _pick(slots, np.concatenate([order, last], axis=1), shrink)


def bfloat16(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """`values` rounded to the nearest bfloat16 (ties to even), as float32 of the same shape."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))
    return (rounded & np.uint32(0xFFFF0000)).view(np.float32)


def _unchanged(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values


def _order(slots: PaddedRows) -> NDArray[np.int64]:
    return np.argsort(-slots.weights, axis=1, kind="stable")


def _pick(slots: PaddedRows, order: NDArray[np.int64], shrink: Rounding) -> PaddedRows:
    ids, weights = np.take_along_axis(slots.ids, order, axis=1), np.take_along_axis(slots.weights, order, axis=1)
    return PaddedRows(np.where(weights > 0, ids, -1), _normalised(weights, shrink))


def _normalised(weights: NDArray[np.float32], shrink: Rounding) -> NDArray[np.float32]:
    total = shrink(weights.sum(axis=1, keepdims=True, dtype=np.float32))
    return shrink(np.divide(weights, total, out=np.zeros_like(weights), where=total > 0))


def _reasons(given: Entries, rows: NDArray[np.int64], columns: NDArray[np.int64], width: int) -> NDArray[np.uint8]:
    """The reason that each cell has in `given`, SCALE where it isn't there."""
    if not len(given):
        return np.full(len(rows), SCALE, dtype=np.uint8)
    keys, wanted = given.rows * width + given.columns, rows * width + columns
    order = np.argsort(keys)
    at = np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)
    return np.where(keys[order][at] == wanted, given.reasons[order][at], SCALE).astype(np.uint8)
