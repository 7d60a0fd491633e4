"""CDM's alignment inside the loss: time warping with weights from the entropies of the logits at hand.

Alignments are precomputed, when no model has been asked yet, so their weights are constant. This makes them anew for
one batch. Source: Chen et al., Findings of ACL 2025 (arXiv 2502.11104): a mismatch costs more where a model is unsure.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctkd_core.alignment.cheapest_path import common_cuts, dtw
from ctkd_core.alignment.costs import token_costs, weights
from ctkd_core.alignment.dtw import path_groups
from ctkd_core.errors import LossInputError
from ctkd_core.losses.batch import IGNORE, AlignedBatch
from ctkd_core.losses.engine.engine import Buffers, compute_dtype, rows_per_chunk, softmax
from ctkd_core.vocabulary.contextual import Side, sides


def realigned(
    batch: AlignedBatch, student_logits: Tensor, teacher_logits: Tensor, chunk_rows: int | None = None
) -> AlignedBatch:
    """The batch with groups and pairs of the path over the learnt tokens, weighted by the entropies of both models.

    The entropy of a token is that of the row at it, in nats. End tokens face each other as before. Samples without a
    learnt token on one side get no groups. Raises LossInputError without tokenizers.
    """
    if batch.student is None or batch.teacher is None:
        raise LossInputError(
            "aligning anew compares token strings: pass both tokenizers to collate(samples, student, teacher), or "
            "leave realign off."
        )
    tables = sides(batch.student, batch.teacher)
    parts = (
        (batch.student_ids, batch.student_labels, student_logits, tables[0], batch.student.eos_id),
        (batch.teacher_ids, batch.teacher_labels, teacher_logits, tables[1], batch.teacher.eos_id),
    )
    groups: list[NDArray[np.int64]] = []
    pairs: list[NDArray[np.int64]] = []
    for b in range(len(batch)):
        found = [_answer(b, *part, chunk_rows) for part in parts]
        (s_at, s_texts, s_weights, s_end), (t_at, t_texts, t_weights, t_end) = found
        own = [np.zeros((0, 4), dtype=np.int64)]
        path = [np.zeros((0, 2), dtype=np.int64)]
        if len(s_at) and len(t_at):
            costs = token_costs(s_texts, t_texts, s_weights, t_weights)
            _, steps = dtw(costs, common_cuts(_spans(s_texts), _spans(t_texts), 0))
            joined = path_groups(steps)
            s_ranges, t_ranges = _ranges(s_at, *joined.T[:2]), _ranges(t_at, *joined.T[2:])
            own.append(np.concatenate([s_ranges, t_ranges], axis=1))
            path.append(np.stack([s_at[steps[:, 0]], t_at[steps[:, 1]]], axis=1))
        if s_end is not None and t_end is not None:
            own.append(np.array([[s_end, s_end + 1, t_end, t_end + 1]]))
            path.append(np.array([[s_end, t_end]]))
        for rows, out in ((np.concatenate(own), groups), (np.concatenate(path), pairs)):
            out.append(np.concatenate([np.full((len(rows), 1), b), rows], axis=1))
    device = batch.groups.device
    tensors = [torch.from_numpy(np.concatenate(rows).astype(np.int64)).to(device) for rows in (groups, pairs)]
    return replace(batch, groups=tensors[0], pairs=tensors[1])


def _ranges(at: NDArray[np.int64], start: NDArray[np.int32], end: NDArray[np.int32]) -> NDArray[np.int64]:
    """Positions [G, 2] of the learnt tokens number start to end - 1, whose positions `at` may have gaps."""
    return np.stack([at[start], np.where(end > start, at[np.maximum(end, 1) - 1] + 1, at[start])], axis=1)


def _answer(
    b: int, ids: Tensor, labels: Tensor, logits: Tensor, side: Side, eos: int | None, chunk_rows: int | None
) -> tuple[NDArray[np.int64], list[str], NDArray[np.float64], int | None]:
    """Positions of a sample's learnt tokens, their strings and weights; the end token's position apart."""
    at = (labels[b] != IGNORE).nonzero().squeeze(1)
    end = None
    if len(at) and eos is not None and int(ids[b, at[-1]]) == eos:
        end, at = int(at[-1]), at[:-1]
    texts = [side.strings[i] or "" for i in ids[b, at].tolist()]
    h = entropies(logits, b * ids.shape[1] + at, chunk_rows)
    return at.cpu().numpy(), texts, weights(h.cpu().numpy()), end


def entropies(logits: Tensor, rows: Tensor, chunk_rows: int | None = None) -> Tensor:
    """[n] entropy in nats of softmax(logits[row]), logits [B, T, V], rows int64 [n] flat; no gradient."""
    dtype = compute_dtype(logits)
    buffers = Buffers(logits.device, dtype)
    step = rows_per_chunk(logits.shape[-1], logits.device, chunk_rows)
    out = [torch.zeros(0, dtype=dtype, device=logits.device)]
    for begin in range(0, len(rows), step):
        z = buffers.read("logits", logits.detach(), rows[begin : begin + step])
        p, normaliser = softmax(z, 1.0, buffers, "softmax")
        mean = torch.where(p > 0, z, 0.0).mul_(p).sum(dim=1)
        out.append(normaliser - mean)
    return torch.cat(out)


def _spans(texts: list[str]) -> NDArray[np.int64]:
    """Bytes that each string covers when all are joined, int64 [n, 2]: a long answer is cut at common borders."""
    ends = np.cumsum([len(text.encode("utf-8", "surrogateescape")) for text in texts], dtype=np.int64)
    return np.stack([np.concatenate([[0], ends[:-1]]), ends], axis=1)
