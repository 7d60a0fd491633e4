"""The rows that predict the tokens of each group, on both sides, as segments."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ctkd_core.losses.base import Rows, response_rows
from ctkd_core.losses.batch import IGNORE, AlignedBatch
from ctkd_core.losses.engine import units


@dataclass(frozen=True)
class GroupRows:
    """G groups that keep a row on both sides, by student position; S student rows and T teacher rows in all.

    owner               int64 [G] number of the group in `batch.groups`
    sample              int64 [G]
    student_row         int64 [S] engine rows, ascending; student_group int64 [S] their group, 0..G-1, ascending
    teacher_row         int64 [T] rows of teacher logits flattened to [B * Tt, V]; teacher_group int64 [T], ascending
    student_count, teacher_count  int64 [G] rows of each group
    at                  int64 [G] the last engine row of each group, where its value is put
    """

    owner: Tensor
    sample: Tensor
    student_row: Tensor
    student_group: Tensor
    teacher_row: Tensor
    teacher_group: Tensor
    student_count: Tensor
    teacher_count: Tensor
    at: Tensor

    def __len__(self) -> int:
        return len(self.owner)

    def cuts(self, n_rows: int) -> Tensor:
        """bool [R]: a chunk may begin anywhere but inside a group."""
        allowed = torch.ones(n_rows, dtype=torch.bool, device=self.at.device)
        inside = torch.zeros(len(self.student_row), dtype=torch.bool, device=self.at.device)
        inside[1:] = self.student_group[1:] == self.student_group[:-1]
        allowed[self.student_row[inside]] = False
        return allowed

    def owners(self, n_rows: int) -> Tensor:
        """int64 [R]: number in `batch.groups` of the group whose value a row carries, -1 for none."""
        out = torch.full((n_rows,), -1, dtype=torch.int64, device=self.at.device)
        return out.index_copy_(0, self.at, self.owner)

    def group_mean(self, n_rows: int) -> Tensor:
        """float64 [R]: factors of a mean over all groups of the batch, at the rows that carry the values."""
        out = torch.zeros(n_rows, dtype=torch.float64, device=self.at.device)
        return out.index_fill_(0, self.at, 1.0 / units.divisor("groups", len(self)))

    def within(self, span: slice) -> GroupsInChunk:
        """The groups whose rows lie in a chunk."""
        edges = torch.tensor([span.start, span.stop], device=self.at.device)
        low, high = torch.searchsorted(self.at, edges).tolist()
        bounds = torch.tensor([low, high], device=self.at.device)
        s = torch.searchsorted(self.student_group, bounds).tolist()
        t = torch.searchsorted(self.teacher_group, bounds).tolist()
        return GroupsInChunk(
            groups=slice(low, high),
            local=self.student_row[s[0] : s[1]] - span.start,
            segment=self.student_group[s[0] : s[1]] - low,
            count=self.student_count[low:high],
            at=self.at[low:high] - span.start,
            teacher=self.teacher_row[t[0] : t[1]],
            teacher_segment=self.teacher_group[t[0] : t[1]] - low,
            teacher_count=self.teacher_count[low:high],
        )


@dataclass(frozen=True)
class GroupsInChunk:
    """The g groups of one chunk: `local` rows of the chunk [s] with their `segment` 0..g-1, the same of the teacher."""

    groups: slice
    local: Tensor
    segment: Tensor
    count: Tensor
    at: Tensor
    teacher: Tensor
    teacher_segment: Tensor
    teacher_count: Tensor

    def __len__(self) -> int:
        return self.groups.stop - self.groups.start


def group_rows(rows: Rows, batch: AlignedBatch, learnt_only: bool = True) -> GroupRows:
    """Rows that predict the tokens of each group of `batch`; a group needs one such row on both sides.

    The first token of a sequence has no row. A group with another token that isn't learnt, on either side, is left out:
    a mean or a product over its rows would be made of different texts. `learnt_only` False: whatever the labels say;
    `rows` must then have a row for each of its tokens.
    """
    groups = batch.groups
    order = (groups[:, 0] * (batch.student_ids.shape[1] + 1) + groups[:, 1]).argsort(stable=True)
    sample, s0, s1, t0, t1 = groups[order].T
    s_sample, s_position, s_owner = positions(sample, s0, s1)
    numbers = rows.number[s_sample, s_position]
    t_sample, t_position, t_owner = positions(sample, t0, t1)
    s_kept, t_kept = numbers >= 0, t_position >= 1
    n = len(order)
    whole = torch.ones(n, dtype=torch.bool, device=groups.device)
    if learnt_only:
        whole[s_owner[~s_kept & (s_position >= 1)]] = False
        whole[t_owner[t_kept & (batch.teacher_labels[t_sample, t_position] == IGNORE)]] = False
    s_count = torch.bincount(s_owner[s_kept], minlength=n)
    t_count = torch.bincount(t_owner[t_kept], minlength=n)
    used = whole & (s_count > 0) & (t_count > 0)
    index = used.long().cumsum(0) - 1
    s_kept &= used[s_owner]
    t_kept &= used[t_owner]
    counts = s_count[used]
    student_row = numbers[s_kept]
    return GroupRows(
        owner=order[used],
        sample=sample[used],
        student_row=student_row,
        student_group=index[s_owner[s_kept]],
        teacher_row=(t_sample * batch.teacher_ids.shape[1] + t_position - 1)[t_kept],
        teacher_group=index[t_owner[t_kept]],
        student_count=counts,
        teacher_count=t_count[used],
        at=student_row[counts.cumsum(0) - 1] if len(counts) else student_row[:0],
    )


def rows_with_groups(batch: AlignedBatch) -> tuple[Rows, Tensor]:
    """Rows that predict learnt tokens or tokens of groups, and bool [R]: which of them predict learnt ones.

    For programs whose groups are compared whatever the labels say.
    """
    inside, _ = in_groups(batch)
    rows = response_rows(torch.where(inside, batch.student_ids, batch.student_labels))
    return rows, batch.student_labels[rows.sample, rows.position] != IGNORE


def in_groups(batch: AlignedBatch) -> tuple[Tensor, Tensor]:
    """bool [B, Ts], [B, Tt]: tokens of either side that are in a group."""
    groups, out = batch.groups, []
    for ids, first in ((batch.student_ids, 1), (batch.teacher_ids, 3)):
        width = ids.shape[1] + 1
        edges = torch.zeros(len(ids) * width, dtype=torch.int64, device=ids.device)
        one = torch.ones_like(groups[:, 0])
        edges.index_add_(0, groups[:, 0] * width + groups[:, first], one)
        edges.index_add_(0, groups[:, 0] * width + groups[:, first + 1], -one)
        out.append(edges.view(len(ids), width).cumsum(dim=1)[:, :-1] > 0)
    return out[0], out[1]


def positions(sample: Tensor, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sample, position and group of every token of the groups [start, end), int64 [n] each."""
    length = end - start
    group = torch.repeat_interleave(torch.arange(len(length), device=start.device), length)
    inside = torch.arange(len(group), device=start.device) - (length.cumsum(0) - length)[group]
    return sample[group], start[group] + inside, group


def segment_mean(values: Tensor, segment: Tensor, count: Tensor, out: Tensor) -> Tensor:
    """Mean of the rows of `values` [s, n] of each segment 0..g-1 (count int64 [g]) into out [g, n]."""
    if len(values) == len(out):  # every group has one row
        return out.copy_(values)
    return out.zero_().index_add_(0, segment, values).div_(count[:, None].to(values.dtype))
