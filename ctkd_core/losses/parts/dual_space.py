"""Distillation in both hidden spaces: each model's states, projected, are read by the other model's output head.

Three terms stand beside the cross-entropy of the student. In the student's space the teacher's states (t2s) learn to
predict a target token (only the projector learns) and then teach the student where they predict it. In the teacher's
space the student's states (s2t) learn to give the teacher's own distribution. Heads of the other space and what comes
from the teacher get no gradient.
Source: DSKD, arXiv 2406.17328 and 2504.11426.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ctkd_core.losses.base import (
    LossOutput,
    Rows,
    check_finite,
    cross_entropy_term,
    finish,
    per_group,
    response_rows,
)
from ctkd_core.losses.batch import AlignedBatch
from ctkd_core.losses.engine import units
from ctkd_core.losses.engine.engine import Chunk, RowSums, Term, compute_dtype, evaluate
from ctkd_core.losses.engine.fused import HeadLogits
from ctkd_core.losses.facts import Count, portion
from ctkd_core.losses.parts.divergences import DivergenceRule, FacingRows


@dataclass(frozen=True)
class TeacherInStudent:
    """hidden float [N, d], head [Vs, d]; number int64 [N]: the student row that each faces, ascending; target int64
    [N]: the student id that it should predict, -1 for none."""

    hidden: Tensor
    head: Tensor
    number: Tensor
    target: Tensor


@dataclass(frozen=True)
class StudentInTeacher:
    """hidden float [M, D], head [Vt, D]; rows: the teacher rows that `number` int64 [M] counts in, ascending."""

    hidden: Tensor
    head: Tensor
    rows: Rows
    number: Tensor


@dataclass(frozen=True)
class DualRule:
    """How the distributions are compared.

    teacher_temperature  divides the logits of the t2s side besides; the s2t term has one temperature for both sides
    agreement  the student learns from a t2s row that predicts its target; above this share of such rows, from all
    divisor    what the sums are divided by: None for the number of rows of each term
    """

    t2s: DivergenceRule
    s2t: DivergenceRule
    temperature: float
    teacher_temperature: float = 1.0
    agreement: float = 1.0
    mean_over_agreeing: bool = False
    divisor: float | None = None


def dual_space(
    student_logits: Tensor,
    teacher_logits: Tensor,
    batch: AlignedBatch,
    t2s: TeacherInStudent,
    s2t: StudentInTeacher,
    rule: DualRule,
    ce_weight: float,
    chunk_rows: int | None = None,
) -> LossOutput:
    """ce_weight * CE + (1 - ce_weight) * (t2s CE + t2s divergence + s2t divergence)."""
    rows = response_rows(batch.student_labels)
    dtype = compute_dtype(student_logits, teacher_logits)
    share = 1.0 - ce_weight
    guess, best = _predictions(t2s, rows, rule, dtype, chunk_rows)
    known = t2s.target >= 0
    agree = known & (best == t2s.target)
    facing, norm = _facing(t2s, agree, rule, len(rows))
    projected = HeadLogits(t2s.hidden, t2s.head).detach()
    hot, own = rule.temperature * rule.teacher_temperature, rule.temperature
    kernel = FacingRows(rule.t2s, projected, facing, (own, hot), student_logits.shape[-1])
    terms = [cross_entropy_term(rows, ce_weight), Term(("t2s_kd",), (share,), norm, kernel)]
    out = finish(student_logits, rows, terms, batch, teacher_logits=teacher_logits, chunk_rows=chunk_rows)
    back = _answers(s2t, teacher_logits, rule, dtype, chunk_rows)
    total = out.loss + share * (guess.loss + back.loss).to(out.loss.dtype)
    t2s_ce, s2t_kd = (_value(sums, x.number, n) for sums, x, n in ((guess, t2s, len(rows)), (back, s2t, len(s2t.rows))))
    added = per_group(t2s_ce, rows, batch.groups) + per_group(s2t_kd, s2t.rows, batch.groups[:, [0, 3, 4, 3, 4]])
    facts = {
        "t2s_rows": Count(len(t2s.target)),
        "t2s_targets": Count(known.sum()),
        "t2s_agreement": portion(agree.sum(), known.sum()),
        "s2t_rows": Count(len(s2t.number)),
    }
    named = {"t2s_ce": guess.loss.detach(), "s2t_kd": back.loss.detach()}
    return LossOutput(total, out.terms | named, out.per_group + (share * added).to(out.per_group.dtype), facts)


@dataclass(frozen=True)
class _Predict:
    """Cross-entropy of a target, -1 for none; `best` int64 [N] is filled with each row's likeliest token."""

    target: Tensor
    best: Tensor

    def __call__(self, chunk: Chunk, weight: Tensor) -> Tensor:
        p, normaliser = chunk.softmax()
        target = self.target[chunk.rows, None].clamp(min=0)
        self.best[chunk.rows] = chunk.logits.argmax(dim=1)
        if chunk.gradient is not None:
            chunk.gradient.addcmul_(p, weight)
            chunk.gradient.scatter_add_(1, target, -weight)
        return normaliser[:, None] - chunk.logits.gather(1, target)


