"""Tokens of one vocabulary cut by the other, with a weight for each piece."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ctkd_core.background.progress import Progress
from ctkd_core.vocabulary import entries as table

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer


# X-Token, section 2: the i-th piece weighs BETA * GAMMA^i before the row is normalised, and a row keeps TOP_K.
BETA, GAMMA, TOP_K = 0.9, 0.1, 4


BATCH = 16_384  # tokens cut between two reports of progress


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
