"""Several teachers fused by MinED: the source that knows the text best, or an average by how well each knows it.

Source: FuseLLM, Wan et al., ICLR 2024 (arXiv 2401.10491), and its released code: "MinCE" takes the distribution of the
source whose cross-entropy on the sequence is smallest, "AvgCE" weighs the sources by softmax(exp(-CE)).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ctkd_core.errors import LossInputError, unknown
from ctkd_core.losses.base import LossOutput, check_inputs, need_teacher, response_rows
from ctkd_core.losses.batch import AlignedBatch
from ctkd_core.losses.engine.engine import compute_dtype
from ctkd_core.losses.mined import Source, TargetRule, mined_objective, student_ids_of_teacher
from ctkd_core.losses.parts.merged import token_log_probs
from ctkd_core.losses.parts.mined_rows import facing_rows

Teachers = Sequence[tuple[Tensor, AlignedBatch]]  # logits [B, Tt, Vt] of each, and the batch that aligns it


def min_ce(ce: Tensor) -> Tensor:
    """[S, B]: weight 1 for the source of least cross-entropy in each column of ce [S, B], the first of equal ones."""
    best = ce.nan_to_num(nan=torch.inf).argmin(dim=0, keepdim=True)
    return torch.zeros_like(ce).scatter_(0, best, 1.0)


def avg_ce(ce: Tensor) -> Tensor:
    """[S, B]: soft-max over the sources of exp(-ce) for ce [S, B]: nearly even, as the released code has it."""
    return (-ce).exp().softmax(dim=0)


WEIGHTS = {"min_ce": min_ce, "avg_ce": avg_ce}


def sequence_ce(logits: Tensor, batch: AlignedBatch, chunk_rows: int | None = None) -> Tensor:
    """[B]: a teacher's mean cross-entropy in nats on its own response tokens; infinity for a sample without any.

    logits [B, Tt, Vt], row i predicts token i + 1.
    """
    rows = response_rows(batch.teacher_labels)
    log_p = token_log_probs(logits, rows.flat, rows.target, 1.0, compute_dtype(logits), chunk_rows)
    total = log_p.new_zeros(len(batch)).index_add_(0, rows.sample, -log_p)
    count = torch.bincount(rows.sample, minlength=len(batch))
    return torch.where(count > 0, total / count.clamp(min=1), torch.inf)


def fusion_weights(kind: str, teachers: Teachers, chunk_rows: int | None = None) -> Tensor:
    """[S, B] weights of the sources for each sample, "min_ce" or "avg_ce". Raises LossInputError for another kind."""
    if kind not in WEIGHTS:
        raise unknown("fusion", kind, WEIGHTS, LossInputError)
    return WEIGHTS[kind](torch.stack([sequence_ce(z.detach(), batch, chunk_rows) for z, batch in teachers]))


def fuse(
    student_logits: Tensor,
    teachers: Teachers,
    weights: str | Tensor = "min_ce",
    *,
    ce_weight: float = 0.5,
    temperature: float = 2.0,
    accept: str = "soft",
    byte_exact: bool = True,
    many_to_one: str = "sum",
    top_k: int = 0,
    fallback_weight: float = 1.0,
    projections: Sequence[Any] | None = None,
    chunk_rows: int | None = None,
) -> LossOutput:
    """The MinED loss against several teachers at once: each row's target is the weighted sum of theirs.

    teachers     (logits, batch) of each; all batches hold the same student ids and labels
    weights      "min_ce", "avg_ce", or a tensor [S, B] whose columns add up to 1
    projections  a map for each teacher, see `mined_loss`, as are the other options

    Where some of the teachers have no usable row, their weight goes to the text's next token. Values per group are
    those of the first batch. Raises LossInputError for no teachers, batches of other students, or weights that don't
    fit.
    """
    first = _check_teachers(student_logits, teachers)
    share = fusion_weights(weights, teachers, chunk_rows) if isinstance(weights, str) else weights
    _check_weights(share, (len(teachers), len(first)))
    rows = response_rows(first.student_labels)
    sources = []
    for k, (logits, batch) in enumerate(teachers):
        widths = (student_logits.shape[-1], logits.shape[-1])
        given = None if projections is None else projections[k]
        ids = student_ids_of_teacher(given, batch, widths, accept, student_logits.device)
        facing = facing_rows(rows, batch, accept, byte_exact, ids)
        sources.append(Source(logits.detach(), facing, share[k].to(rows.flat.device)[rows.sample], ids))
    target = TargetRule(temperature, many_to_one, top_k)
    return mined_objective(student_logits, first, rows, sources, target, ce_weight, fallback_weight, chunk_rows)


def _check_teachers(student_logits: Tensor, teachers: Teachers) -> AlignedBatch:
    """The first teacher's batch, if all hold the same student tokens and fit their logits."""
    if not teachers:
        raise LossInputError("fusion needs at least one (teacher_logits, batch); got none.")
    first = teachers[0][1]
    for logits, batch in teachers:
        check_inputs(student_logits, need_teacher("mined", logits), batch)
        same = torch.equal(batch.student_ids, first.student_ids)
        if not same or not torch.equal(batch.student_labels, first.student_labels):
            raise LossInputError("the batches of several teachers must hold the same student ids and labels.")
    return first


def _check_weights(share: Tensor, shape: tuple[int, int]) -> None:
    if share.shape != shape:
        raise LossInputError(
            f"weights must have shape [{shape[0]} teachers, {shape[1]} samples]; got {list(share.shape)}."
        )
    if bool((share < 0).any()) or not bool(((share.sum(dim=0) - 1.0).abs() < 1e-3).all()):
        raise LossInputError("weights must not be negative, and those of each sample must add up to 1.")