def _predictions(
    t2s: TeacherInStudent, rows: Rows, rule: DualRule, dtype: torch.dtype, chunk_rows: int | None
) -> tuple[RowSums, Tensor]:
    """The t2s cross-entropy, and the likeliest student token [N] of each projected row."""
    kernel = _Predict(t2s.target, torch.full_like(t2s.target, -1))
    known = (t2s.target >= 0).double()
    term = Term(("t2s_ce",), (1.0,), known / (rule.divisor or units.divisor("t2s targets", known.sum())), kernel)
    sums = _evaluate(t2s.hidden, t2s.head, term, dtype, chunk_rows)
    check_finite(sums, [term], _some(rows, t2s.number))
    return sums, kernel.best


def _facing(t2s: TeacherInStudent, agree: Tensor, rule: DualRule, n_rows: int) -> tuple[Tensor, Tensor]:
    """The projected row int64 [R] that each student row learns from, -1 for none, and its factor float64 [R]."""
    known = t2s.target >= 0
    may_agree = units.divisor("rows that may agree", int(known.sum()))
    agreeing = units.whole("agreeing rows", int(agree.sum())) / may_agree
    chosen = agree if agreeing <= rule.agreement else known
    number = t2s.number[chosen]
    facing = torch.full((n_rows,), -1, device=number.device)
    facing[number] = torch.arange(len(agree), device=number.device)[chosen]
    divisor = rule.divisor or units.divisor("t2s rows", len(number) if rule.mean_over_agreeing else len(agree))
    return facing, (facing >= 0).double() / divisor


def _answers(
    s2t: StudentInTeacher, teacher: Tensor, rule: DualRule, dtype: torch.dtype, chunk_rows: int | None
) -> RowSums:
    """The s2t divergence from the teacher's own rows."""
    flat = s2t.rows.flat[s2t.number]
    kernel = FacingRows(rule.s2t, teacher, flat, (rule.temperature, rule.temperature), teacher.shape[-1])
    norm = torch.ones(len(flat), dtype=torch.float64, device=flat.device) / (
        rule.divisor or units.divisor("s2t rows", len(flat))
    )
    term = Term(("s2t_kd",), (1.0,), norm, kernel)
    sums = _evaluate(s2t.hidden, s2t.head, term, dtype, chunk_rows)
    check_finite(sums, [term], _some(s2t.rows, s2t.number))
    return sums


def _evaluate(hidden: Tensor, head: Tensor, term: Term, dtype: torch.dtype, chunk_rows: int | None) -> RowSums:
    rows = torch.arange(len(hidden), device=hidden.device)
    sums = evaluate(HeadLogits(hidden, head.detach()), rows, [term], dtype, chunk_rows)
    used = (term.norm != 0)[:, None]
    return replace(sums, values=[torch.where(used, sums.values[0], 0.0)])


def _some(rows: Rows, number: Tensor) -> Rows:
    return replace(
        rows, sample=rows.sample[number], position=rows.position[number], target=rows.target[number],
        flat=rows.flat[number],
    )  # fmt: skip


def _value(sums: RowSums, number: Tensor, n_rows: int) -> Tensor:
    """float64 [n_rows]: the values at their rows."""
    out = torch.zeros(n_rows, dtype=torch.float64, device=number.device)
    return out.index_add_(0, number, sums.values[0][:, 0].double())
