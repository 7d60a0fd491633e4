"""A loss in plain torch: a function of a few rows (or of a few groups of rows) to values; autograd does the rest.

    def gap(rows: PlainRows) -> Tensor:
        mine = rows.student.log_softmax(dim=1).gather(1, rows.target[:, None])
        return -mine[:, 0]

    return row_loss("mine", gap, student_logits, teacher_logits, batch)

The function sees the rows of one chunk, in float32 (float64 for float64 logits), and only those that count: masks,
chunks, weights, means, values per group, reports of NaN and memory are the engine's business. Its gradient is taken
chunk by chunk inside the engine's autograd function, so that nothing of a chunk outlives it, and handed on like an
analytic one: fused heads, several teachers and terms that are scaled to each other work as with any other loss.
The fast form of the same loss writes its gradient down, see `engine.Term`; it must agree with the plain one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ctkd_core.errors import LossInputError, unknown
from ctkd_core.losses.base import (
    LossOutput,
    Rows,
    check_inputs,
    cross_entropy_term,
    finish,
    need_teacher,
    response_rows,
    uniform,
)
from ctkd_core.losses.batch import AlignedBatch
from ctkd_core.losses.engine.engine import Chunk, Term
from ctkd_core.losses.facts import Count
from ctkd_core.losses.parts.group_rows import GroupRows, group_rows
from ctkd_core.losses.parts.pairing import PAIRINGS, sample_mean

AVERAGES = ("all", "samples")


@dataclass(frozen=True)
class PlainRows:
    """n student rows of one chunk, each with the teacher's row that faces it.

    student  float [n, Vs] logits, which autograd follows
    teacher  float [n, Vt] logits without gradient; [n, 0] for a loss that asks no teacher
    target   int64 [n] the student id that the text has where the row predicts
    number   int64 [n] number of each row among `response_rows(batch.student_labels)`, to index tensors [R, ...] with
    """

    student: Tensor
    teacher: Tensor
    target: Tensor
    number: Tensor

    def __len__(self) -> int:
        return len(self.student)


@dataclass(frozen=True)
class GroupSide:
    """One side's rows of g groups, in text order; each predicts a token of its group.

    logits  float [n, V]; target int64 [n] the token that the text has there
    group   int64 [n] which group each row belongs to, 0..g-1, ascending; count int64 [g] rows of each
    """

    logits: Tensor
    target: Tensor
    group: Tensor
    count: Tensor

    def sum(self, values: Tensor) -> Tensor:
        """[g, ...]: values [n, ...] of the rows added up by group."""
        return values.new_zeros(len(self.count), *values.shape[1:]).index_add(0, self.group, values)

    def mean(self, values: Tensor) -> Tensor:
        """[g, ...]: means of values [n, ...] of the rows by group."""
        return self.sum(values) / self.count.to(values.dtype).view(-1, *[1] * (values.ndim - 1))

    def last(self, values: Tensor) -> Tensor:
        """[g, ...]: values [n, ...] at the row that predicts the last token of each group."""
        return values[self.count.cumsum(0) - 1]

    def is_last(self) -> Tensor:
        """bool [n]: whether a row predicts the last token of its group."""
        return torch.zeros_like(self.group, dtype=torch.bool).index_fill(0, self.count.cumsum(0) - 1, True)


@dataclass(frozen=True)
class PlainGroups:
    """g groups of one chunk with all their rows on both sides; number int64 [g] of each in `batch.groups`.

    The first token of a sequence has no row; a group without a row on one of the sides, or with another token that
    isn't learnt, isn't among them.
    """

    student: GroupSide
    teacher: GroupSide
    number: Tensor

    def __len__(self) -> int:
        return len(self.number)


RowFunction = Callable[[PlainRows], Tensor]
GroupFunction = Callable[[PlainGroups], Tensor]


def row_loss(
    name: str,
    function: RowFunction,
    student_logits: Tensor,
    teacher_logits: Tensor | None,
    batch: AlignedBatch,
    *,
    ce_weight: float = 0.5,
    pairing: str | None = "groups",
    terms: Mapping[str, float] | None = None,
    average: str = "all",
    state: nn.Module | None = None,
    chunk_rows: int | None = None,
) -> LossOutput:
    """ce_weight * CE + (1 - ce_weight) * sum over terms of their weight times the mean of their values.

    function  PlainRows -> values [n], or [n, k] for k terms
    pairing   "groups": the rows that predict the last token of each side of a group face each other; "positional": the
              k-th response row of either side; None: all response rows, no teacher
    terms     name and weight of each value, in order; default one, {name: 1.0}
    average   over "all" compared rows, or over those of each "samples" and then over the samples that have any
    state     a module whose parameters learn with the student, used inside `function`

    student_logits [B, Ts, Vs], teacher_logits [B, Tt, Vt]; either may be HeadLogits. Raises LossInputError (see
    `base.check_inputs`), also for values of another shape, without gradient, or whose gradient isn't finite.
    """
    teacher = None if pairing is None else need_teacher(name, teacher_logits)
    check_inputs(student_logits, teacher, batch)
    if pairing is not None and pairing not in PAIRINGS:
        raise unknown("pairing", pairing, PAIRINGS, LossInputError)
    rows = response_rows(batch.student_labels)
    facing = torch.zeros_like(rows.flat) if pairing is None else PAIRINGS[pairing](rows, batch)
    used = facing >= 0
    _check_average(average)
    norm = uniform(rows, used) if average == "all" else sample_mean(rows, used, len(batch))
    weights = {name: 1.0} if terms is None else terms
    term = row_term(
        function, rows, norm, teacher, facing, {k: w * (1.0 - ce_weight) for k, w in weights.items()}, state
    )
    ce = cross_entropy_term(rows, ce_weight)
    out = finish(student_logits, rows, [ce, term], batch, teacher_logits=teacher, chunk_rows=chunk_rows)
    return replace(out, diagnostics={"rows": Count(len(rows)), "compared_rows": Count(used.sum())})


def group_loss(
    name: str,
    function: GroupFunction,
    student_logits: Tensor,
    teacher_logits: Tensor | None,
    batch: AlignedBatch,
    *,
    ce_weight: float = 0.5,
    keep: Tensor | None = None,
    terms: Mapping[str, float] | None = None,
    average: str = "all",
    state: nn.Module | None = None,
    chunk_rows: int | None = None,
) -> LossOutput:
    """As `row_loss`, with one value (or k) for each group instead of each row.

    function  PlainGroups -> values [g], or [g, k] for k terms
    keep      bool [G] groups of `batch.groups` that count; default all
    average   over "all" groups, or over those of each "samples" and then over the samples that have any
    """
    teacher = need_teacher(name, teacher_logits)
    check_inputs(student_logits, teacher, batch)
    rows = response_rows(batch.student_labels)
    groups = kept_groups(rows, batch, keep)
    _check_average(average)
    norm = groups.group_mean(len(rows)) if average == "all" else _over_samples(groups, rows, len(batch))
    weights = {name: 1.0} if terms is None else terms
    term = group_term(
        function, rows, groups, norm, (teacher, batch), {k: w * (1.0 - ce_weight) for k, w in weights.items()}, state
    )
    ce = cross_entropy_term(rows, ce_weight)
    out = finish(
        student_logits, rows, [ce, term], batch,
        teacher_logits=teacher, chunk_rows=chunk_rows, cuts=groups.cuts(len(rows)),
    )  # fmt: skip
    return replace(out, diagnostics={"rows": Count(len(rows)), "groups": Count(len(groups))})


def kept_groups(rows: Rows, batch: AlignedBatch, keep: Tensor | None = None) -> GroupRows:
    """The rows of the groups of `batch` that `keep` bool [G] names (default all)."""
    if keep is None:
        return group_rows(rows, batch)
    if keep.shape != batch.groups.shape[:1] or keep.dtype != torch.bool:
        raise LossInputError(
            f"keep must be bool [{len(batch.groups)}], one for each group; got {keep.dtype} {list(keep.shape)}."
        )
    chosen = keep.nonzero().squeeze(1)
    groups = group_rows(rows, replace(batch, groups=batch.groups[chosen]))
    return replace(groups, owner=chosen[groups.owner])


def row_term(
    function: RowFunction,
    rows: Rows,
    norm: Tensor,
    teacher: Tensor | None,
    facing: Tensor,
    weights: Mapping[str, float],
    state: nn.Module | None = None,
) -> Term:
    """A term for `finish`, for losses that mix several: values of `function` at the rows whose `norm` isn't 0.

    norm float64 [R] factor of each row; facing int64 [R] flat teacher row, any number where norm is 0; weights: name
    and coefficient of each value.
    """
    autograd = _Autograd(tuple(weights), rows, *_parameters(state))

    def kernel(chunk: Chunk, weight: Tensor) -> Tensor:
        values = torch.zeros_like(weight)
        local = (norm[chunk.rows] != 0).nonzero().squeeze(1)
        if not len(local):
            return values
        number = local + chunk.rows.start
        theirs = chunk.logits.new_zeros(len(local), 0)
        if teacher is not None:
            theirs = chunk.buffers.gather("teacher", teacher, facing[number])
        target = rows.target[number]
        values[local] = autograd(
            lambda mine: function(PlainRows(mine, theirs, target, number)), chunk, local, weight[local]
        )
        return values

    return Term(tuple(weights), tuple(weights.values()), norm, kernel, autograd.parameters, autograd.gradients)


def group_term(
    function: GroupFunction,
    rows: Rows,
    groups: GroupRows,
    norm: Tensor,
    teacher: tuple[Tensor, AlignedBatch],
    weights: Mapping[str, float],
    state: nn.Module | None = None,
) -> Term:
    """A term for `finish`, with `cuts=groups.cuts(len(rows))`: values of `function` at `groups.at`.

    norm float64 [R] factor of each group at the row that carries its value; teacher: logits and the batch.
    """
    autograd = _Autograd(tuple(weights), rows, *_parameters(state))
    logits, ids = teacher[0], teacher[1].teacher_ids.flatten()

    def kernel(chunk: Chunk, weight: Tensor) -> Tensor:
        values = torch.zeros_like(weight)
        here = groups.within(chunk.rows)
        if not len(here):
            return values
        other = chunk.buffers.gather("teacher", logits, here.teacher)
        theirs = GroupSide(other, ids[here.teacher + 1], here.teacher_segment, here.teacher_count)
        target = rows.target[here.local + chunk.rows.start]

        def compared(mine: Tensor) -> Tensor:
            side = GroupSide(mine, target, here.segment, here.count)
            return function(PlainGroups(side, theirs, groups.owner[here.groups]))

        values[here.at] = autograd(compared, chunk, here.local, weight[here.at])
        return values

    learn = autograd.parameters, autograd.gradients
    return Term(tuple(weights), tuple(weights.values()), norm, kernel, *learn, groups.owners(len(rows)))


@dataclass(frozen=True)
class _Autograd:
    """Values of a function of some student rows; their gradient goes to the chunk and to the parameters."""

    names: tuple[str, ...]
    rows: Rows
    parameters: tuple[Tensor, ...]
    gradients: tuple[Tensor, ...]

    def __call__(self, function: Callable[[Tensor], Any], chunk: Chunk, local: Tensor, weight: Tensor) -> Tensor:
        """Values [n, k] of function(logits [m, V]) for rows `local` int64 [m] of the chunk; weight [n, k]."""
        wanted = chunk.gradient is not None
        mine = chunk.logits.index_select(0, local)  # a copy: the function may write into it
        with torch.autocast(mine.device.type, enabled=False), torch.set_grad_enabled(wanted):
            values = self._checked(function(mine.requires_grad_(wanted)), weight)
            if wanted and not values.requires_grad:
                raise LossInputError(
                    f"{self._name}: the values don't depend on the student's logits, so that nothing can be learnt; "
                    "compute them with torch from `student`, without detach() or item()."
                )
            leaves = (mine, *self.parameters)
            found = torch.autograd.grad(values, leaves, weight.to(values.dtype), allow_unused=True) if wanted else ()
        if chunk.gradient is not None:
            for total, gradient in zip(self.gradients, found[1:]):
                if gradient is not None:
                    total.add_(gradient)
            if found[0] is not None:
                self._check_gradient(found[0], values, local + chunk.rows.start)
                chunk.gradient.index_add_(0, local, found[0])
        return values.detach().to(weight.dtype)

    @property
    def _name(self) -> str:
        return "/".join(self.names)

    def _checked(self, values: Any, weight: Tensor) -> Tensor:
        n, k = weight.shape
        good = isinstance(values, Tensor) and values.dtype.is_floating_point
        if good and k == 1 and values.shape == (n,):
            return values[:, None]
        if not good or values.shape != (n, k):
            got = f"{values.dtype} {list(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
            wanted = f"[{n}]" if k == 1 else f"[{n}, {k}] ({', '.join(self.names)})"
            raise LossInputError(
                f"{self._name}: the function must return one floating-point value for each row or group, {wanted}; "
                f"got {got}. Sum over the vocabulary (dim=1), and leave means over rows to the engine."
            )
        return values

    def _check_gradient(self, gradient: Tensor, values: Tensor, number: Tensor) -> None:
        bad = ~torch.isfinite(gradient.sum(dim=1))
        # Values that aren't finite are reported with all others, by `base.check_finite`.
        if bool(bad.any()) and bool(torch.isfinite(values).all()):
            row = int(number[bad][0])
            raise LossInputError(
                f"the gradient of {self._name} isn't finite in {int(bad.sum())} rows, first in sample "
                f"{int(self.rows.sample[row])} at position {int(self.rows.position[row])}, though the values are: "
                "autograd multiplied 0 with infinity, as it does behind log(0), sqrt(0) or a torch.where whose other "
                "branch is infinite. Work with log_softmax, or clamp before the logarithm."
            )


def _parameters(state: nn.Module | None) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """What learns in `state`, and where its gradients are added up."""
    learn = (
        () if state is None or not torch.is_grad_enabled() else tuple(p for p in state.parameters() if p.requires_grad)
    )
    return learn, tuple(torch.zeros_like(p) for p in learn)


def _over_samples(groups: GroupRows, rows: Rows, n_samples: int) -> Tensor:
    """float64 [R]: factors of a mean over the groups of each sample, then over the samples that have any."""
    used = torch.zeros(len(rows), dtype=torch.bool, device=groups.at.device).index_fill_(0, groups.at, True)
    return sample_mean(rows, used, n_samples)


def _check_average(average: str) -> None:
    if average not in AVERAGES:
        raise unknown("average", average, AVERAGES, LossInputError)
