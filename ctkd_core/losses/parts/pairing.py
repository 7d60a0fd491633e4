"""Which teacher row each student row is compared with, and means that count every sample alike."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ctkd_core.losses.base import Rows, two_sided
from ctkd_core.losses.batch import IGNORE, AlignedBatch
from ctkd_core.losses.engine import units


def positional(rows: Rows, batch: AlignedBatch) -> Tensor:
    """int64 [R]: flat teacher row that faces each student row by index within the response, -1 for none."""
    index = (batch.student_labels != IGNORE).cumsum(dim=1)[rows.sample, rows.position] - 1
    position = kth_learnt(batch.teacher_labels != IGNORE, rows.sample, index)
    return torch.where(position >= 1, rows.sample * batch.teacher_labels.shape[1] + position - 1, -1)


def kth_learnt(learnt: Tensor, sample: Tensor, index: Tensor) -> Tensor:
    """int64 [n]: position of the learnt token number `index` (from 0) of each `sample`, -1 where there are fewer.

    learnt: bool [B, T], with gaps or without; sample, index int64 [n].
    """
    count = learnt.sum(dim=1)
    positions = torch.nn.functional.pad(learnt.nonzero()[:, 1], (0, 1), value=-1)
    place = (count.cumsum(0) - count)[sample] + index
    return torch.where(index < count[sample], positions[place.clamp(max=len(positions) - 1)], -1)


def by_groups(rows: Rows, batch: AlignedBatch) -> Tensor:
    """int64 [R]: for the row that predicts a group's last student token, the row of its last teacher token; else -1."""
    pair = torch.full_like(rows.flat, -1)
    sample, s_last, t_last = batch.groups[:, 0], batch.groups[:, 2] - 1, batch.groups[:, 4] - 1
    number = rows.number[sample, s_last]
    kept = (number >= 0) & (t_last >= 1) & two_sided(batch.groups)
    pair[number[kept]] = (sample * batch.teacher_ids.shape[1] + t_last - 1)[kept]
    return pair


PAIRINGS: dict[str, Callable[[Rows, AlignedBatch], Tensor]] = {"positional": positional, "groups": by_groups}


def sample_mean(rows: Rows, used: Tensor, n_samples: int) -> Tensor:
    """float64 [R]: factors of a mean over the used rows (bool [R]) of each sample, then over samples that have any."""
    counts = torch.zeros(n_samples, dtype=torch.float64, device=used.device)
    counts.index_add_(0, rows.sample, used.double())
    factor = used.double() / counts.clamp(min=1.0)[rows.sample]
    return factor / units.divisor("samples", (counts > 0).sum())
