"""X-Token's H-KL: KL on the tokens that both vocabularies have, sorted differences on the rest.

The common set comes from the projection W: "relaxed" takes each student token's heaviest entry from a threshold on,
"strict" only one-hot rows (the public code's GOLD baseline). The common part is not renormalised, so it can be negative
and it presses down every student token outside the set (Proposition 1 of the paper).
Source: X-Token, arXiv 2605.21699, and its public code (NeMo-RL): means of log-probabilities over a group's rows, tails
cut to the shorter side, times temperature squared.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ctkd_core.losses.base import (
    LossOutput,
    check_inputs,
    cross_entropy_term,
    finish,
    need_teacher,
)
from ctkd_core.losses.batch import AlignedBatch
from ctkd_core.losses.engine.deferred import DeferredChunk, readable
from ctkd_core.losses.engine.engine import Buffers, Chunk, Term, compute_dtype
from ctkd_core.losses.facts import Count, mean
from ctkd_core.losses.parts.divergences import LOWEST
from ctkd_core.losses.parts.group_rows import GroupRows, GroupsInChunk, segment_mean
from ctkd_core.losses.parts.matched import Matched, SameObject, best_pairs, matched_from_pairs, one_to_one
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
from ctkd_core.losses.parts.unnormalised import l1_of_sorted
from ctkd_core.losses.xtoken import MAX_SCALE, balance_of, boundless, compared_groups, default_projection, rows_of


def hkl_loss(
    student_logits: Tensor,
    teacher_logits: Tensor | None,
    batch: AlignedBatch,
    *,
    scaling: str = "dynamic",
    ce_weight: float = 0.5,
    temperature: float = 1.0,
    common: str = "relaxed",
    threshold: float = 0.6,
    tail_k: int = 8192,
    tail_weight: float = 1.0,
    reverse: bool = False,
    max_scale: float = MAX_SCALE,
    projection: Any = None,
    variant: str = "clean",
    chunk_rows: int | None = None,
) -> LossOutput:
    """CE + s * H-KL (scaling "dynamic"), or ce_weight * CE + (1 - ce_weight) * H-KL.

    s = |CE| / |H-KL| as a constant, at most `max_scale`, and 1 where H-KL is negative; it is named among the terms, as
    "kd_scale".

    H-KL = tau^2 * (common + tail_weight * tail), means over groups of
      common  sum over pairs (s, t) of exp(lv_t) (lv_t - lq_s), with `reverse` of exp(lq_s) (lq_s - lv_t); 0 without a
              common token
      tail    sum_i |a_(i) - b_(i)|, a = exp(lq) and b = exp(lv) outside the common set, sorted; as many entries of
              each as the shorter side has, at most `tail_k`
    lq, lv: means of the log-probabilities over a group's rows, full vocabularies (the teacher's up to W's width).

    common      "relaxed": heaviest entry of a row of W, from `threshold` on; "strict": rows with one entry of weight 1
    projection  W, a Projection or scipy matrix [Vs, Vt]; default: X-Token's rules for the batch's tokenizers
    variant     "released": groups are compared whatever the labels say, and s = |CE| / |H-KL| without a limit
    student_logits [B, Ts, Vs], teacher_logits [B, Tt, Vt]. Raises LossInputError.
    """
    teacher = need_teacher("xtoken-hkl", teacher_logits)
    check_inputs(student_logits, teacher, batch)
    if projection is None:
        projection = default_projection(batch)
    teacher = teacher[..., : projection.shape[1]]
    widths = (student_logits.shape[-1], teacher.shape[-1])
    matched = _common(SameObject(projection), common, threshold, widths).to(student_logits.device)
    rows, learnt = rows_of(batch, variant)
    groups = compared_groups(rows, batch, variant)
    columns = None
    if compute_dtype(student_logits, teacher) == torch.float32 and readable(student_logits, teacher):
        columns = columns_of(matched, widths, student_logits.device)
    kernel = _Kernel(teacher, groups, matched, temperature, tail_k, reverse, columns)
    share = (1.0 if scaling == "dynamic" else 1.0 - ce_weight) * temperature**2
    term = Term(
        ("common", "tail"),
        (share, share * tail_weight),
        groups.group_mean(len(rows)),
        kernel,
        owner=groups.owners(len(rows)),
        scratch=None if columns is None else scratch_bytes(columns),
    )
    terms = [cross_entropy_term(rows, 1.0 if scaling == "dynamic" else ce_weight, learnt), term]
    out = finish(
        student_logits, rows, terms, batch, teacher_logits=teacher, chunk_rows=chunk_rows,
        cuts=groups.cuts(len(rows)), balance=balance_of(scaling, max_scale, variant),
    )  # fmt: skip
    facts = {name: mean(torch.cat(values)) if values else 0.0 for name, values in kernel.facts.items()}
    facts |= {"groups": Count(len(groups)), "common_ids": float(len(matched.student))}
    return replace(out, diagnostics=out.diagnostics | facts)


@lru_cache(maxsize=8)
def _common(projection: SameObject, common: str, threshold: float, widths: tuple[int, int]) -> Matched:
    """The common columns; looking a map through takes longer than a step of the loss on a GPU."""
    value = projection.value
    pairs = one_to_one(value) if common == "strict" else best_pairs(value, threshold)
    return matched_from_pairs(pairs, widths, none=True)


@dataclass(frozen=True)
class _Kernel:
    """Common and tail of each group; the gradient goes through the mean of log-probabilities to every row."""

    teacher: Tensor
    groups: GroupRows
    matched: Matched
    temperature: float
    tail_k: int
    reverse: bool = False
    columns: Columns | None = None  # where kernels read the logits in their place
    facts: dict[str, list[Tensor]] = field(
        default_factory=lambda: {"student_common_mass": [], "teacher_common_mass": [], "top1_agreement": []}
    )

    def __call__(self, chunk: Chunk, weight: Tensor) -> Tensor:
        values = torch.zeros_like(weight)
        inside = self.groups.within(chunk.rows)
        if not len(inside):
            return values
        if isinstance(chunk, DeferredChunk) and self.columns is not None:
            values[inside.at] = self._in_place(chunk, inside, weight[inside.at], self.columns)
            return values
        log_q = self._student_rows(chunk, inside)
        log_v = self._teacher_rows(chunk.buffers, inside)
        slope = chunk.buffers.take("slope", *log_q.shape)
        values[inside.at] = self._compare(log_q, log_v, weight[inside.at], slope, chunk.buffers)
        if chunk.gradient is not None:
            self._spread(chunk, inside, slope)
        return values

    def _in_place(self, chunk: DeferredChunk, inside: GroupsInChunk, weight: Tensor, columns: Columns) -> Tensor:
        """Values [g, 2] from the logits as they lie; the rest of this class is the twin."""
        rule = ColumnRule("reverse" if self.reverse else "forward", limit=min(*columns.rest, self.tail_k))
        student = student_side(chunk, Groups(inside.local, inside.count), self.temperature)
        teacher = teacher_side(self.teacher, Groups(inside.teacher, inside.teacher_count), self.temperature)
        weights, rows = (weight[:, 0], weight[:, 1]), (inside.local, inside.segment)
        found = groups_in_place(chunk, student, teacher, columns, rule, weights, rows)
        if len(columns.student):
            self.facts["top1_agreement"].append(found.agree)
            self.facts["student_common_mass"].append(found.masses[0])
            self.facts["teacher_common_mass"].append(found.masses[1])
        return torch.stack([boundless(found.paired), found.rest], dim=1)

    def _student_rows(self, chunk: Chunk, inside: GroupsInChunk) -> Tensor:
        _, normaliser = chunk.softmax(self.temperature)
        out = chunk.buffers.take("log q", len(inside), chunk.logits.shape[1])
        whole = len(inside.local) == len(chunk)
        z = chunk.logits if whole else chunk.logits.index_select(0, inside.local)
        segment_mean(z, inside.segment, inside.count, out).div_(self.temperature)
        shift = segment_mean(
            normaliser[inside.local, None], inside.segment, inside.count, out.new_empty(len(inside), 1)
        )
        return out.sub_(shift)

    def _teacher_rows(self, buffers: Buffers, inside: GroupsInChunk) -> Tensor:
        z = buffers.gather("teacher", self.teacher, inside.teacher)
        z = z.div_(self.temperature)
        z.sub_(z.logsumexp(dim=1, keepdim=True))
        if len(z) == len(inside):
            return z
        return segment_mean(
            z, inside.teacher_segment, inside.teacher_count, buffers.take("log v", len(inside), z.shape[1])
        )

    def _compare(self, log_q: Tensor, log_v: Tensor, weight: Tensor, slope: Tensor, buffers: Buffers) -> Tensor:
        """Values [g, 2]; slope [g, Vs] receives weight * d value / d lq."""
        ids, g = self.matched, len(log_q)

        def take(name: str, rows: Tensor, columns: Tensor) -> Tensor:
            return torch.index_select(rows, 1, columns, out=buffers.take(name, g, len(columns)))

        shared = log_q.new_zeros(g)
        if len(ids.student):
            log_vm = take("vm", log_v, ids.teacher).clamp_(min=LOWEST)
            log_qm = take("qm", log_q, ids.student).clamp_(min=LOWEST)
            self.facts["top1_agreement"].append((log_vm.argmax(dim=1) == log_qm.argmax(dim=1)).to(log_q.dtype))
            v = torch.exp(log_vm, out=buffers.take("v", *log_vm.shape))
            self.facts["student_common_mass"].append(log_qm.logsumexp(dim=1).exp())
            self.facts["teacher_common_mass"].append(v.sum(dim=1))
            shared = boundless(self._common(log_qm, log_vm, v, weight[:, :1]))
            slope.index_copy_(1, ids.student, log_qm)
        tail = torch.zeros_like(shared)
        q, v = take("tail q", log_q, ids.student_rest).exp_(), take("tail v", log_v, ids.teacher_rest).exp_()
        sign = buffers.take("signs", *q.shape)
        limit = min(q.shape[1], v.shape[1], self.tail_k)
        if limit:
            tail = l1_of_sorted(q, v, sign, limit)
            sign.mul_(q).mul_(weight[:, 1:])
        else:
            sign.zero_()
        slope.index_copy_(1, ids.student_rest, sign)
        return torch.stack([shared, tail], dim=1)

    def _common(self, log_q: Tensor, log_v: Tensor, v: Tensor, weight: Tensor) -> Tensor:
        """Value [g] of the common columns [g, M]; log_q becomes weight * d value / d lq, all may be overwritten."""
        if not self.reverse:
            value = log_v.sub_(log_q).mul_(v).sum(dim=1)
            torch.mul(v, -weight, out=log_q)
            return value
        q = torch.exp(log_q, out=v)
        gap = log_q.sub_(log_v)
        value = (gap * q).sum(dim=1)
        gap.add_(1.0).mul_(q).mul_(weight)
        return value

    def _spread(self, chunk: Chunk, inside: GroupsInChunk, slope: Tensor) -> None:
        """d / d z of a row: (slope - p * sum(slope)) / (rows of the group * tau)."""
        assert chunk.gradient is not None
        p, _ = chunk.softmax(self.temperature)
        slope.div_((inside.count[:, None] * self.temperature).to(slope.dtype))
        total = slope.sum(dim=1)[inside.segment]
        if len(inside.local) == len(chunk) == len(inside):
            chunk.gradient.add_(slope).addcmul_(p, -total[:, None])
            return
        rows = slope.index_select(0, inside.segment).addcmul_(p.index_select(0, inside.local), -total[:, None])
        chunk.gradient.index_add_(0, inside.local, rows)
