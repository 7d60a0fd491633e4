"""Chunks of text for ALM: groups in order, joined into units, with sums over their tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ctkd_core.losses.batch import AlignedBatch


@dataclass(frozen=True)
class Chunks:
    """C chunks by sample and position.

    owner, sample                 int64 [C] number in batch.groups, sample
    student, teacher              int64 [C, 2] first and end position of the tokens
    student_after, teacher_after  int64 [C] flat rows that predict what follows the chunk, -1 where nothing that is
                                  learnt follows on both sides
    real                          bool [C] chunks that count
    """

    owner: Tensor
    sample: Tensor
    student: Tensor
    teacher: Tensor
    student_after: Tensor
    teacher_after: Tensor
    real: Tensor

    def __len__(self) -> int:
        return len(self.owner)


def chunks_of(batch: AlignedBatch, released: bool = False) -> Chunks:
    """The groups of the batch as chunks.

    A chunk whose first token nothing predicts is left out; with `released` it stays, and every chunk counts in which
    the teacher has a learnt token that a row predicts.
    """
    groups = batch.groups
    order = (groups[:, 0] * (batch.student_ids.shape[1] + 1) + groups[:, 1]).argsort(stable=True)
    if not released:
        order = order[(groups[order, 1] >= 1) & (groups[order, 3] >= 1)]
    sample, s0, s1, t0, t1 = groups[order].T
    learnt = (batch.teacher_labels != -100).long()
    learnt[:, :1] = 0
    teacher = torch.stack([t0, t1], dim=1)
    followed = torch.ones_like(order, dtype=torch.bool)
    if not released:
        followed = _learnt_at(batch.student_labels, sample, s1) & _learnt_at(batch.teacher_labels, sample, t1)
    return Chunks(
        order,
        sample,
        torch.stack([s0, s1], dim=1),
        teacher,
        torch.where(followed, sample * batch.student_ids.shape[1] + s1 - 1, -1),
        torch.where(followed, sample * batch.teacher_ids.shape[1] + t1 - 1, -1),
        range_sums(learnt, sample, teacher) > 0 if released else torch.ones_like(order, dtype=torch.bool),
    )


def _learnt_at(labels: Tensor, sample: Tensor, position: Tensor) -> Tensor:
    inside = position < labels.shape[1]
    return inside & (labels[sample, position.clamp(max=labels.shape[1] - 1)] != -100)


def range_sums(table: Tensor, sample: Tensor, bounds: Tensor) -> Tensor:
    """[C]: sum of table [B, T] from bounds[:, 0] to bounds[:, 1] in `sample`."""
    exact = table.double() if table.is_floating_point() else table
    total = torch.nn.functional.pad(exact.cumsum(dim=1), (1, 0))
    return (total[sample, bounds[:, 1]] - total[sample, bounds[:, 0]]).to(table.dtype)


def join(boundary: Tensor, sample: Tensor, gamma: float) -> Tensor:
    """int64 [C]: unit of each chunk, 0..U-1.

    A chunk ends a unit when the probability exp(boundary [C]) of a new word behind it exceeds `gamma`, or its sample
    ends; gamma 0 joins nothing.
    """
    ends = boundary.exp() > gamma if gamma > 0.0 else torch.ones_like(sample, dtype=torch.bool)
    starts = torch.ones_like(ends)
    starts[1:] = ends[:-1] | (sample[1:] != sample[:-1])
    return starts.long().cumsum(0) - 1


def last_of(units: Tensor) -> Tensor:
    """bool [C]: the last chunk of each unit."""
    last = torch.ones_like(units, dtype=torch.bool)
    last[:-1] = units[1:] != units[:-1]
    return last


def released_count(units: Tensor, chunks: Chunks) -> int:
    """Units that the public code divides by: it joins the joined counts a second time, as if units were chunks."""
    counted = 0
    for b in chunks.sample.unique().tolist():
        mine = (chunks.sample == b).nonzero().squeeze(1)
        own = units[mine] - units[mine[0]]
        real = own[chunks.real[mine]].unique()
        counted += len(own[real].unique())
    return counted
