"""Divergences between two distributions over one vocabulary, row by row.

All are true divergences: never below 0, and 0 for equal rows only. No temperature squared anywhere; a caller that wants
the factor multiplies. Sources: Agarwal et al. 2024 (arXiv 2306.13649) for the generalised JSD, with beta the weight of
the teacher in the mixture; Ko et al. 2024 (arXiv 2402.03898) for the skewed KLs; Wu et al. 2024 (arXiv 2404.02657) for
the adaptive KL; Wen et al. 2023 (arXiv 2307.15190) for the total variation distance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ctkd_core.errors import LossInputError, unknown
from ctkd_core.losses.engine.deferred import DeferredChunk, RowView, readable
from ctkd_core.losses.engine.engine import Chunk, Plan, Term, compute_dtype, softmax
from ctkd_core.losses.engine.fused import HeadLogits

LOWEST = -1e30  # stands for minus infinity where 0 * infinity would be NaN
TAIL_MASS = 0.5  # of the teacher's probability that counts as tail; public code of Wu et al. 2024
HEAD_FIRST_GUESS = 64  # largest entries looked at first: the head of a language model's row is nearly always shorter

# (log p, log q, p, q, weight), each [c, V], p the student's -> value [c] and p * d value / d p [c, V], up to a multiple
# of p (it cancels in the soft-max). May overwrite its inputs except p.
RowDivergence = Callable[[Tensor, Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]


def divergence(
    kind: str,
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 1.0,
    teacher_temperature: float | None = None,
    beta: float = 0.5,
    skew: float = 0.1,
    tail_mass: float = TAIL_MASS,
    chunk_rows: int | None = None,
) -> Tensor:
    """Divergence of each row, [R], differentiable in the student's logits; nats, but for "tvd" (0 to 1).

    kind  "forward_kl" KL(teacher || student) | "reverse_kl" KL(student || teacher) | "jsd": beta KL(T || M) +
          (1 - beta) KL(S || M) with M = beta T + (1 - beta) S; beta 0 and 1 are the forward and the reverse KL |
          "skewed_forward_kl" KL(T || skew T + (1 - skew) S) | "skewed_reverse_kl" KL(S || (1 - skew) T + skew S) |
          "tvd" half of sum |T - S| | "adaptive_kl" w KL(T || S) + (1 - w) KL(S || T), where w is the share of
          sum |T - S| that lies in the head of T: the entries left when the smallest, up to `tail_mass`, are taken
          away. w is a constant of the step: it gets no gradient
    student_logits, teacher_logits  [R, V], any float dtype; the teacher gets no gradient

    A row where the one side has probability and the other none at all is infinite for the KLs.
    Raises LossInputError for unknown kinds, shapes that differ, or a weight outside [0, 1].
    """
    rule = divergence_rule(kind, beta, skew, tail_mass)
    if student_logits.ndim != 2 or student_logits.shape != teacher_logits.shape:
        raise LossInputError(
            "a divergence compares rows over one vocabulary, both [rows, vocabulary]; got "
            f"{list(student_logits.shape)} and {list(teacher_logits.shape)}."
        )
    facing = torch.arange(len(student_logits), device=student_logits.device)
    temperatures = (temperature, teacher_temperature or temperature)
    kernel = FacingRows(rule, teacher_logits.detach(), facing, temperatures, student_logits.shape[1])
    return _PerRow.apply(student_logits, kernel, compute_dtype(student_logits, teacher_logits), chunk_rows)


@dataclass(frozen=True)
class DivergenceRule:
    """One divergence with its number (beta, skew or tail mass)."""

    divergence: RowDivergence
    weight: float
    kind: str


def divergence_rule(kind: str, beta: float = 0.5, skew: float = 0.1, tail_mass: float = TAIL_MASS) -> DivergenceRule:
    """The divergence `kind` (see `divergence`); raises LossInputError for unknown ones and weights outside [0, 1]."""
    if kind not in KINDS:
        raise unknown("divergence", kind, KINDS, LossInputError)
    for name, weight in (("beta", beta), ("skew", skew), ("tail_mass", tail_mass)):
        if not 0.0 <= weight <= 1.0:
            raise LossInputError(f"{name} must lie between 0 and 1; got {weight}.")
    if kind == "jsd" and beta in (0.0, 1.0):
        kind = "forward_kl" if beta == 0.0 else "reverse_kl"
    return DivergenceRule(KINDS[kind], {"jsd": beta, "adaptive_kl": tail_mass}.get(kind, skew), kind)


def _forward_kl(log_p: Tensor, log_q: Tensor, _p: Tensor, q: Tensor, _: float) -> tuple[Tensor, Tensor]:
    value = log_q.sub_(log_p).mul_(q).sum(dim=1)
    return value, q.neg_()


def _reverse_kl(log_p: Tensor, log_q: Tensor, p: Tensor, _q: Tensor, _: float) -> tuple[Tensor, Tensor]:
    slope = log_p.sub_(log_q).mul_(p)
    return slope.sum(dim=1), slope


def _jsd(log_p: Tensor, log_q: Tensor, p: Tensor, q: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    log_m = _log_mixture(log_q, log_p, beta)
    towards_teacher = log_q.sub_(log_m).mul_(q).sum(dim=1)
    slope = log_p.sub_(log_m).mul_(p).mul_(1.0 - beta)
    return beta * towards_teacher + slope.sum(dim=1), slope


def _skewed_forward_kl(log_p: Tensor, log_q: Tensor, _p: Tensor, q: Tensor, skew: float) -> tuple[Tensor, Tensor]:
    log_m = _log_mixture(log_q, log_p, skew)
    value = log_q.sub_(log_m).mul_(q).sum(dim=1)
    return value, log_p.sub_(log_m).exp_().mul_(q).mul_(skew - 1.0)


def _skewed_reverse_kl(log_p: Tensor, log_q: Tensor, p: Tensor, _q: Tensor, skew: float) -> tuple[Tensor, Tensor]:
    ratio = log_p.sub_(_log_mixture(log_p, log_q, skew))
    value = (ratio * p).sum(dim=1)
    return value, ratio.sub_(ratio.exp(), alpha=skew).mul_(p)


def _tvd(_log_p: Tensor, _log_q: Tensor, p: Tensor, q: Tensor, _: float) -> tuple[Tensor, Tensor]:
    gap = torch.sub(p, q, out=q)
    value = 0.5 * gap.abs().sum(dim=1)
    return value, gap.sign_().mul_(p).mul_(0.5)


def _adaptive_kl(log_p: Tensor, log_q: Tensor, p: Tensor, q: Tensor, tail_mass: float) -> tuple[Tensor, Tensor]:
    gap = (p - q).abs_()
    total = gap.sum(dim=1)
    head = _head_sum(gap, q, tail_mass)
    floor = torch.finfo(p.dtype).tiny  # equal rows: both divergences are 0, whatever their weights
    w_head = (head / total.clamp(min=floor))[:, None]
    w_tail = ((total - head).clamp(min=0.0) / total.clamp(min=floor))[:, None]
    ratio = log_p.sub_(log_q)
    forward = -torch.mul(ratio, q, out=gap).sum(dim=1)
    slope = ratio.mul_(p)
    value = w_head[:, 0] * forward + w_tail[:, 0] * slope.sum(dim=1)
    return value, slope.mul_(w_tail).addcmul_(q, -w_head)


def _head_sum(gap: Tensor, q: Tensor, tail_mass: float) -> Tensor:
    """[c]: sum of `gap` where the entries of q that are larger hold less than 1 - tail_mass; both [c, V].

    With q sorted ascending these are the entries behind the last cumulative sum of at most `tail_mass`.
    """
    if tail_mass == 0.0:  # sums of the larger entries round to 1 where the rest is small
        return torch.where(q > 0, gap, 0.0).sum(dim=1)
    width, k = q.shape[1], min(HEAD_FIRST_GUESS, q.shape[1])
    while True:
        top, index = q.topk(k, dim=1)
        head = top.cumsum(dim=1) - top < 1.0 - tail_mass
        if k == width or not bool(head[:, -1].any()):
            return torch.where(head, gap.gather(1, index), 0.0).sum(dim=1)
        k = min(width, 16 * k)


def _log_mixture(log_first: Tensor, log_second: Tensor, share: float) -> Tensor:
    """log(share * first + (1 - share) * second)."""
    if share in (0.0, 1.0):
        return (log_first if share else log_second).clone()
    return torch.logaddexp(log_first + math.log(share), log_second + math.log1p(-share))


KINDS: dict[str, RowDivergence] = {
    "forward_kl": _forward_kl,
    "reverse_kl": _reverse_kl,
    "jsd": _jsd,
    "skewed_forward_kl": _skewed_forward_kl,
    "skewed_reverse_kl": _skewed_reverse_kl,
    "adaptive_kl": _adaptive_kl,
    "tvd": _tvd,
}


@dataclass(frozen=True)
class FacingRows:
    """One divergence as an engine kernel: each student row against the teacher's row that faces it.

    teacher       [..., Vt] logits without gradient
    facing        int64 [R] flat row of the teacher, -1 for rows that face nothing (value 0)
    temperatures  of student and teacher
    width         columns that are compared, the first ones of both sides; the soft-max runs over them alone
    top_k         compare only the teacher's largest k of these, both sides scaled to sum to 1 there; 0: all
    tail          filled while it runs: the teacher's probability [c] outside these columns
    """

    rule: DivergenceRule
    teacher: Tensor | HeadLogits
    facing: Tensor
    temperatures: tuple[float, float]
    width: int
    top_k: int = 0
    tail: list[Tensor] = field(default_factory=list)

    def __call__(self, chunk: Chunk, weight: Tensor) -> Tensor:
        """Value [c, 1] of each row; adds weight * d value / d logits to the chunk's gradient."""
        facing = self.facing[chunk.rows]
        if isinstance(chunk, DeferredChunk) and self.scratch == 0:
            return self._in_place(chunk, facing, weight)
        local = (facing >= 0).nonzero().squeeze(1)
        values = torch.zeros(len(chunk), dtype=chunk.logits.dtype, device=facing.device)
        if not len(local):
            return values[:, None]
        whole = len(local) == len(chunk)
        z_t = chunk.buffers.gather("teacher", self.teacher, facing[local])[:, : self.width]
        z_s = (chunk.logits if whole else chunk.logits.index_select(0, local))[:, : self.width]
        columns = None
        if 0 < self.top_k < self.width:
            everything = z_t.div(self.temperatures[1]).logsumexp(dim=1)
            z_t, columns = z_t.topk(self.top_k, dim=1)
            self.tail.append(1.0 - (z_t.div(self.temperatures[1]).logsumexp(dim=1) - everything).exp())
            z_s = z_s.gather(1, columns)
        shared = whole and z_s.shape == chunk.logits.shape
        p, p_norm = (
            chunk.softmax(self.temperatures[0])
            if shared
            else softmax(z_s, self.temperatures[0], chunk.buffers, "student softmax")
        )
        value, slope = self._compare(z_s, z_t, p, p_norm, chunk)
        values[local] = torch.where(value > -LOWEST * 1e-9, torch.inf, value)
        if chunk.gradient is not None:
            factor = weight[local] / self.temperatures[0]
            _spread(chunk.gradient[:, : self.width], slope, p, factor, None if whole else local, columns)
        return values[:, None]

    @property
    def scratch(self) -> int | None:
        """0 where kernels read both sides' logits in their place, else None (`Term.scratch`)."""
        return 0 if self.rule.kind != "adaptive_kl" and not self.top_k and readable(self.teacher) else None

    def _in_place(self, chunk: DeferredChunk, facing: Tensor, weight: Tensor) -> Tensor:
        """As `__call__`, without a copy of a row."""
        from ctkd_core.losses.kernels.gpu.facing import one_pass, sums
        from ctkd_core.losses.kernels.gpu.statistics import normalisers
        from ctkd_core.losses.kernels.gpu.writer import FacingPart

        local = (facing >= 0).nonzero().squeeze(1)
        faced = RowView(self.teacher).at(facing)  # type: ignore[arg-type]
        student, teacher = chunk.source.chosen(local), faced.chosen(local)
        kind, width = self.rule.kind, self.width
        whole = torch.zeros(5, len(chunk), dtype=torch.float32, device=facing.device)
        if kind in ("forward_kl", "reverse_kl"):
            found = one_pass(student, teacher, (width, chunk.view.width), self.temperatures, kind)
            for row, values in zip(whole, found):
                row[local] = values
            if len(local) == len(chunk):
                chunk.know(1.0, whole[1])
        else:
            norms = (
                normalisers(student, width, self.temperatures[0])[0],
                normalisers(teacher, width, self.temperatures[1])[0],
            )
            found = (norms[0], norms[0], norms[1], *sums(
                student, teacher, norms, width, self.temperatures, kind, self.rule.weight
            ))  # fmt: skip
            for row, values in zip(whole, found):
                row[local] = values
        norm_s, _, norm_t, value, total = whole
        if chunk.learns and len(local):
            factor = weight[:, 0] / self.temperatures[0]
            chunk.add_part("facing", FacingPart(
                faced, norm_s, norm_t, total, factor, width, self.temperatures, kind, self.rule.weight
            ))  # fmt: skip
        return torch.where(value > -LOWEST * 1e-9, torch.inf, value)[:, None]

    def _compare(self, z_s: Tensor, z_t: Tensor, p: Tensor, p_norm: Tensor, chunk: Chunk) -> tuple[Tensor, Tensor]:
        """Value [c] and slope [c, m] of rows [c, m]; z_t may be overwritten."""
        q, q_norm = softmax(z_t, self.temperatures[1], chunk.buffers, "teacher softmax")
        log_p = torch.mul(z_s, 1.0 / self.temperatures[0], out=chunk.buffers.take("log student", *p.shape))
        log_p.sub_(p_norm[:, None]).clamp_(min=LOWEST)
        log_q = z_t.div_(self.temperatures[1]).sub_(q_norm[:, None]).clamp_(min=LOWEST)
        return self.rule.divergence(log_p, log_q, p, q, self.rule.weight)


