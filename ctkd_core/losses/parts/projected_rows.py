"""P-KL of groups on a deferred chunk: kernels read the logits where they lie and leave the gradient to its writing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ctkd_core.losses.engine.deferred import DeferredChunk, RowView
from ctkd_core.losses.parts.columns import ColumnEntries
from ctkd_core.losses.parts.group_rows import GroupsInChunk


@dataclass(frozen=True)
class BothOrders:
    """The entries of chosen columns by column and by student id, for kernels: edges int32, ids int32, float32 weights.

    by_column   edges [k + 1], student ids [e], weights [e]
    by_student  edges [Vs + 1], columns [e], weights [e]
    """

    by_column: tuple[Tensor, Tensor, Tensor]
    by_student: tuple[Tensor, Tensor, Tensor]


def both_orders(chosen: ColumnEntries, student_width: int) -> BothOrders:
    """`chosen` sorted both ways, for logits `student_width` wide."""
    pairs = []
    for key, other, size in (
        (chosen.column, chosen.student, chosen.width),
        (chosen.student, chosen.column, student_width),
    ):
        order = key.argsort(stable=True)
        edges = torch.nn.functional.pad(torch.bincount(key, minlength=size).cumsum(0), (1, 0))
        pairs.append((edges.int(), other[order].int(), chosen.weight[order].float()))
    return BothOrders(*pairs)


def scratch_bytes(columns: int) -> int:
    """Bytes a row that `groups_in_place` keeps: masses, teacher's logits, what goes back."""
    return 12 * columns + 64


@dataclass(frozen=True)
class ProjectedSums:
    """Of g groups: `value`, projected `mass`, whether the first choices `agree`, float32 [g]."""

    value: Tensor
    mass: Tensor
    agree: Tensor


def groups_in_place(
    chunk: DeferredChunk, inside: GroupsInChunk, teacher: Tensor, columns: Tensor, entries: BothOrders,
    temperature: float, weight: Tensor, reverse: bool,
) -> ProjectedSums:  # fmt: skip
    """What `xtoken._Kernel` computes of the groups of a chunk; weight [g] of each in the loss.

    teacher [B, Tt, V]; columns int64 [k]. The twin is `xtoken._Kernel` on float32 copies.
    """
    from ctkd_core.losses.kernels.gpu.projected import dots, groups, masses
    from ctkd_core.losses.kernels.gpu.statistics import gathered
    from ctkd_core.losses.kernels.gpu.writer import MappedPart

    norm = chunk.normaliser(temperature)
    local = inside.local
    mass = masses(chunk.source.chosen(local), norm[local], entries.by_column, temperature)
    logits = gathered(RowView(teacher).at(inside.teacher), columns, temperature)
    sides = [(count.cumsum(0) - count, count) for count in (inside.count, inside.teacher_count)]
    # What goes back is kept until the scale of the loss is known: in bfloat16 where the gradient is (float16 is too
    # narrow for quotients of small probabilities).
    kept = torch.bfloat16 if chunk.view.line.dtype == torch.bfloat16 else torch.float32
    value, total, agree, pushed = groups(
        mass, sides[0], logits, sides[1], temperature, weight if chunk.learns else None, reverse, kept
    )
    if chunk.learns:
        group = torch.full((len(chunk),), -1, dtype=torch.int64, device=local.device)
        group[local] = inside.segment
        chunk.add_softmax(-dots(mass, pushed, inside.segment), temperature, local)
        chunk.add_part("mapped", MappedPart(*entries.by_student, pushed, group, norm, temperature))
    return ProjectedSums(value, total, agree)
