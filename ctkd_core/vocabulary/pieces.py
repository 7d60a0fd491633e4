"""Pieces map: what has no equal token maps to the pieces into which the teacher cuts its bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ctkd_core.vocabulary.exact import exact_matches
from ctkd_core.vocabulary.projection import PIECES, Projection, from_entries

if TYPE_CHECKING:
    from ctkd_core.encoding import Tokenizer

# X-Token, section 2: the i-th piece weighs BETA * GAMMA^i before the row is normalised.
BETA, GAMMA = 0.9, 0.1


def project_pieces(student: Tokenizer, teacher: Tokenizer, weights: str = "mean") -> Projection:
    """Exact matches first (see `exact`); every other token to the teacher's pieces of its bytes, rows sum to 1.

    weights  "mean": 1 / number of pieces; "geometric": BETA * GAMMA^i, normalised
    A piece that occurs twice counts twice. Tokens that the teacher can't spell (it would write its unknown token)
    and special tokens without a role have empty rows.
    """
    match, reason = exact_matches(student, teacher)
    exact = np.flatnonzero(match >= 0)
    rows, columns, position, count = _pieces(student, teacher, np.flatnonzero(match < 0))
    weight = 1.0 / count if weights == "mean" else BETA * GAMMA ** position.astype(np.float64)
    matrix, reasons = from_entries(
        np.concatenate([exact, rows]),
        np.concatenate([match[exact], columns]),
        np.concatenate([np.ones(len(exact)), weight]),
        np.concatenate([reason[exact], np.full(len(rows), PIECES, dtype=np.uint8)]),
        (student.n_ids, teacher.n_ids),
    )
    return Projection(matrix, reasons, "pieces", student, teacher, {"weights": weights})


def _pieces(student: Tokenizer, teacher: Tokenizer, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    """Of all pieces of `rows`, one entry each: row, teacher id, position in the row, pieces in the row."""
    table, special = student.all_token_bytes(), student.special_ids
    rows = np.array([r for r in rows.tolist() if table[r] and r not in special], dtype=np.int64)
    pieces = teacher.encode_pieces([table[r] for r in rows.tolist()])
    if teacher.unk_id is not None:
        unknown = teacher.unk_id
        spelled = [unknown not in ids for ids in pieces]
        rows, pieces = rows[spelled], [ids for ids, fine in zip(pieces, spelled) if fine]
    counts = np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces))
    flat = np.fromiter((i for ids in pieces for i in ids), dtype=np.int64, count=int(counts.sum()))
    position = np.arange(len(flat)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(rows, counts), flat, position, np.repeat(counts, counts)