def _spread(
    gradient: Tensor, slope: Tensor, p: Tensor, factor: Tensor, rows: Tensor | None, columns: Tensor | None
) -> None:
    """Add factor * (slope - p * sum(slope)) to gradient [c, n], at these rows (all) and columns (all)."""
    total = slope.sum(dim=1, keepdim=True)
    if rows is None and columns is None:
        gradient.addcmul_(slope, factor).addcmul_(p, -factor * total)
        return
    step = slope.addcmul_(p, -total).mul_(factor)
    if rows is None:
        gradient.scatter_add_(1, columns, step)  # type: ignore[arg-type]
    elif columns is None:
        gradient.index_add_(0, rows, step)
    else:
        gradient.index_put_((rows[:, None], columns), step, accumulate=True)


class _PerRow(torch.autograd.Function):
    """Values of every row; their gradient is kept per row and scaled by what arrives in backward."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, kernel: FacingRows, dtype: torch.dtype, chunk_rows: int | None) -> Tensor:
        norm = torch.ones(len(logits), dtype=torch.float64, device=logits.device)
        rows = torch.arange(len(logits), device=logits.device)
        term = Term(("divergence",), (1.0,), norm, kernel, scratch=kernel.scratch)
        ctx.plan = Plan(rows, [term], dtype, chunk_rows, ctx.needs_input_grad[0])
        ctx.save_for_backward(logits)
        _, (values,), ctx.gradients = ctx.plan.run(logits)
        return values[:, 0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        gradients, ctx.gradients = ctx.gradients, None
        (gradient,) = gradients if gradients is not None else ctx.plan.run(*ctx.saved_tensors)[2]
        return gradient.mul_(grad_output[:, None].to(gradient.dtype)), None, None, None
