"""Columns of two vocabularies that stand for one token, and the rest of both: GOLD and H-KL without a copy of a row.

A group's log-probability of a column is the mean over its rows of logits / temperature minus their log-sum-exp, plus
the logarithm of the group's factor (GOLD's merge; 0 for H-KL).
"""

# mypy: ignore-errors
from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from ctkd_core.losses.kernels import buckets
from ctkd_core.losses.kernels.gpu import ranks
from ctkd_core.losses.kernels.gpu.facing import LOWEST, at_least
from ctkd_core.losses.kernels.rows import RowsAt

BLOCK = 1024
FLOOR = tl.constexpr(1e-8)  # as in `parts/unnormalised.py`
FORWARD, REVERSE, RAW_FORWARD, RAW_REVERSE, RAW_JSD = (tl.constexpr(k) for k in range(1, 6))
NUMBERS = {"forward": 1, "reverse": 2, "raw_forward": 3, "raw_reverse": 4, "raw_jsd": 5}


@triton.jit
def mean_log(line, offset, norm, first, count, log_factor, columns, inside, scale):
    """Log-probability of a group at columns [BLOCK], LOWEST for that of nothing; 0 outside `inside`."""
    total = tl.zeros_like(columns).to(tl.float32)
    for k in range(count):
        z = tl.load(line + tl.load(offset + first + k) + columns, mask=inside, other=0.0).to(tl.float32)
        total += z * scale - tl.load(norm + first + k)
    return tl.where(inside, at_least(total / count + log_factor, LOWEST), 0.0)


@triton.jit
def pair(KIND: tl.constexpr, log_p, log_q, number):
    """Value of a pair of columns, and d value / d log p."""
    if KIND == FORWARD:
        q = tl.exp(log_q)
        value = q * (log_q - log_p)
        slope = -q
    elif KIND == REVERSE:
        p = tl.exp(log_p)
        value = p * (log_p - log_q)
        slope = value + p
    else:
        raw = tl.exp(log_p)
        p, q = at_least(raw, FLOOR), at_least(tl.exp(log_q), FLOOR)
        lp, lq = tl.log(p), tl.log(q)
        if KIND == RAW_FORWARD:
            value = q * (lq - lp)
            slope = -q
        elif KIND == RAW_REVERSE:
            value = p * (lp - lq)
            slope = value + p
        else:
            lm = tl.log(p + number * (q - p))
            slope = (1.0 - number) * p * (lp - lm)
            value = number * q * (lq - lm) + slope
        slope = tl.where(raw <= FLOOR, 0.0, slope)
    return value, slope


