"""ULD: compare the sorted next-token probabilities of both models, position by position.

Optimal transport with uniform cost between two vocabularies has a closed form: the L1 distance of the sorted
probability vectors. Source: Boizard et al. 2024 (arXiv 2402.12030), section 3.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ctkd_core.losses.base import (
    LossOutput,
    check_inputs,
    cross_entropy_term,
    finish,
    need_teacher,
    response_rows,
)
from ctkd_core.losses.batch import AlignedBatch
from ctkd_core.losses.engine.deferred import DeferredChunk, readable
from ctkd_core.losses.engine.engine import Chunk, Term, compute_dtype, softmax
from ctkd_core.losses.facts import Count, mean
from ctkd_core.losses.parts.paired_rows import (
    ColumnRule,
    Columns,
    Groups,
    columns_of,
    groups_in_place,
    scratch_bytes,
    student_side,
    teacher_side,
)
from ctkd_core.losses.parts.pairing import PAIRINGS, sample_mean
from ctkd_core.losses.parts.unnormalised import sorted_gap


def uld_loss(
    student_logits: Tensor,
    teacher_logits: Tensor | None,
    batch: AlignedBatch,
    *,
    ce_weight: float = 0.5,
    temperature: float = 1.0,
    teacher_temperature: float | None = None,
    pairing: str = "positional",
    top_k: int = 0,
    variant: str = "clean",
    chunk_rows: int | None = None,
) -> LossOutput:
    """ce_weight * CE + (1 - ce_weight) * ULD.

    ULD: for each paired row d = sum_i |p_(i) - q_(i)|, in [0, 2]; mean over the pairs of a sample, then over the
    samples that have pairs. Both soft-max rows run at `temperature` (the teacher's at `teacher_temperature` if given).

    pairing  "positional": k-th response token of either side, the longer side cut (the paper);
             "groups": the rows that predict the last token of each side of each group
    top_k    compare the largest k probabilities of either side only, 0 for all of them (exact)
    variant  "released": as TRL's trainer without groups. Row k of the answer is the one AT token k (it predicts the
             next token), the last answer token is left out, samples without an answer count as 0; `pairing` and `top_k`
             don't apply

    student_logits [B, Ts, Vs], teacher_logits [B, Tt, Vt]. Raises LossInputError.
    """
    teacher = need_teacher("uld", teacher_logits)
    check_inputs(student_logits, teacher, batch)
    if variant == "released":
        temperatures = (temperature, teacher_temperature or temperature)
        return released_uld(student_logits, teacher, batch, ce_weight, temperatures, chunk_rows)
    rows = response_rows(batch.student_labels)
    pair = PAIRINGS[pairing](rows, batch)
    norm = sample_mean(rows, pair >= 0, len(batch))
    columns = None
    if compute_dtype(student_logits, teacher) == torch.float32 and readable(student_logits, teacher):
        columns = columns_of(None, (student_logits.shape[-1], teacher.shape[-1]), student_logits.device)
    kernel = _SortedL1(teacher, pair, temperature, teacher_temperature or temperature, top_k, columns)
    scratch = None if columns is None else scratch_bytes(columns)
    terms = [
        cross_entropy_term(rows, ce_weight),
        Term(("uld",), (1.0 - ce_weight,), norm, kernel, scratch=scratch),
    ]
    out = finish(student_logits, rows, terms, batch, teacher_logits=teacher, chunk_rows=chunk_rows)
    paired = pair >= 0
    facts = {"rows": Count(len(rows)), "paired_rows": Count(paired.sum()), "paired_share": mean(paired)}
    return LossOutput(out.loss, out.terms, out.per_group, facts)


@dataclass(frozen=True)
class _SortedL1:
    """The kernel: sorted L1 of paired soft-max rows; the gradient is the sign of each gap through the soft-max."""

    teacher: Tensor  # [B, Tt, Vt]
    pair: Tensor  # int64 [R]
    temperature: float
    teacher_temperature: float
    top_k: int = 0
    columns: Columns | None = None  # where kernels read the logits in their place

    def __call__(self, chunk: Chunk, weight: Tensor) -> Tensor:
        pair = self.pair[chunk.rows]
        values = torch.zeros(len(chunk), dtype=weight.dtype, device=pair.device)
        local = (pair >= 0).nonzero().squeeze(1)
        if not len(local):
            return values[:, None]
        if isinstance(chunk, DeferredChunk) and self.columns is not None:
            one, w = torch.ones_like(local), weight[local, 0]
            student = student_side(chunk, Groups(local, one), self.temperature)
            teacher = teacher_side(self.teacher, Groups(pair[local], one), self.teacher_temperature)
            rule, places = (
                ColumnRule("forward", limit=self.top_k or None),
                torch.arange(len(local), device=local.device),
            )
            found = groups_in_place(
                chunk, student, teacher, self.columns, rule, (torch.zeros_like(w), w), (local, places)
            )
            values[local] = found.rest
            return values[:, None]
        p, _ = chunk.softmax(self.temperature)
        q = chunk.buffers.gather("teacher", self.teacher, pair[local])
        q, _ = softmax(q, self.teacher_temperature, chunk.buffers, "teacher softmax")
        factor = weight[local, 0] / self.temperature
        if self.top_k:
            values[local] = _top_rows(p, q, local, factor, chunk.gradient, self.top_k)
            return values[:, None]
        on_cpu = chunk.logits.device.type == "cpu" and chunk.logits.dtype == torch.float32
        values[local] = (_counted_rows if on_cpu else _sorted_rows)(p, q, local, factor, chunk.gradient)
        return values[:, None]


def _counted_rows(p: Tensor, q: Tensor, local: Tensor, factor: Tensor, gradient: Tensor | None) -> Tensor:
    from ctkd_core.losses.kernels.sorted_l1 import sorted_l1

    target = torch.empty(0, 0) if gradient is None else gradient
    values = sorted_l1(
        p.numpy(), q.numpy(), local.numpy(), factor.numpy(), target.numpy(), threads=torch.get_num_threads()
    )
    return torch.from_numpy(values).to(p.dtype)


def _sorted_rows(p: Tensor, q: Tensor, local: Tensor, factor: Tensor, gradient: Tensor | None) -> Tensor:
    p = p[local]
    gap, order = sorted_gap(p, q)
    if gradient is not None:
        sign = torch.zeros_like(p).scatter_(1, order, gap[:, : p.shape[1]].sign())
        inner = (p * sign).sum(dim=1, keepdim=True)
        gradient.index_add_(0, local, factor[:, None] * p * (sign - inner))
    return gap.abs().sum(dim=1)


def _top_rows(p: Tensor, q: Tensor, local: Tensor, factor: Tensor, gradient: Tensor | None, k: int) -> Tensor:
    """L1 distance of the k largest entries of each row; entries below them count for nothing."""
    p = p[local]
    mine, order = p.topk(min(k, p.shape[1]), dim=1)
    other = q.topk(min(k, q.shape[1]), dim=1).values
    width = max(mine.shape[1], other.shape[1])
    pad = torch.nn.functional.pad
    gap = pad(mine, (0, width - mine.shape[1])) - pad(other, (0, width - other.shape[1]))
    if gradient is not None:
        slope = mine * gap[:, : mine.shape[1]].sign()
        step = torch.zeros_like(p).scatter_(1, order, slope).addcmul_(p, -slope.sum(dim=1, keepdim=True))
        gradient.index_add_(0, local, step.mul_(factor[:, None]))
    return gap.abs().sum(dim=1)


def released_uld(
    student_logits: Tensor,
    teacher: Tensor,
    batch: AlignedBatch,
    ce_weight: float,
    temperatures: tuple[float, float],
    chunk_rows: int | None,
) -> LossOutput:
    """ULD as TRL 1.16 computes it without byte-offset groups (see `uld_loss`)."""
    from ctkd_core.losses.gold import Weights, gold_objective
    from ctkd_core.losses.released.gold import released_groups

    groups = released_groups(batch.student_labels, batch.teacher_labels, None).to(student_logits.device)
    pairs = replace(batch, groups=groups)
    weights = Weights(ce_weight, 1.0 - ce_weight)
    out = gold_objective(
        student_logits, teacher, pairs, weights, None, "observed", temperatures, 0.5, True, "count", chunk_rows
    )
    # values belong to positions here; the batch's own groups get those of their student tokens
    values = torch.zeros(batch.student_ids.shape, dtype=torch.float64, device=groups.device)
    values[groups[:, 0], groups[:, 1]] = out.per_group.double()
    total = torch.nn.functional.pad(values.cumsum(dim=1), (1, 0))
    sample, start, end = batch.groups[:, 0], batch.groups[:, 1], batch.groups[:, 2]
    share = (total[sample, end] - total[sample, start]).to(out.per_group.dtype)
    return LossOutput(out.loss, out.terms, share, {"paired_rows": Count(len(groups))})
