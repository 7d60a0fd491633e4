"""The gradient of the logits, written once, in their own data type: every part of it in one pass over the row.

A row's gradient is a sum of parts that a few numbers a row describe: soft-maxes of the row times a number, one column
(the data's token), a divergence from a teacher's row, what a map brings back from teacher columns, paired columns and
the signs of the rest; and whatever a term has added in a float32 tensor of its own.
"""

# mypy: ignore-errors
from __future__ import annotations

from dataclasses import dataclass, field

import torch
import triton
import triton.language as tl
from torch import Tensor

from ctkd_core.losses.kernels.gpu.facing import LOWEST, at_least, entry
from ctkd_core.losses.kernels.gpu.facing import NUMBERS as FACING_NUMBERS
from ctkd_core.losses.kernels.gpu.paired import NUMBERS as PAIRED_NUMBERS
from ctkd_core.losses.kernels.gpu.paired import SideRows, mean_log, pair
from ctkd_core.losses.kernels.rows import RowsAt

BLOCK, WARPS = 2048, 4


@triton.jit
def _write(
    line, offset, out, out_offset, width, alpha, base,
    scale_a, norm_a, coefficient_a, scale_b, norm_b, coefficient_b, target, target_value, dense,
    f_line, f_offset, f_norm_s, f_norm_t, f_total, f_weight, f_width, f_scale_s, f_scale_t, f_number,
    m_edge, m_column, m_weight, m_pushed, m_group, m_norm, m_width, m_scale,
    s_line, s_offset, s_norm, s_first, s_count, s_factor, t_line, t_offset, t_norm, t_first, t_count, t_factor,
    p_group, p_share, p_weight, p_rest_weight, p_partner, p_place, p_signs, p_rest, p_scale_s, p_scale_t, p_number,
    STEP: tl.constexpr, OUT_STEP: tl.constexpr, F_STEP: tl.constexpr,
    ONE: tl.constexpr, TWO: tl.constexpr, TARGET: tl.constexpr, DENSE: tl.constexpr, BASE: tl.constexpr,
    FACING: tl.constexpr, MAPPED: tl.constexpr, PAIRED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    place = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = place < width
    z = tl.load(line + tl.multiple_of(tl.load(offset + row), STEP) + place, mask=inside, other=-float("inf")).to(
        tl.float32
    )
    total = tl.zeros([BLOCK], dtype=tl.float32)
    if ONE:  # else there is no log-sum-exp, and 0 times the exponential of a large logit is no number
        total += tl.load(coefficient_a + row) * tl.exp(z * scale_a - tl.load(norm_a + row))
    if TWO:
        total += tl.load(coefficient_b + row) * tl.exp(z * scale_b - tl.load(norm_b + row))
    if TARGET:
        total += tl.where(place == tl.load(target + row), tl.load(target_value + row), 0.0)
    if DENSE:
        total += tl.load(dense + row * width + place, mask=inside, other=0.0)
    if FACING > 0:
        start = tl.load(f_offset + row)
        if start >= 0:
            compared = place < f_width
            z_t = tl.load(f_line + tl.multiple_of(start, F_STEP) + place, mask=compared, other=-float("inf")).to(
                tl.float32
            )
            log_p = at_least(z * f_scale_s - tl.load(f_norm_s + row), LOWEST)
            log_q = at_least(z_t * f_scale_t - tl.load(f_norm_t + row), LOWEST)
            p = tl.exp(log_p)
            _, slope = entry(FACING, log_p, log_q, p, tl.exp(log_q), f_number)
            step = tl.load(f_weight + row) * (slope - p * tl.load(f_total + row))
            total += tl.where(compared, step, 0.0)
    if MAPPED:
        group = tl.load(m_group + row).to(tl.int64)
        if group >= 0:
            first = tl.load(m_edge + place, mask=inside, other=0)
            count = tl.load(m_edge + place + 1, mask=inside, other=0) - first
            moved = tl.zeros([BLOCK], dtype=tl.float32)
            for k in range(tl.max(count, 0)):
                here = k < count
                at = tl.load(m_column + first + k, mask=here, other=0)
                w = tl.load(m_weight + first + k, mask=here, other=0.0)
                moved += w * tl.load(m_pushed + group * m_width + at, mask=here, other=0.0).to(tl.float32)
            total += tl.where(moved != 0.0, moved * tl.exp(z * m_scale - tl.load(m_norm + row)), 0.0)
    if PAIRED > 0:
        group = tl.load(p_group + row).to(tl.int64)
        if group >= 0:
            log_p = mean_log(
                s_line, s_offset, s_norm, tl.load(s_first + group), tl.load(s_count + group), tl.load(s_factor + group),
                place, inside, p_scale_s,
            )  # fmt: skip
            partner = tl.load(p_partner + place, mask=inside, other=-1)
            common = inside & (partner >= 0)
            log_q = mean_log(
                t_line, t_offset, t_norm, tl.load(t_first + group), tl.load(t_count + group), tl.load(t_factor + group),
                partner, common, p_scale_t,
            )  # fmt: skip
            _, slope = pair(PAIRED, log_p, log_q, p_number)
            alone = tl.load(p_place + place, mask=inside, other=-1)
            sign = tl.load(p_signs + group * p_rest + alone, mask=inside & (alone >= 0), other=0).to(tl.float32)
            rest = sign * tl.exp(log_p) * tl.load(p_rest_weight + group)
            step = tl.where(common, slope * tl.load(p_weight + group), tl.where(sign != 0.0, rest, 0.0))
            total += step * tl.load(p_share + row)
    total = total * alpha
    at = out + tl.multiple_of(tl.load(out_offset + row), OUT_STEP) + place
    if BASE:
        total += base * tl.load(at, mask=inside, other=0.0).to(tl.float32)
    tl.store(at, total.to(out.dtype.element_ty), mask=inside)


@dataclass(frozen=True)
class FacingPart:
    """A divergence from facing rows; tensors [c], of the whole chunk. offset -1: the row faces nothing."""

    rows: RowsAt
    norm_s: Tensor
    norm_t: Tensor
    total: Tensor
    weight: Tensor
    width: int
    temperatures: tuple[float, float]
    kind: str
    number: float

    def arguments(self, factor: float) -> tuple:
        """Of the kernel."""
        scales = 1.0 / self.temperatures[0], 1.0 / self.temperatures[1]
        tensors = *self.rows[:2], self.norm_s, self.norm_t, self.total, self.weight * factor
        return *tensors, self.width, *scales, float(self.number)


@dataclass(frozen=True)
class MappedPart:
    """What a map brings back: `edge` int32 [V + 1], `column` int32 [e], `weight` [e] by student id; pushed [g, k].

    group int64 [c]: the row's, -1 for none; norm [c] its log-sum-exp at the temperature
    """

    edge: Tensor
    column: Tensor
    weight: Tensor
    pushed: Tensor
    group: Tensor
    norm: Tensor
    temperature: float

    def arguments(self, factor: float) -> tuple:
        """Of the kernel."""
        weight = self.weight if factor == 1.0 else self.weight * factor
        tensors = self.edge, self.column, weight, self.pushed, self.group, self.norm
        return *tensors, self.pushed.shape[1], 1.0 / self.temperature


@dataclass(frozen=True)
class PairedPart:
    """Paired columns and the signs of the rest.

    group int64 [c] (-1: none), share [c] of the group's slope that the row gets; weight, rest_weight [g];
    partner int32 [V] teacher column or -1; place int32 [V] column of `signs` int8 [g, n], or -1
    """

    student: SideRows
    teacher: SideRows
    group: Tensor
    share: Tensor
    weight: Tensor
    rest_weight: Tensor
    partner: Tensor
    place: Tensor
    signs: Tensor
    kind: str
    number: float

    def arguments(self, factor: float) -> tuple:
        """Of the kernel."""
        tensors = self.group, self.share * factor, self.weight, self.rest_weight, self.partner, self.place, self.signs
        sides = *self.student.arrays, *self.teacher.arrays
        return *sides, *tensors, self.signs.shape[1], self.student.scale, self.teacher.scale, float(self.number)


@dataclass
class Parts:
    """All of one chunk's gradient that one pass writes.

    softmaxes  (temperature, log-sum-exp [c], coefficient [c]), at most two
    target     column int64 [c] and value [c]
    dense      float32 [c, V]
    """

    softmaxes: list[tuple[float, Tensor, Tensor]] = field(default_factory=list)
    target: tuple[Tensor, Tensor] | None = None
    dense: Tensor | None = None
    facing: tuple[FacingPart, float] | None = None
    mapped: tuple[MappedPart, float] | None = None
    paired: tuple[PairedPart, float] | None = None


def write(
    logits: RowsAt, out: RowsAt, width: int, parts: Parts, alpha: float = 1.0, base: float | None = None
) -> None:  # fmt: skip
    """out = alpha * parts + base * out (without `base` what was there isn't read)."""
    line, offset, step = logits
    if not len(offset):
        return
    none = torch.zeros(len(offset), dtype=torch.float32, device=line.device)
    soft = [*parts.softmaxes, *[(1.0, none, none)] * 2]
    terms = [x for temperature, norm, coefficient in soft[:2] for x in (1.0 / temperature, norm, coefficient)]
    target = parts.target or (offset, none)
    facing = parts.facing[0].arguments(parts.facing[1]) if parts.facing else (*(none,) * 6, 0, 1.0, 1.0, 0.5)
    mapped = parts.mapped[0].arguments(parts.mapped[1]) if parts.mapped else (*(none,) * 6, 0, 1.0)
    paired = parts.paired[0].arguments(parts.paired[1]) if parts.paired else (*(none,) * 19, 0, 1.0, 1.0, 0.5)
    _write[(len(offset), triton.cdiv(width, BLOCK))](
        line, offset, *out[:2], width, float(alpha), float(base or 0.0), *terms, *target,
        none if parts.dense is None else parts.dense, *facing, *mapped, *paired,
        step, out.step, parts.facing[0].rows.step if parts.facing else 1,
        len(parts.softmaxes) > 0, len(parts.softmaxes) > 1,
        parts.target is not None, parts.dense is not None, base is not None,
        FACING_NUMBERS[parts.facing[0].kind] if parts.facing else 0, parts.mapped is not None,
        PAIRED_NUMBERS[parts.paired[0].kind] if parts.paired else 0, BLOCK, num_warps=WARPS,
    )  # fmt: skip
