"""The teacher's merged row of each group, made ahead of the loss; and rows of which a loss merges that very row again.

Losses stay as they are: `spread_rows` puts what `merged_rows` made where the loss will look, so that its own merge
gives it back. A mean of equal rows is the row; the row that is multiplied stands alone; the factor stands in rows that
are looked up at one token. A mean of log-probabilities sums to less than 1, so it is that of two different rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from ctkd_core.errors import LossInputError
from ctkd_core.losses.base import response_rows, two_sided
from ctkd_core.losses.batch import AlignedBatch
from ctkd_core.losses.gold import usable_groups
from ctkd_core.losses.merge_rules import Rule
from ctkd_core.losses.parts.group_rows import positions, segment_mean
from ctkd_core.losses.parts.merged import MergedSide, log_factors, merged_side, token_log_probs
from ctkd_core.losses.parts.slots import last_rows, rows_after

NO_CHANCE = -1e4  # log-probability that is 0 in float32, and finite
ANY_WIDTH = 2**31  # more columns than logits have


@dataclass(frozen=True)
class TeacherMerges:
    """G groups of one side's rows, flat in [B * T], by sample and position; no row is in two of them.

    sample             int64 [G]
    row, group         int64 [n] rows whose mean logits the group has, and its number, ascending; count int64 [G]
    factor_row, factor_token, factor_group  int64 [F] rows and tokens whose probabilities are multiplied, their groups
    tokens             where log-probabilities of the first so many columns are averaged instead of logits; 0: logits
    """

    sample: Tensor
    row: Tensor
    group: Tensor
    count: Tensor
    factor_row: Tensor
    factor_token: Tensor
    factor_group: Tensor
    tokens: int = field(default=0, kw_only=True)

    def __len__(self) -> int:
        return len(self.sample)


def teacher_merges(batch: AlignedBatch, rule: Rule) -> TeacherMerges:
    """Where the merged rows of a batch come from: all groups that a loss with this rule can ask for.

    Raises LossInputError where two groups share a row: what is put there can't be the merged row of both.
    """
    found = _RULES[rule](batch)
    rows = torch.cat([found.row, found.factor_row])
    if len(rows.unique()) < len(rows):
        raise LossInputError("groups of the teacher's tokens overlap, so their merged rows can't be kept apart.")
    return found


def merged_rows(logits: Tensor, merges: TeacherMerges, temperature: float) -> tuple[Tensor, Tensor]:
    """Merged logits float32 [G, V] and the log of each group's factor float32 [G], from logits [B, T, V].

    With `merges.tokens` the logits are the mean log-probabilities themselves.
    """
    flat = logits.detach().reshape(-1, logits.shape[-1])
    rows = flat.index_select(0, merges.row).float()
    if merges.tokens:
        rows = rows.div_(temperature)
        rows[:, merges.tokens :] = -torch.inf
        rows = rows.log_softmax(dim=1).clamp_(min=NO_CHANCE)
    merged = segment_mean(rows, merges.group, merges.count, rows.new_empty(len(merges), rows.shape[1]))
    told = token_log_probs(logits.detach(), merges.factor_row, merges.factor_token, temperature, torch.float32)
    side = MergedSide(torch.zeros_like(merges.sample), merges.factor_row, merges.factor_token, merges.factor_group)
    return merged, log_factors(side, told)


def spread_rows(merged: Tensor, log_factor: Tensor, merges: TeacherMerges, temperature: float, out: Tensor) -> Tensor:
    """Write rows into out float32 [B * T, V] whose merged rows are these; other rows stay.

    merged float32 [G, V] logits, log_factor float32 [G], as `merged_rows` gives them.
    """
    if merges.tokens:
        return _spread_logs(merged, merges, temperature, out)
    out.index_copy_(0, merges.row, merged.index_select(0, merges.group))
    if not len(merges.factor_row):
        return out
    # Every factor gets an equal share: each of them was at least the floor that losses clamp to, so each share is.
    number = torch.bincount(merges.factor_group, minlength=len(merges))
    share = (log_factor.double() / number.clamp(min=1))[merges.factor_group].clamp(max=0.0)
    rest = torch.log(-torch.expm1(share)) - math.log(max(1, out.shape[1] - 1))
    out[merges.factor_row] = (rest.clamp(min=NO_CHANCE) * temperature).to(out.dtype)[:, None]
    out[merges.factor_row, merges.factor_token] = (share * temperature).to(out.dtype)
    return out


def _spread_logs(merged: Tensor, merges: TeacherMerges, temperature: float, out: Tensor) -> Tensor:
    """Write rows whose log-probabilities have the means `merged` [G, V], at this temperature.

    Of a group's rows every two have the wanted mean; an odd one left over is the wanted row scaled to sum 1, and the
    others make up for that.
    """
    best, at = merged.max(dim=1)
    rest = merged.scatter(1, at[:, None], -torch.inf).logsumexp(dim=1)
    wanted = torch.stack([best, rest]).double()  # log of the likeliest token's share, and of all others'
    whole = wanted.logsumexp(dim=0).clamp(max=0.0)
    odd = merges.count % 2 == 1
    made_up = torch.where(odd, whole / (merges.count - 1).clamp(min=1), 0.0)
    shares = torch.stack([*_two_shares(wanted + made_up), wanted - whole])  # [3, 2, G]
    place = torch.arange(len(merges.row), device=merges.row.device)
    place = place - (merges.count.cumsum(0) - merges.count)[merges.group]
    last = odd[merges.group] & (place == merges.count[merges.group] - 1)
    own = shares[torch.where(last, 2, place % 2), :, merges.group].to(merged.dtype)  # [n, 2]
    rows = merged.index_select(0, merges.group).add_((own[:, 1] - rest[merges.group])[:, None])
    rows.scatter_(1, at[merges.group, None], own[:, :1])
    return out.index_copy_(0, merges.row, rows.mul_(temperature))


def _two_shares(mean: Tensor) -> tuple[Tensor, Tensor]:
    """Log shares [2, G] (of the likeliest token, of all others) of two rows that sum to 1, from their mean [2, G].

    With s and r the likeliest token's in both, s r and (1 - s)(1 - r) are given: s and r solve a quadratic equation,
    and always can where the mean's shares sum to at most 1.
    """
    best, rest = mean
    p, q = mean.exp()
    square = -torch.expm1(mean.logsumexp(dim=0).clamp(max=0.0)) * (1 - p + q) * (1 + p - q) * (1 + p + q)
    gap = square.clamp(min=0.0).sqrt()
    s = torch.maximum(((1 + p.square() - q.square() + gap) / 2).log(), best)
    not_r = torch.maximum(((1 - p.square() + q.square() + gap) / 2).log(), rest)
    return torch.stack([s, 2 * rest - not_r]), torch.stack([2 * best - s, not_r])


def _predicting(batch: AlignedBatch) -> TeacherMerges:
    """As SeDi's migration and ULD's pairing by groups take them."""
    groups = _ordered(batch)
    groups = groups[groups[:, 4] >= 2]  # others have no row before their last token
    return _single(groups[:, 0], groups[:, 0] * batch.teacher_ids.shape[1] + groups[:, 4] - 2)


def _chained(batch: AlignedBatch, merge: str) -> TeacherMerges:
    """As GOLD takes them."""
    sample, _, _, start, end = batch.groups[usable_groups(batch, merge, with_eos=True)].T
    side = merged_side(sample, start, end, batch.teacher_ids, merge)
    return _single(sample, side.row, side.factor_row, side.factor_token, side.factor_group)


def _after(batch: AlignedBatch, last: bool) -> TeacherMerges:
    """As CDM takes them."""
    found = rows_after(response_rows(batch.student_labels), batch)
    if last:
        return _single(found.sample, found.teacher_row[last_rows(found.teacher_group, found.teacher_count)])
    none = found.sample[:0]
    return TeacherMerges(found.sample, found.teacher_row, found.teacher_group, found.teacher_count, none, none, none)


def _in_logs(batch: AlignedBatch) -> TeacherMerges:
    """As H-KL takes them."""
    groups = _ordered(batch)
    sample, position, group = positions(groups[:, 0], groups[:, 3], groups[:, 4])
    kept = position >= 1
    row, group = (sample * batch.teacher_ids.shape[1] + position - 1)[kept], group[kept]
    owner, group, count = group.unique_consecutive(return_inverse=True, return_counts=True)
    none = row[:0]
    tokens = batch.teacher.n_ids if batch.teacher is not None else ANY_WIDTH
    return TeacherMerges(groups[owner, 0], row, group, count, none, none, none, tokens=tokens)


def _ordered(batch: AlignedBatch) -> Tensor:
    groups = batch.groups[two_sided(batch.groups)]
    return groups[(groups[:, 0] * (batch.student_ids.shape[1] + 1) + groups[:, 1]).argsort(stable=True)]


def _single(sample: Tensor, row: Tensor, *factors: Tensor) -> TeacherMerges:
    """Groups of one row each."""
    places = torch.arange(len(row), device=row.device)
    return TeacherMerges(sample, row, places, torch.ones_like(row), *(factors or (row[:0],) * 3))


_RULES: Mapping[Rule, Callable[[AlignedBatch], TeacherMerges]] = {
    "predicting": _predicting,
    "bayesian": partial(_chained, merge="bayesian"),
    "observed": partial(_chained, merge="observed"),
    "mean": partial(_after, last=False),
    "last": partial(_after, last=True),
    "log_mean": _in_logs,
}
