"""Pieces map: what has no equal token maps to the pieces into which the teacher cuts its bytes.

By default the rules of the X-Token paper (arXiv 2605.21699): equal canonical forms, then pieces with weights that
fall by ten, the heaviest four kept. What its released tools add or do otherwise are options, see `released.pieces`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.background.progress import Progress, silent, within
from ctkd_core.errors import ProjectionError
from ctkd_core.vocabulary import entries as table
from ctkd_core.vocabulary.cuts import TOP_K, cut
from ctkd_core.vocabulary.entries import Entries
from ctkd_core.vocabulary.exact import exact_matches
from ctkd_core.vocabulary.projection import PIECES, Projection, from_entries

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer


def project_pieces(
    student: Tokenizer,
    teacher: Tokenizer,
    *,
    weights: str = "geometric",
    match: str = "canonical",
    top_k: int = TOP_K,
    max_pieces: int = 0,
    reverse: bool = False,
    similar: bool = False,
    scale_slot: bool = False,
    prep_top_k: int = 32,
    rounding: str = "float32",
    progress: Progress = silent,
) -> Projection:
    """Matches first (see `exact`); every other token to the teacher's pieces of its bytes, rows sum to 1.

    weights     "geometric": BETA * GAMMA^i for the i-th piece; "mean": 1 / number of pieces; a piece that occurs
                twice counts twice
    match       what counts as equal: "canonical", "bytes" or "raw"
    top_k       the heaviest entries that a row keeps, of equal ones the lowest ids; 0: all
    max_pieces  pieces that are looked at, from the first; 0: all
    reverse, similar, scale_slot, prep_top_k, rounding: see `released.pieces`

    Tokens that the teacher can't spell (it would write its unknown token) and special tokens without a role have empty
    rows. Raises ProjectionError for a scale slot in rows of one entry.
    """
    options: dict[str, Any] = {k: v for k, v in locals().items() if k not in ("student", "teacher", "progress")}
    if scale_slot and top_k == 1:
        raise ProjectionError("scale_slot needs rows of at least two entries; set top_k to 2 or more, or 0.")
    found, reason = exact_matches(student, teacher, match)
    rest = np.flatnonzero(found < 0)
    parts = [forward(student, teacher, rest, weights, max_pieces, within(progress, 0.1, 0.5 if reverse else 0.9))]
    if reverse:
        from ctkd_core.vocabulary.released.pieces import reverse_entries

        parts.append(reverse_entries(student, teacher, rest, weights, max_pieces, within(progress, 0.5, 0.9)))
    if similar:
        from ctkd_core.vocabulary.special_similarity import similar_entries

        parts.append(similar_entries(student, teacher, rest, prep_top_k, within(progress, 0.9, 0.95)))
    progress(0.95, "Writing the map")
    pieces = table.sum_cells(table.join(parts))
    if scale_slot or rounding == "bfloat16":
        from ctkd_core.vocabulary.released.pieces import through_slots

        pieces = through_slots(pieces, rest, teacher.n_ids, prep_top_k, top_k, scale_slot, rounding)
    else:
        pieces = table.normalised(table.heaviest(pieces, top_k))
    return _projection(student, teacher, found, reason, pieces, options)


def _projection(
    student: Tokenizer,
    teacher: Tokenizer,
    found: NDArray[np.int64],
    reason: NDArray[np.uint8],
    pieces: Entries,
    options: dict[str, Any],
) -> Projection:
    """The map of the matches `found` (int64 [Vs], -1 without) and the entries of the other rows."""
    exact = np.flatnonzero(found >= 0)
    whole = table.join([table.entries(exact, found[exact], np.ones(len(exact)), reason[exact]), pieces])
    shape = (student.n_ids, teacher.n_ids)
    matrix, reasons = from_entries(whole.rows, whole.columns, whole.weights, whole.reasons, shape, normalise=False)
    return Projection(matrix, reasons, "pieces", student, teacher, options)


def forward(
    student: Tokenizer,
    teacher: Tokenizer,
    rows: NDArray[np.int64],
    weights: str,
    max_pieces: int = 0,
    progress: Progress = silent,
) -> Entries:
    """Student tokens `rows` to the teacher's pieces of their bytes; each row's weights sum to 1."""
    row, piece, weight = cut(student, teacher, rows, weights, max_pieces, progress)
    return table.entries(row, piece, weight, PIECES)
