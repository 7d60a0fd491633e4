"""Pieces map: what has no equal token maps to the pieces into which the teacher cuts its bytes.

By default the rules of the X-Token paper (arXiv 2605.21699): equal canonical forms, then pieces with weights that
fall by ten, the heaviest four kept. What its released tools add or do otherwise are options, see `released_pieces`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.errors import ProjectionError
from ctkd_core.vocabulary import entries as table
from ctkd_core.vocabulary.entries import Entries
from ctkd_core.vocabulary.exact import exact_matches
from ctkd_core.vocabulary.projection import PIECES, Progress, Projection, from_entries, silent

if TYPE_CHECKING:
    from ctkd_core.encoding import Tokenizer

# X-Token, section 2: the i-th piece weighs BETA * GAMMA^i before the row is normalised, and a row keeps TOP_K.
BETA, GAMMA, TOP_K = 0.9, 0.1, 4
BATCH = 16_384  # tokens cut between two reports of progress


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
    reverse, similar, scale_slot, prep_top_k, rounding: see `released_pieces`

    Tokens that the teacher can't spell (it would write its unknown token) and special tokens without a role have empty
    rows. Raises ProjectionError for a scale slot in rows of one entry.
    """
    options: dict[str, Any] = {k: v for k, v in locals().items() if k not in ("student", "teacher", "progress")}
    if scale_slot and top_k == 1:
        raise ProjectionError("scale_slot needs rows of at least two entries; set top_k to 2 or more, or 0.")
    found, reason = exact_matches(student, teacher, match)
    rest = np.flatnonzero(found < 0)
    parts = [forward(student, teacher, rest, weights, max_pieces, _within(progress, 0.1, 0.5 if reverse else 0.9))]
    if reverse:
        from ctkd_core.vocabulary.released_pieces import reverse_entries

        parts.append(reverse_entries(student, teacher, rest, weights, max_pieces, _within(progress, 0.5, 0.9)))
    if similar:
        from ctkd_core.vocabulary.special_similarity import similar_entries

        parts.append(similar_entries(student, teacher, rest, prep_top_k, _within(progress, 0.9, 0.95)))
    progress(0.95, "Writing the map")
    pieces = table.sum_cells(table.join(parts))
    if scale_slot or rounding == "bfloat16":
        from ctkd_core.vocabulary.released_pieces import through_slots

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


def cut(
    source: Tokenizer, target: Tokenizer, ids: NDArray[np.int64], weights: str, max_pieces: int, progress: Progress
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Tokens `ids` of `source` cut by `target`, one entry a piece: source id, target id, weight (1 in all a token).

    Left out: special tokens, ids without text, and tokens that `target` can't spell.
    """
    spelled, special = source.all_token_bytes(), source.special_ids
    kept = np.array([i for i in ids.tolist() if spelled[i] and i not in special], dtype=np.int64)
    pieces: list[list[int]] = []
    for start in range(0, len(kept), BATCH):
        progress(start / len(kept), f"Cutting {len(kept):,} tokens of {source.name} with {target.name}")
        pieces += target.encode_pieces([spelled[i] for i in kept[start : start + BATCH].tolist()])
    if target.unk_id is not None:
        writable = [target.unk_id not in p for p in pieces]
        kept, pieces = kept[writable], [p for p, fine in zip(pieces, writable) if fine]
    counts, flat, weight = weigh(pieces, weights, max_pieces)
    return np.repeat(kept, counts), flat, weight


def weigh(
    pieces: Sequence[Sequence[int]], weights: str, max_pieces: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Counts int64 [n], all pieces in a row int64 [k], and their weights float64 [k], which sum to 1 per list."""
    shown = [p[:max_pieces] for p in pieces] if max_pieces else pieces
    counts = np.fromiter(map(len, shown), dtype=np.int64, count=len(shown))
    flat = np.fromiter((i for p in shown for i in p), dtype=np.int64, count=int(counts.sum()))
    owner = np.repeat(np.arange(len(counts)), counts)
    raw = np.ones(len(flat)) if weights == "mean" else BETA * GAMMA ** table.rank(owner).astype(np.float64)
    return counts, flat, raw / np.bincount(owner, weights=raw, minlength=len(counts))[owner]


def _within(progress: Progress, start: float, stop: float) -> Progress:
    """`progress` for a part of the work, from share `start` to `stop`."""
    return lambda share, sentence: progress(start + share * (stop - start), sentence)
