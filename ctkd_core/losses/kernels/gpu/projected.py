"""P-KL: student probabilities through a sparse map into chosen teacher columns, and the value of each group there."""

# mypy: ignore-errors
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ctkd_core.losses.kernels.gpu.facing import LOWEST, at_least
from ctkd_core.losses.kernels.rows import RowsAt

BLOCK = 512
FLOOR = tl.constexpr(1e-10)  # as in `losses/xtoken.py`


@triton.jit
def _masses(line, offset, norm, edge, student, weight, mass, width, scale, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    start = line + tl.load(offset + row)
    shift = tl.load(norm + row)
    place = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = place < width
    first = tl.load(edge + place, mask=inside, other=0)
    count = tl.load(edge + place + 1, mask=inside, other=0) - first
    total = tl.zeros([BLOCK], dtype=tl.float32)
    for k in range(tl.max(count, 0)):
        here = k < count
        at = tl.load(student + first + k, mask=here, other=0)
        z = tl.load(start + at, mask=here, other=-float("inf")).to(tl.float32)
        w = tl.load(weight + first + k, mask=here, other=0.0)
        total += tl.where(here, w * tl.exp(z * scale - shift), 0.0)
    tl.store(mass + row * width + place, total, mask=inside)


@triton.jit
def _mean(table, first, count, place, inside, width):
    total = tl.zeros_like(place).to(tl.float32)
    for k in range(count):
        total += tl.load(table + (first + k) * width + place, mask=inside, other=0.0)
    return total / count


@triton.jit
def _mean_log(table, norm, first, count, place, inside, width, scale):
    total = tl.zeros_like(place).to(tl.float32)
    for k in range(count):
        z = tl.load(table + (first + k) * width + place, mask=inside, other=0.0)
        total += z * scale - tl.load(norm + first + k)
    return total / count


@triton.jit
def _groups(
    mass, s_first, s_count, logit, norm, t_first, t_count, weight, values, masses, agree, pushed, width, scale, push,
    REVERSED: tl.constexpr, LEARNS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    group = tl.program_id(0).to(tl.int64)
    sf, sc = tl.load(s_first + group), tl.load(s_count + group)
    tf, tc = tl.load(t_first + group), tl.load(t_count + group)
    whole = 0.0
    for begin in range(0, width, BLOCK):
        place = begin + tl.arange(0, BLOCK)
        whole += tl.sum(_mean(mass, sf, sc, place, place < width, width), 0)
    total = whole + FLOOR
    value, inner = 0.0, 0.0
    best_u, best_v = -1.0, -float("inf")
    at_u, at_v = -1, -1
    for begin in range(0, width, BLOCK):
        place = begin + tl.arange(0, BLOCK)
        inside = place < width
        u = _mean(mass, sf, sc, place, inside, width) / total
        log_v = at_least(_mean_log(logit, norm, tf, tc, place, inside, width, scale), LOWEST)
        log_u = tl.log(u + FLOOR)
        if REVERSED:
            m = tl.exp(log_u)
            here = m * (log_u - log_v)
            slope = (log_u - log_v + 1.0) * m / (u + FLOOR)
        else:
            v = tl.exp(log_v)
            here = v * (log_v - log_u)
            slope = -v / (u + FLOOR)
        value += tl.sum(tl.where(inside, here, 0.0), 0)
        inner += tl.sum(tl.where(inside, slope * u, 0.0), 0)
        high_u = tl.max(tl.where(inside, u, -1.0), 0)
        high_v = tl.max(tl.where(inside, log_v, -float("inf")), 0)
        first_u = tl.min(tl.where(inside & (u == high_u), place, width), 0)
        first_v = tl.min(tl.where(inside & (log_v == high_v), place, width), 0)
        at_u = tl.where(high_u > best_u, first_u, at_u)
        at_v = tl.where(high_v > best_v, first_v, at_v)
        best_u, best_v = tl.maximum(best_u, high_u), tl.maximum(best_v, high_v)
    tl.store(values + group, value)
    tl.store(masses + group, whole)
    tl.store(agree + group, (at_u == at_v).to(tl.float32))
    if LEARNS:
        factor = tl.load(weight + group) * push / (total * sc)
        for begin in range(0, width, BLOCK):
            place = begin + tl.arange(0, BLOCK)
            inside = place < width
            u = _mean(mass, sf, sc, place, inside, width) / total
            log_v = at_least(_mean_log(logit, norm, tf, tc, place, inside, width, scale), LOWEST)
            if REVERSED:
                log_u = tl.log(u + FLOOR)
                slope = (log_u - log_v + 1.0) * tl.exp(log_u) / (u + FLOOR)
            else:
                slope = -tl.exp(log_v) / (u + FLOOR)
            tl.store(pushed + group * width + place, (slope - inner) * factor, mask=inside)


@triton.jit
def _dots(mass, pushed, group, found, width, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    other = tl.load(group + row)
    total = 0.0
    for begin in range(0, width, BLOCK):
        place = begin + tl.arange(0, BLOCK)
        inside = place < width
        m = tl.load(mass + row * width + place, mask=inside, other=0.0)
        total += tl.sum(m * tl.load(pushed + other * width + place, mask=inside, other=0.0).to(tl.float32), 0)
    tl.store(found + row, total)


def masses(rows: RowsAt, norm: Tensor, by_column: tuple[Tensor, Tensor, Tensor], temperature: float) -> Tensor:
    """float32 [n, k]: sum over the entries of each column of weight * softmax(logits / temperature)[student].

    norm [n]: log-sum-exp at the temperature; by_column: edges int32 [k + 1], students int32 [e], weights float32 [e].
    """
    line, offset, _ = rows
    width = len(by_column[0]) - 1
    found = torch.empty(len(offset), width, dtype=torch.float32, device=line.device)
    if found.numel():
        grid = (len(offset), triton.cdiv(width, BLOCK))
        _masses[grid](line, offset, norm, *by_column, found, width, 1.0 / temperature, BLOCK)
    return found


def groups(
    mass: Tensor, student: tuple[Tensor, Tensor], logits: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor],
    temperature: float, weight: Tensor | None, reverse: bool, kept: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Of g groups: value, projected mass, whether both sides' first choices agree (float32 [g]), and `pushed` [g, k].

    mass [s, k]; student, teacher: int64 [g] first row and number of rows; logits: the teacher's [t, k] with their
    log-sum-exp [t]. pushed (dtype `kept`): weight [g] * d value / d mass of one row / temperature; [0, k] without
    weight.
    """
    count, width = len(student[0]), mass.shape[1]
    found = torch.empty(3, count, dtype=torch.float32, device=mass.device)
    pushed = torch.empty(count if weight is not None else 0, width, dtype=kept, device=mass.device)
    if count:
        scale = 1.0 / temperature
        _groups[(count,)](
            mass, *student, *logits, *teacher, found if weight is None else weight, *found, pushed, width, scale, scale,
            reverse, weight is not None, BLOCK,
        )  # fmt: skip
    return found[0], found[1], found[2], pushed


def dots(mass: Tensor, pushed: Tensor, group: Tensor) -> Tensor:
    """float32 [s]: sum over columns of mass [s, k] * pushed [g, k] of the row's group int64 [s]."""
    found = torch.zeros(len(mass), dtype=torch.float32, device=mass.device)
    if mass.numel():
        _dots[(len(mass),)](mass, pushed, group, found, mass.shape[1], BLOCK)
    return found
