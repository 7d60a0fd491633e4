"""Paired columns and the sorted rest of groups on a deferred chunk: GOLD, H-KL and ULD without a copy of a row."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ctkd_core.losses.engine.deferred import DeferredChunk, RowView
from ctkd_core.losses.kernels.rows import RowsAt
from ctkd_core.losses.parts.matched import Matched, SameObject

if TYPE_CHECKING:
    from ctkd_core.losses.kernels.gpu.paired import SideRows


@dataclass(frozen=True)
class Columns:
    """The columns of both vocabularies, int32, for kernels.

    student, teacher            [M] paired ones
    student_rest, teacher_rest  the others, None for all columns (nothing is paired)
    partner, place              [Vs]: teacher column of a paired one, number among the rest of another; else -1
    widths                      of both sides' logits
    """

    student: Tensor
    teacher: Tensor
    student_rest: Tensor | None
    teacher_rest: Tensor | None
    partner: Tensor
    place: Tensor
    widths: tuple[int, int]

    @property
    def rest(self) -> tuple[int, int]:
        """How many columns of either side are sorted."""
        sizes = zip((self.student_rest, self.teacher_rest), self.widths)
        own, other = (width if ids is None else len(ids) for ids, width in sizes)
        return own, other


def columns_of(matched: Matched | None, widths: tuple[int, int], device: torch.device) -> Columns:
    """For logits of these widths; None: no column has a partner."""
    return _columns(SameObject(matched), widths, str(device))


@lru_cache(maxsize=8)
def _columns(source: SameObject, widths: tuple[int, int], device: str) -> Columns:
    matched: Matched | None = source.value
    empty = torch.zeros(0, dtype=torch.int32, device=device)
    partner = torch.full((widths[0],), -1, dtype=torch.int32, device=device)
    place = torch.arange(widths[0], dtype=torch.int32, device=device)
    if matched is None:
        return Columns(empty, empty, None, None, partner, place, widths)
    names = ("student", "teacher", "student_rest", "teacher_rest")
    student, teacher, own, other = (getattr(matched, name).to(device).int() for name in names)
    partner[matched.student] = teacher
    place = torch.full_like(place, -1)
    place[matched.student_rest] = torch.arange(len(own), dtype=torch.int32, device=device)
    return Columns(student, teacher, own, other, partner, place, widths)


def scratch_bytes(columns: Columns) -> int:
    """Bytes a row of the rest's probabilities, sorted with their order (twice while they are sorted), and signs."""
    own, other = columns.rest
    return 28 * (own + other) + own + 64


@dataclass(frozen=True)
class Groups:
    """Groups of one side: flat `rows` int64 [n] one group after another, `count` int64 [g], `log_factor` [g] or 0."""

    rows: Tensor
    count: Tensor
    log_factor: Tensor | None = None


def student_side(chunk: DeferredChunk, groups: Groups, temperature: float) -> SideRows:
    """Rows are those of the chunk."""
    norm = chunk.normaliser(temperature)[groups.rows]
    return _side(chunk.source.chosen(groups.rows), norm, groups, temperature)


def teacher_side(logits: Tensor, groups: Groups, temperature: float) -> SideRows:
    """Rows of the flattened logits [B, T, V]."""
    from ctkd_core.losses.kernels.gpu.statistics import normalisers

    view = RowView(logits)
    rows = view.at(groups.rows)
    return _side(rows, normalisers(rows, view.width, temperature)[0], groups, temperature)


def _side(rows: RowsAt, norm: Tensor, groups: Groups, temperature: float) -> SideRows:
    from ctkd_core.losses.kernels.gpu.paired import SideRows

    count = groups.count
    factor = torch.zeros_like(count, dtype=torch.float32) if groups.log_factor is None else groups.log_factor.float()
    return SideRows(rows, norm, count.cumsum(0) - count, count, factor, temperature)


@dataclass(frozen=True)
class ColumnRule:
    """How columns are compared.

    kind    of the paired ones: "forward", "reverse", or on raw numbers "raw_forward", "raw_reverse", "raw_jsd"
    number  beta of "raw_jsd"
    limit   only the largest so many of the rest count; None: all of them
    either  whether the rest counts where only one side has any
    """

    kind: str
    number: float = 0.5
    limit: int | None = None
    either: bool = False


@dataclass(frozen=True)
class PairedSums:
    """Of g groups, float32 [g]; `total` is the sum of weight * d value / d log p over the columns.

    masses      of the paired columns, student and teacher; rests of the others; agree: first choices of the paired
    """

    paired: Tensor
    rest: Tensor
    total: Tensor
    masses: tuple[Tensor, Tensor]
    rests: tuple[Tensor, Tensor]
    agree: Tensor


def groups_in_place(
    chunk: DeferredChunk, student: SideRows, teacher: SideRows, columns: Columns, rule: ColumnRule,
    weights: tuple[Tensor, Tensor], rows: tuple[Tensor, Tensor],
) -> PairedSums:  # fmt: skip
    """Values of the groups; their gradient reaches the rows that it is written into.

    weights: [g] of the paired columns and of the rest in the loss; rows: int64 [n] of the chunk and the group of each,
    which gets an equal share of the group's gradient.
    """
    from ctkd_core.losses.kernels.gpu.paired import pairs, rests
    from ctkd_core.losses.kernels.gpu.writer import PairedPart

    value, slope, mass_s, mass_t, agree = pairs(
        student, teacher, (columns.student, columns.teacher), rule.kind, rule.number
    )
    compared = rule.either or all(columns.rest)
    mass, rest, inner, signs = rests(
        (student, teacher), (columns.student_rest, columns.teacher_rest), columns.widths, chunk.learns,
        rule.limit if compared else 0,
    )  # fmt: skip
    total = slope * weights[0] + inner * weights[1]
    if chunk.learns:
        local, group = rows
        share = torch.zeros(len(chunk), dtype=torch.float32, device=local.device)
        share[local] = 1.0 / (student.count[group] * student.temperature).float()
        of_row = torch.full((len(chunk),), -1, dtype=torch.int64, device=local.device)
        of_row[local] = group
        chunk.add_softmax(-share[local] * total[group], student.temperature, local)
        chunk.add_part("paired", PairedPart(
            student, teacher, of_row, share, weights[0].float().contiguous(), weights[1].float().contiguous(),
            columns.partner, columns.place, signs, rule.kind, rule.number,
        ))  # fmt: skip
    return PairedSums(value, rest, total, (mass_s, mass_t), (mass[0], mass[1]), agree)
