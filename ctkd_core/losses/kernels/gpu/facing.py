"""Divergences of rows over one vocabulary: value and slope of an entry, and the pass that adds up a row.

The forward and the reverse KL need one pass over both rows, since their sums can be rescaled as the log-sum-exp grows;
the others need the log-sum-exp first.
"""

# mypy: ignore-errors
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ctkd_core.losses.kernels.rows import RowsAt

BLOCK, WARPS = 4096, 8
LOWEST = tl.constexpr(-1e30)
# Numbers of the kinds in the kernels.
FORWARD, REVERSE, JSD, SKEWED_FORWARD, SKEWED_REVERSE, TVD = (tl.constexpr(k) for k in range(1, 7))
NUMBERS = {"forward_kl": 1, "reverse_kl": 2, "jsd": 3, "skewed_forward_kl": 4, "skewed_reverse_kl": 5, "tvd": 6}


@triton.jit
def at_least(x, lowest):
    """The larger one; NaN where x is, which else a GPU leaves out: a model that is broken has to show in the loss."""
    return tl.maximum(x, lowest, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def log_mixture(log_first, log_second, share):
    """log(share * first + (1 - share) * second); share strictly between 0 and 1."""
    a, b = log_first + tl.log(share), log_second + tl.log(1.0 - share)
    high = tl.maximum(a, b)
    return high + tl.log(tl.exp(a - high) + tl.exp(b - high))


@triton.jit
def entry(KIND: tl.constexpr, log_p, log_q, p, q, number):
    """Value of an entry, and p * d value / d p up to a multiple of p; p is the student's."""
    if KIND == FORWARD:
        value = q * (log_q - log_p)
        slope = -q
    elif KIND == REVERSE:
        value = p * (log_p - log_q)
        slope = value
    elif KIND == JSD:
        log_m = log_mixture(log_q, log_p, number)
        slope = (1.0 - number) * p * (log_p - log_m)
        value = number * q * (log_q - log_m) + slope
    elif KIND == SKEWED_FORWARD:
        log_m = log_mixture(log_q, log_p, number)
        value = q * (log_q - log_m)
        slope = (number - 1.0) * q * tl.exp(log_p - log_m)
    elif KIND == SKEWED_REVERSE:
        ratio = log_p - log_mixture(log_p, log_q, number)
        value = p * ratio
        slope = p * (ratio - number * tl.exp(ratio))
    else:
        gap = p - q
        value = 0.5 * tl.abs(gap)
        slope = 0.5 * p * tl.where(gap > 0.0, 1.0, tl.where(gap < 0.0, -1.0, 0.0))
    return value, slope


@triton.jit
def _one_pass(
    s_line, s_offset, t_line, t_offset, lse_s, lse_1, lse_t, values, totals, width, whole, scale_s, scale_t,
    STEP_S: tl.constexpr, STEP_T: tl.constexpr, KIND: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    s_start = s_line + tl.multiple_of(tl.load(s_offset + row), STEP_S)
    t_start = t_line + tl.multiple_of(tl.load(t_offset + row), STEP_T)
    best_s, best_t = -float("inf"), -float("inf")
    sum_s, sum_1, sum_t, moved = 0.0, 0.0, 0.0, 0.0
    for begin in range(0, width, BLOCK):
        place = begin + tl.arange(0, BLOCK)
        inside = place < width
        z_s = tl.load(s_start + place, mask=inside, other=-float("inf")).to(tl.float32)
        z_t = tl.load(t_start + place, mask=inside, other=-float("inf")).to(tl.float32)
        high_s, high_t = tl.maximum(best_s, tl.max(z_s, 0)), tl.maximum(best_t, tl.max(z_t, 0))
        shift_s = tl.where(high_s == -float("inf"), 0.0, high_s)
        shift_t = tl.where(high_t == -float("inf"), 0.0, high_t)
        e_s, e_t = tl.exp((z_s - shift_s) * scale_s), tl.exp((z_t - shift_t) * scale_t)
        back_s, back_t = tl.exp((best_s - shift_s) * scale_s), tl.exp((best_t - shift_t) * scale_t)
        gap = tl.where(inside, at_least(z_t * scale_t, LOWEST) - at_least(z_s * scale_s, LOWEST), 0.0)
        sum_s = sum_s * back_s + tl.sum(e_s, 0)
        sum_t = sum_t * back_t + tl.sum(e_t, 0)
        sum_1 = sum_1 * tl.exp(best_s - shift_s) + tl.sum(tl.exp(z_s - shift_s), 0)
        if KIND == FORWARD:  # noqa: SIM108 - a constant of the compiler
            moved = moved * back_t + tl.sum(e_t * gap, 0)
        else:
            moved = moved * back_s - tl.sum(e_s * gap, 0)
        best_s, best_t = high_s, high_t
    best_1 = best_s
    for begin in range(
        width, whole, BLOCK
    ):  # columns that only the cross-entropy sees; the others' sums stay as they are
        place = begin + tl.arange(0, BLOCK)
        z_s = tl.load(s_start + place, mask=place < whole, other=-float("inf")).to(tl.float32)
        high_1 = tl.maximum(best_1, tl.max(z_s, 0))
        shift_1 = tl.where(high_1 == -float("inf"), 0.0, high_1)
        sum_1 = sum_1 * tl.exp(best_1 - shift_1) + tl.sum(tl.exp(z_s - shift_1), 0)
        best_1 = high_1
    log_s, log_t = best_s * scale_s + tl.log(sum_s), best_t * scale_t + tl.log(sum_t)
    if KIND == FORWARD:
        value = moved / sum_t - log_t + log_s
        total = -1.0
    else:
        value = moved / sum_s - log_s + log_t
        total = value
    tl.store(lse_s + row, log_s)
    tl.store(lse_1 + row, best_1 + tl.log(sum_1))
    tl.store(lse_t + row, log_t)
    tl.store(values + row, value)
    tl.store(totals + row, total)


@triton.jit
def _sums(
    s_line, s_offset, t_line, t_offset, lse_s, lse_t, values, totals, width, scale_s, scale_t, number,
    STEP_S: tl.constexpr, STEP_T: tl.constexpr, KIND: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    s_start = s_line + tl.multiple_of(tl.load(s_offset + row), STEP_S)
    t_start = t_line + tl.multiple_of(tl.load(t_offset + row), STEP_T)
    log_s, log_t = tl.load(lse_s + row), tl.load(lse_t + row)
    value, total = 0.0, 0.0
    for begin in range(0, width, BLOCK):
        place = begin + tl.arange(0, BLOCK)
        inside = place < width
        z_s = tl.load(s_start + place, mask=inside, other=-float("inf")).to(tl.float32)
        z_t = tl.load(t_start + place, mask=inside, other=-float("inf")).to(tl.float32)
        log_p = at_least(z_s * scale_s - log_s, LOWEST)
        log_q = at_least(z_t * scale_t - log_t, LOWEST)
        here, slope = entry(KIND, log_p, log_q, tl.exp(log_p), tl.exp(log_q), number)
        value += tl.sum(tl.where(inside, here, 0.0), 0)
        total += tl.sum(tl.where(inside, slope, 0.0), 0)
    tl.store(values + row, value)
    tl.store(totals + row, total)


def one_pass(
    student: RowsAt, teacher: RowsAt, widths: tuple[int, int],
    temperatures: tuple[float, float], kind: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """float32 [n] each: log-sum-exp of the student at its temperature and at 1, of the teacher, value, sum of slopes.

    widths: of the columns that are compared, and of all the
    student's (which the log-sum-exp at 1 is of). kind "forward_kl" or "reverse_kl".
    """
    found = torch.empty(5, len(student.offset), dtype=torch.float32, device=student.line.device)
    if len(student.offset):
        _one_pass[(len(student.offset),)](
            *student[:2], *teacher[:2], *found, *widths, 1.0 / temperatures[0], 1.0 / temperatures[1], student.step,
            teacher.step, NUMBERS[kind], BLOCK, num_warps=WARPS,
        )  # fmt: skip
    return tuple(found)


def sums(
    student: RowsAt, teacher: RowsAt, norms: tuple[Tensor, Tensor], width: int,
    temperatures: tuple[float, float], kind: str, number: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """float32 [n]: value of each row and sum of its slopes, given both log-sum-exps [n] over the first `width`."""
    found = torch.empty(2, len(student.offset), dtype=torch.float32, device=student.line.device)
    if len(student.offset):
        scales = 1.0 / temperatures[0], 1.0 / temperatures[1]
        _sums[(len(student.offset),)](
            *student[:2], *teacher[:2], *norms, *found, width, *scales, number, student.step, teacher.step,
            NUMBERS[kind], BLOCK, num_warps=WARPS,
        )  # fmt: skip
    return found[0], found[1]