@triton.jit
def _pairs(
    s_line, s_offset, s_norm, s_first, s_count, s_factor, t_line, t_offset, t_norm, t_first, t_count, t_factor,
    student, teacher, found, width, n_groups, scale_s, scale_t, number, KIND: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    group = tl.program_id(0).to(tl.int64)
    sf, sc, s_log = tl.load(s_first + group), tl.load(s_count + group), tl.load(s_factor + group)
    tf, tc, t_log = tl.load(t_first + group), tl.load(t_count + group), tl.load(t_factor + group)
    value, slope, mass_s, mass_t = 0.0, 0.0, 0.0, 0.0
    best_s, best_t = -float("inf"), -float("inf")
    at_s, at_t = -1, -1
    for begin in range(0, width, BLOCK):
        place = begin + tl.arange(0, BLOCK)
        inside = place < width
        own = tl.load(student + place, mask=inside, other=0)
        other = tl.load(teacher + place, mask=inside, other=0)
        log_p = mean_log(s_line, s_offset, s_norm, sf, sc, s_log, own, inside, scale_s)
        log_q = mean_log(t_line, t_offset, t_norm, tf, tc, t_log, other, inside, scale_t)
        here, step = pair(KIND, log_p, log_q, number)
        value += tl.sum(tl.where(inside, here, 0.0), 0)
        slope += tl.sum(tl.where(inside, step, 0.0), 0)
        mass_s += tl.sum(tl.where(inside, tl.exp(log_p), 0.0), 0)
        mass_t += tl.sum(tl.where(inside, tl.exp(log_q), 0.0), 0)
        high_s = tl.max(tl.where(inside, log_p, -float("inf")), 0)
        high_t = tl.max(tl.where(inside, log_q, -float("inf")), 0)
        first_s = tl.min(tl.where(inside & (log_p == high_s), place, width), 0)
        first_t = tl.min(tl.where(inside & (log_q == high_t), place, width), 0)
        at_s = tl.where(high_s > best_s, first_s, at_s)
        at_t = tl.where(high_t > best_t, first_t, at_t)
        best_s, best_t = tl.maximum(best_s, high_s), tl.maximum(best_t, high_t)
    tl.store(found + group, value)
    tl.store(found + n_groups + group, slope)
    tl.store(found + 2 * n_groups + group, mass_s)
    tl.store(found + 3 * n_groups + group, mass_t)
    tl.store(found + 4 * n_groups + group, (at_s == at_t).to(tl.float32))


@triton.jit
def _rest(
    line, offset, norm, first, count, factor, columns, out, masses, counts, width, scale, SOME: tl.constexpr,
    COUNTS: tl.constexpr, SPAN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    group = tl.program_id(0).to(tl.int64)
    place = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = place < width
    at = place
    if SOME:
        at = tl.load(columns + place, mask=inside, other=0)
    log_p = mean_log(
        line, offset, norm, tl.load(first + group), tl.load(count + group), tl.load(factor + group), at, inside, scale
    )
    p = tl.where(inside, tl.exp(log_p), 0.0)
    tl.store(out + group * width + place, p, mask=inside)
    tl.store(masses + group * tl.num_programs(1) + tl.program_id(1), tl.sum(p, 0))
    if COUNTS:
        tl.atomic_add(counts + group * SPAN + ranks.bucket_of(ranks.bits_of(p)), 1, mask=inside, sem="relaxed")


@triton.jit
def _gaps(p, order, q, values, inner, signs, width_p, width_q, width, n, LEARNS: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    total, sums = 0.0, 0.0
    for begin in range(0, width, BLOCK):
        place = begin + tl.arange(0, BLOCK)
        own, other = place < width_p, place < width_q
        a = tl.load(p + row * width_p + place, mask=own, other=0.0)
        b = tl.load(q + row * width_q + place, mask=other, other=0.0)
        gap = a - b
        total += tl.sum(tl.abs(gap), 0)
        if LEARNS:
            sign = tl.where(gap > 0.0, 1.0, tl.where(gap < 0.0, -1.0, 0.0))
            sums += tl.sum(sign * a, 0)
            at = tl.load(order + row * width_p + place, mask=own, other=0)
            tl.store(signs + row * n + at, sign.to(tl.int8), mask=own)
    tl.store(values + row, total)
    if LEARNS:
        tl.store(inner + row, sums)


@dataclass(frozen=True)
class SideRows:
    """One side's g groups: rows [n], one group after another, with their log-sum-exp `norm` [n] at the temperature.

    first, count  int64 [g] number of each group's first row, and of its rows
    log_factor    float32 [g]
    """

    rows: RowsAt
    norm: Tensor
    first: Tensor
    count: Tensor
    log_factor: Tensor
    temperature: float

    @property
    def arrays(self) -> tuple[Tensor, ...]:
        """As the kernels take them."""
        return *self.rows[:2], self.norm, self.first, self.count, self.log_factor

    @property
    def scale(self) -> float:
        """One over the temperature."""
        return 1.0 / self.temperature


def pairs(student: SideRows, teacher: SideRows, ids: tuple[Tensor, Tensor], kind: str, number: float) -> Tensor:
    """float32 [5, g]: value, sum of d value / d log p, mass of student and teacher, whether their first choices agree.

    ids: int32 [M], [M] the paired columns.
    """
    g = len(student.first)
    found = torch.zeros(5, g, dtype=torch.float32, device=student.norm.device)
    if g and len(ids[0]):
        _pairs[(g,)](
            *student.arrays, *teacher.arrays, *ids, found, len(ids[0]), g, student.scale, teacher.scale, number,
            NUMBERS[kind], BLOCK,
        )  # fmt: skip
    return found


def probabilities(
    side: SideRows, columns: Tensor | None, width: int, counts: Tensor | None = None
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """float32 [g, n]: probabilities of each group at `columns` int32 [n], or at the first `width` ones; [g] their sums.

    counts: int32 [g, ranks.SPAN], to which the number of entries in each bucket is added.
    """
    g, n = len(side.first), width if columns is None else len(columns)
    found = torch.empty(g, n, dtype=torch.float32, device=side.norm.device)
    masses = torch.empty(g, triton.cdiv(n, BLOCK), dtype=torch.float32, device=side.norm.device)
    if found.numel():
        some = columns is not None
        _rest[masses.shape](
            *side.arrays, columns if some else side.first, found, masses, side.first if counts is None else counts, n,
            side.scale, some, counts is not None, ranks.SPAN, BLOCK,
        )  # fmt: skip
    return found, masses.sum(dim=1)


def rests(
    sides: tuple[SideRows, SideRows], columns: tuple[Tensor | None, Tensor | None], widths: tuple[int, int],
    learns: bool, limit: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Sorted L1 of student's and teacher's groups at columns int32 [n], [m] (None: the first of so many as `widths`).

    float32 [2, g]: both sides' mass there; [g] values, [g] sums of sign * p; signs int8 [g, n]. The shorter side is
    padded with zeros; `limit`: only the largest entries of either side count. Without `learns` the last two are empty
    or zero.
    """
    g, device = len(sides[0].first), sides[0].norm.device
    n, m = (width if ids is None else len(ids) for ids, width in zip(columns, widths))
    counts = [None, None]
    if g and n + m >= buckets.FEWEST and limit != 0:
        counts = torch.zeros(2, g, ranks.SPAN, dtype=torch.int32, device=device)
    (p, own), (q, other) = map(probabilities, sides, columns, widths, counts)
    mass = torch.stack([own, other])
    if limit == 0:
        return mass, *torch.zeros(2, g, device=device), torch.zeros(g, n, dtype=torch.int8, device=device)
    found = None
    if counts[0] is not None:
        found = ranks.counted_gaps(p, q, counts, learns, max(n, m) if limit is None else limit)
    return mass, *(found or gaps(p, q, learns, limit))


def gaps(p: Tensor, q: Tensor, learns: bool, limit: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Sorted L1 of float32 rows p [g, n], q [g, m]: values [g], sum of sign * p [g], signs int8 [g, n].

    The shorter side is padded with zeros; `limit`: only the largest entries of either side count. Without `learns` the
    last two are empty or zero.
    """
    g, n, m = len(p), p.shape[1], q.shape[1]
    k_p, k_q = min(n, limit or n), min(m, limit or m)
    p_sorted, order = p.topk(k_p, dim=1) if k_p < n else p.sort(dim=1, descending=True)
    q_sorted = (q.topk(k_q, dim=1) if k_q < m else q.sort(dim=1, descending=True)).values
    values, inner = torch.zeros(2, g, dtype=torch.float32, device=p.device)
    signs = torch.zeros(g if learns else 0, n, dtype=torch.int8, device=p.device)
    if g and max(k_p, k_q):
        _gaps[(g,)](p_sorted, order, q_sorted, values, inner, signs, k_p, k_q, max(k_p, k_q), n, learns, BLOCK)
    return values, inner, signs
