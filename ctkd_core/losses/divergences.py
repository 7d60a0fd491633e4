"""Divergences between two distributions over one vocabulary, row by row: forward KL, reverse KL, generalised JSD.

All are true divergences: never below 0, and 0 for equal rows. No temperature squared anywhere; a caller that wants the
factor multiplies. Sources: Agarwal et al. 2024 (arXiv 2306.13649) for the generalised JSD, with beta the weight of the
teacher in the mixture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ctkd_core.errors import LossInputError, unknown
from ctkd_core.losses._engine import Chunk, Plan, Term, compute_dtype, softmax

LOWEST = -1e30  # stands for minus infinity where 0 * infinity would be NaN

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
    chunk_rows: int | None = None,
) -> Tensor:
    """Divergence of each row, [R] nats, differentiable in the student's logits.

    kind  "forward_kl" KL(teacher || student) | "reverse_kl" KL(student || teacher) | "jsd": beta KL(T || M) +
          (1 - beta) KL(S || M) with M = beta T + (1 - beta) S; beta 0 and 1 are the forward and the reverse KL |
          "skewed_forward_kl" KL(T || skew T + (1 - skew) S) | "skewed_reverse_kl" KL(S || (1 - skew) T + skew S)
    student_logits, teacher_logits  [R, V], any float dtype; the teacher gets no gradient

    A row where the one side has probability and the other none at all is infinite for the KLs.
    Raises LossInputError for unknown kinds, shapes that differ, or a weight outside [0, 1].
    """
    if kind not in KINDS:
        raise unknown("divergence", kind, KINDS, LossInputError)
    if student_logits.ndim != 2 or student_logits.shape != teacher_logits.shape:
        raise LossInputError(
            "a divergence compares rows over one vocabulary, both [rows, vocabulary]; got "
            f"{list(student_logits.shape)} and {list(teacher_logits.shape)}."
        )
    for name, weight in (("beta", beta), ("skew", skew)):
        if not 0.0 <= weight <= 1.0:
            raise LossInputError(f"{name} must lie between 0 and 1; got {weight}.")
    if kind == "jsd" and beta in (0.0, 1.0):
        kind = "forward_kl" if beta == 0.0 else "reverse_kl"
    weight = beta if kind == "jsd" else skew
    kernel = _Kernel(KINDS[kind], teacher_logits.detach(), temperature, teacher_temperature or temperature, weight)
    return _PerRow.apply(student_logits, kernel, compute_dtype(student_logits, teacher_logits), chunk_rows)


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
}


@dataclass(frozen=True)
class _Kernel:
    """One divergence as an engine kernel: student row r against teacher row r."""

    divergence: RowDivergence
    teacher: Tensor  # [R, V]
    temperature: float
    teacher_temperature: float
    weight: float

    def __call__(self, chunk: Chunk, weight: Tensor) -> Tensor:
        buffers, rows = chunk.buffers, torch.arange(chunk.rows.start, chunk.rows.stop, device=self.teacher.device)
        z = buffers.gather("teacher", self.teacher, rows)
        p, p_norm = chunk.softmax(self.temperature)
        q, q_norm = softmax(z, self.teacher_temperature, buffers, "teacher softmax")
        log_p = torch.mul(chunk.logits, 1.0 / self.temperature, out=buffers.take("log student", *p.shape))
        log_p.sub_(p_norm[:, None]).clamp_(min=LOWEST)
        log_q = z.div_(self.teacher_temperature).sub_(q_norm[:, None]).clamp_(min=LOWEST)
        value, slope = self.divergence(log_p, log_q, p, q, self.weight)
        if chunk.gradient is not None:
            factor = weight / self.temperature
            chunk.gradient.addcmul_(slope, factor).addcmul_(p, -factor * slope.sum(dim=1, keepdim=True))
        return torch.where(value > -LOWEST * 1e-9, torch.inf, value)[:, None]


class _PerRow(torch.autograd.Function):
    """Values of every row; their gradient is kept per row and scaled by what arrives in backward."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, kernel: _Kernel, dtype: torch.dtype, chunk_rows: int | None) -> Tensor:
        norm = torch.ones(len(logits), dtype=torch.float64, device=logits.device)
        rows = torch.arange(len(logits), device=logits.device)
        ctx.plan = Plan(rows, [Term(("divergence",), (1.0,), norm, kernel)], dtype, chunk_rows, ctx.needs_input_grad[0])
        ctx.save_for_backward(logits)
        _, (values,), ctx.gradients = ctx.plan.run(logits)
        return values[:, 0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        gradients, ctx.gradients = ctx.gradients, None
        (gradient,) = gradients if gradients is not None else ctx.plan.run(*ctx.saved_tensors)[2]
        return gradient.mul_(grad_output[:, None].to(gradient.dtype)), None, None, None
