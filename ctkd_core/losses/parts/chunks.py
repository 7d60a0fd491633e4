"""Chunks of text for ALM: groups in order, joined into units, with sums over their tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ctkd_core.losses.base import two_sided
from ctkd_core.losses.batch import IGNORE, AlignedBatch
from ctkd_core.losses.parts.group_rows import positions


@dataclass(frozen=True)
class Chunks:
    """C chunks by sample and position.

    owner, sample                 int64 [C] number in batch.groups, sample
    student, teacher              int64 [C, 2] first and end position of the tokens
    student_after, teacher_after  int64 [C] flat rows that predict what follows the chunk, -1 where nothing that is
                                  learnt follows on both sides
    tokens                        int64 [C] learnt teacher tokens of the chunk that a row predicts; 0: it doesn't count
    follows                       bool [C] whether no chunk was left out between it and the one before it
    """

    owner: Tensor
    sample: Tensor
    student: Tensor
    teacher: Tensor
    student_after: Tensor
    teacher_after: Tensor
    tokens: Tensor
    follows: Tensor

    @property
    def real(self) -> Tensor:
        """bool [C]: chunks that count."""
        return self.tokens > 0

    def __len__(self) -> int:
        return len(self.owner)


def chunks_of(batch: AlignedBatch, released: bool = False) -> Chunks:
    """The groups of the batch as chunks.

    A chunk with a token that isn't learnt, or that nothing predicts, is left out: the two sides would cover different
    text. With `released` it stays, and every chunk counts in which the teacher has a learnt token that a row predicts.
    """
    groups = batch.groups
    order = (groups[:, 0] * (batch.student_ids.shape[1] + 1) + groups[:, 1]).argsort(stable=True)
    order = order[two_sided(groups)[order]]
    learnt = [labels != IGNORE for labels in (batch.student_labels, batch.teacher_labels)]
    place = torch.arange(len(order), device=order.device)
    if not released:
        whole = [
            range_sums((predicted(x)).long(), groups[:, 0], groups[:, k : k + 2]) == groups[:, k + 1] - groups[:, k]
            for x, k in zip(learnt, (1, 3))
        ]
        kept = (whole[0] & whole[1])[order]
        order, place = order[kept], place[kept]
    sample, s0, s1, t0, t1 = groups[order].T
    student, teacher = torch.stack([s0, s1], dim=1), torch.stack([t0, t1], dim=1)
    if released:
        after = [_released_last(x, sample, bounds) for x, bounds in zip(learnt, (student, teacher))]
        followed = torch.ones_like(order, dtype=torch.bool)
    else:
        after = [s1 - 1, t1 - 1]
        followed = _learnt_at(learnt[0], sample, s1) & _learnt_at(learnt[1], sample, t1)
    next_to = place[1:] == place[:-1] + 1
    if not released:  # where tokens lie between, as between turns, no chunk goes on
        next_to = next_to & (s0[1:] == s1[:-1]) & (t0[1:] == t1[:-1])
    return Chunks(
        order,
        sample,
        student,
        teacher,
        torch.where(followed, sample * batch.student_ids.shape[1] + after[0], -1),
        torch.where(followed, sample * batch.teacher_ids.shape[1] + after[1], -1),
        range_sums(predicted(learnt[1]).long(), sample, teacher),
        torch.nn.functional.pad(next_to, (min(1, len(place)), 0), value=False),
    )


def predicted(learnt: Tensor) -> Tensor:
    """bool [B, T]: learnt tokens that a row predicts; nothing predicts the first."""
    return torch.nn.functional.pad(learnt[:, 1:], (1, 0), value=False)


def _released_last(learnt: Tensor, sample: Tensor, bounds: Tensor) -> Tensor:
    """int64 [C]: the public code's last position of each chunk.

    The first learnt token of the chunk that no learnt token of it follows; 0 for a chunk without a learnt token.
    """
    at, position, owner = positions(sample, bounds[:, 0], bounds[:, 1])
    inner = position + 1 < bounds[owner, 1]
    follows = inner & learnt[at, (position + 1).clamp(max=learnt.shape[1] - 1)]
    last = learnt[at, position] & ~follows
    out = torch.full_like(sample, learnt.shape[1]).scatter_reduce_(0, owner[last], position[last], "amin")
    return torch.where(out < learnt.shape[1], out, 0)


def _learnt_at(learnt: Tensor, sample: Tensor, position: Tensor) -> Tensor:
    inside = position < learnt.shape[1]
    return inside & learnt[sample, position.clamp(max=learnt.shape[1] - 1)]


def range_sums(table: Tensor, sample: Tensor, bounds: Tensor) -> Tensor:
    """[C]: sum of table [B, T] from bounds[:, 0] to bounds[:, 1] in `sample`."""
    exact = table.double() if table.is_floating_point() else table
    total = torch.nn.functional.pad(exact.cumsum(dim=1), (1, 0))
    return (total[sample, bounds[:, 1]] - total[sample, bounds[:, 0]]).to(table.dtype)


def join(boundary: Tensor, chunks: Chunks, gamma: float) -> Tensor:
    """int64 [C]: unit of each chunk, 0..U-1.

    A chunk ends a unit when the probability exp(boundary [C]) of a new word behind it exceeds `gamma`, its sample ends,
    or the chunk behind it was left out; gamma 0 joins nothing.
    """
    sample = chunks.sample
    ends = boundary.exp() > gamma if gamma > 0.0 else torch.ones_like(sample, dtype=torch.bool)
    starts = torch.ones_like(ends)
    starts[1:] = ends[:-1] | (sample[1:] != sample[:-1]) | ~chunks.follows[1:]
    return starts.long().cumsum(0) - 1


def blocks_of(units: Tensor, chunks: Chunks, counts: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """int64 [U]: block of each unit, `size` units that follow each other in a sample without a chunk left out between.

    And int64 [N]: the unit at the end of each block, the last one that counts (bool [U]), else the last.
    """
    first = torch.ones_like(units, dtype=torch.bool)
    first[1:] = units[1:] != units[:-1]
    begins = torch.ones_like(first)
    begins[1:] = (chunks.sample[1:] != chunks.sample[:-1]) | ~chunks.follows[1:]
    begins = begins[first]
    index = torch.arange(len(begins), device=units.device)
    place = index - torch.where(begins, index, 0).cummax(0).values
    block = (place % size == 0).long().cumsum(0) - 1
    rank = torch.where(counts, index + len(index), index)
    end = torch.zeros_like(index[: int(block[-1]) + 1]).scatter_reduce_(0, block, rank, "amax")
    return block, end % len(index)


def last_of(units: Tensor, real: Tensor) -> Tensor:
    """int64 [U]: the chunk at the end of each unit: the first that counts (bool [C]) and that none such follows in it.

    The last chunk of units of which no chunk counts.
    """
    n = len(units)
    inner = torch.zeros_like(real)
    inner[:-1] = units[1:] == units[:-1]
    followed = torch.zeros_like(real)
    followed[:-1] = inner[:-1] & real[1:]
    index = torch.arange(n, device=units.device)
    out = torch.full((int(units[-1]) + 1 if n else 0,), n, device=units.device)
    ends = real & ~followed
    out.scatter_reduce_(0, units[ends], index[ends], "amin")
    out[units[~inner]] = torch.where(out[units[~inner]] < n, out[units[~inner]], index[~inner])
    return out


def released_counts(units: Tensor, tokens: Tensor, chunks: Chunks) -> Tensor:
    """int64 [n]: tokens of the units that the public code divides by.

    It joins the joined counts a second time, as if units were chunks; tokens int64 [U] of each unit.
    """
    found = []
    for b in chunks.sample.unique().tolist():
        mine = (chunks.sample == b).nonzero().squeeze(1)
        first = int(units[mine[0]])
        own, real = units[mine] - first, chunks.real[mine]
        counts = tokens[first : first + int(own[-1]) + 1] * real[: int(own[-1]) + 1]
        found.append(torch.zeros_like(counts).index_add_(0, own[: len(counts)], counts))
    return torch.cat(found) if found else tokens[:0]
