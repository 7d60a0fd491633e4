"""The engine of every loss: rows in chunks, analytic gradients, one autograd function.

Logits of a large vocabulary are far bigger than anything else in a training step, so no loss may build a second
full-vocabulary float32 tensor. The engine copies a few rows at a time into memory that it keeps, lets each term add
its gradient there, and writes the result once, in the data type of the student's logits. The only tensor of full
size is the gradient that autograd must return anyway. On a GPU with Triton not even the few rows are copied
(`deferred.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ctkd_core.losses.engine import units
from ctkd_core.losses.engine.chunk import Buffers, Chunk, compute_dtype, probabilities, rows_per_chunk, softmax
from ctkd_core.losses.engine.deferred import DeferredChunk, RowView, readable, rows_per_deferred_chunk
from ctkd_core.losses.engine.fused import ROWS_FACTOR, HeadGradient, HeadLogits
from ctkd_core.losses.engine.sinks import Collector, DenseGradient, SharedGradient, current_collector

__all__ = [
    "Balance",
    "Buffers",
    "Chunk",
    "Kernel",
    "Plan",
    "RowSums",
    "Term",
    "chunk_spans",
    "compute_dtype",
    "evaluate",
    "probabilities",
    "rows_per_chunk",
    "softmax",
]

Kernel = Callable[[Chunk, Tensor], Tensor]


@dataclass(frozen=True)
class Term:
    """One or more named sums over rows that a loss author writes.

    names         of the values, e.g. ("ce",)
    coefficients  of each named mean in the loss
    norm          [R] factor of each row in the means, 0 for rows that the term has nothing to say about
    kernel        (chunk, weight [c, n]) -> values [c, n]: adds weight * d value / d logits to chunk.gradient (when
                  there is one). Rows whose norm is 0 may hold anything; they are ignored.
    parameters    tensors other than the logits that learn from this term
    gradients     where the kernel adds d loss / d parameter, same shapes
    owner         int64 [R] the group that each row's value belongs to, -1 for none; default: the group of the token
                  that the row predicts
    """

    names: tuple[str, ...]
    coefficients: tuple[float, ...]
    norm: Tensor
    kernel: Kernel
    parameters: tuple[Tensor, ...] = ()
    gradients: tuple[Tensor, ...] = ()
    owner: Tensor | None = None
    scratch: int | None = None


@dataclass(frozen=True)
class Balance:
    """How the terms after the first are scaled to it, as a constant of the step: the scale gets no gradient.

    The scale is the size of the first sum over that of the others, at most `most`: what is nearly 0 would get a scale
    without limit. Where the others are negative their size says nothing, and scaling them would leave a loss of exactly
    0; their scale is 1 then, unless `negative_too` (NeMo-RL). `units`: what the first term and the others divide by
    (`engine.units`).
    """

    most: float = math.inf
    negative_too: bool = False
    units: tuple[str, str] = ("rows", "groups")

    def scale(self, first: float, others: float) -> float:
        """The scale for these sums; 1 where there is nothing to scale."""
        if not others or (others < 0 and not self.negative_too):
            return 1.0
        return min(abs(first / others), self.most)


@dataclass(frozen=True)
class RowSums:
    """What the engine returns: the loss (with gradient), values float [R, n] of each term (without)."""

    loss: Tensor
    values: list[Tensor]
    scale: float = 1.0


def chunk_spans(n_rows: int, step: int, cuts: Tensor | None = None) -> list[slice]:
    """Consecutive slices over `n_rows` rows, `step` rows each.

    cuts: bool [R], True where a chunk may begin. A chunk then ends at the last such place within `step` rows, or later
    where the rows between two such places are more than `step`.
    """
    if cuts is None:
        return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]
    places = [*cuts.nonzero().flatten().tolist(), n_rows]
    spans: list[slice] = []
    start = end = 0
    for place in places:
        if place - start > step and end > start:
            spans.append(slice(start, end))
            start = end
        end = place
    return [*spans, slice(start, n_rows)] if start < n_rows else spans


def evaluate(
    logits: Tensor | HeadLogits,
    rows: Tensor,
    terms: Sequence[Term],
    dtype: torch.dtype,
    chunk_rows: int | None = None,
    cuts: Tensor | None = None,
    balance: Balance | None = None,
) -> RowSums:
    """Sum over rows and terms of coefficient * norm * value.

    logits [..., V] any float dtype, or HeadLogits; rows int64 [R] distinct, into the flattened leading dimensions.
    cuts: bool [R], True where a chunk may begin (default: everywhere), for kernels that look at several rows at once,
    such as the rows of one group; the first row always begins a chunk.
    balance: how the terms after the first are scaled to it; `RowSums.scale` tells by how much.
    The loss is a scalar of the compute dtype, once differentiable with respect to `logits` and every parameter.
    """
    if units.nothing_computed():
        empty = [t.norm.new_zeros(len(rows), len(t.names), dtype=dtype) for t in terms]
        return RowSums(torch.zeros((), dtype=dtype, device=rows.device), empty)
    parameters = [p for term in terms for p in term.parameters]
    wanted = torch.is_grad_enabled() and (logits.requires_grad or any(p.requires_grad for p in parameters))
    plan = Plan(rows, terms, dtype, chunk_rows, wanted, cuts, balance)
    collector = current_collector()
    if collector is not None and collector.logits is logits:
        plan = replace(plan, into=collector)
        loss, *values = _RowSum.apply(plan, collector.logits.detach(), *parameters)
        collector.loss, collector.calls = loss, collector.calls + 1
    elif isinstance(logits, HeadLogits):
        loss, *values = _RowSum.apply(replace(plan, fused=True), logits.hidden, logits.head, *parameters)
    else:
        loss, *values = _RowSum.apply(plan, logits, *parameters)
    return RowSums(loss, values, plan.scale[0])


@dataclass(frozen=True)
class Plan:
    """What one evaluation needs besides the logits."""

    rows: Tensor
    terms: Sequence[Term]
    dtype: torch.dtype
    chunk_rows: int | None
    want_gradient: bool
    cuts: Tensor | None = None
    balance: Balance | None = None
    scale: list[float] = field(default_factory=lambda: [1.0])  # of the terms after the first, found by `run`
    fused: bool = False  # the inputs are hidden states and head
    into: Collector | None = None  # takes the gradient of the logits

    def run(self, *inputs: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor | None] | None]:
        """The loss, the values [R, n] of each term, and the gradients of the loss for inputs and parameters.

        inputs: the logits, or hidden states and head.
        """
        logits = HeadLogits(*inputs) if self.fused else inputs[0]
        buffers = Buffers(logits.device, self.dtype)
        weights = [
            t.norm.to(self.dtype)[:, None] * torch.tensor(t.coefficients, dtype=self.dtype, device=logits.device)
            for t in self.terms
        ]
        if isinstance(logits, Tensor) and self._defers(logits):
            return self._run_deferred(logits, weights, buffers)
        sink = self._sink(logits) if self.want_gradient else None
        step = rows_per_chunk(logits.shape[-1], logits.device, self.chunk_rows)
        step *= ROWS_FACTOR if self.fused and self.chunk_rows is None else 1
        spans = chunk_spans(len(self.rows), step, self.cuts)
        # A dense gradient is rescaled afterwards; one that has been sent on must be right at once.
        rescale = self.balance is not None and isinstance(sink, DenseGradient)
        if self.balance is not None and sink is not None and not rescale:
            replace(self, want_gradient=False, into=None).run(*inputs)  # finds self.scale, which both share
        parts: list[list[Tensor]] = [[] for _ in self.terms]
        for span in spans:
            chunk = Chunk(span, buffers.read("logits", logits, self.rows[span]), None, buffers)
            # Written in its place where that can be: untouched memory of this size costs as much as the arithmetic.
            room = sink.room(self.rows[span], self.dtype) if isinstance(sink, DenseGradient) else None
            own = None
            if sink is not None:
                own = (buffers.take("gradient", len(chunk), logits.shape[-1]) if room is None else room).zero_()
            for number in self._order():
                # the first term follows when it is known how the others are scaled
                chunk.gradient = None if rescale and number == 0 else own
                if number == 0 and own is not None and not rescale and self.balance is not None:
                    own.mul_(self.scale[0])
                parts[number].append(self.terms[number].kernel(chunk, weights[number][span]))
            if sink is not None and own is not None and room is None:
                sink.put(self.rows[span], own)
        values = [torch.cat(part) if part else weight[:0] for part, weight in zip(parts, weights)]
        sums = torch.stack([_total(*parts) for parts in zip(self.terms, weights, values)])
        extra = [g.clone() for term in self.terms for g in term.gradients]
        if self.balance is not None:
            means = units.balanced(float(sums[0]), float(sums[1:].sum()), self.balance.units)
            self.scale[0] = self.balance.scale(*means)
            sums[1:] *= self.scale[0]
            extra = [g * self.scale[0] for g in extra]
            if rescale and isinstance(sink, DenseGradient):
                self._add_first(inputs[0], sink.total, weights[0], spans, buffers)
        for term in self.terms:  # ready for another run
            for g in term.gradients:
                g.zero_()
        return sums.sum().to(self.dtype), values, None if sink is None else [*sink.tensors(), *extra]

    def _defers(self, logits: Tensor) -> bool:
        """Whether chunks should write their gradient by kernels.

        With `balance` they wait for the scale, so that a term with whole float32 rows would keep all of them.
        """
        waits = self.balance is not None and any(term.scratch is None for term in self.terms)
        return self.dtype == torch.float32 and not waits and readable(logits)

    def _run_deferred(
        self, logits: Tensor, weights: Sequence[Tensor], buffers: Buffers
    ) -> tuple[Tensor, list[Tensor], list[Tensor | None] | None]:
        """As `run`, with chunks that write their gradient once: at the end, when the scale is known, with `balance`."""
        sink = None
        if self.want_gradient:
            sink = DenseGradient(logits, self.rows) if self.into is None else SharedGradient(self.into)
        view = RowView(logits)
        step = rows_per_chunk(view.width, logits.device, self.chunk_rows)
        needs = [term.scratch for term in self.terms]
        if self.chunk_rows is None and None not in needs:
            step = rows_per_deferred_chunk(logits.numel() * logits.element_size(), sum(n or 0 for n in needs))
        parts: list[list[Tensor]] = [[] for _ in self.terms]
        waiting = []
        for span in chunk_spans(len(self.rows), step, self.cuts):
            chunk = DeferredChunk(span, view, self.rows[span], buffers, sink is not None, self.balance is not None)
            for number in reversed(range(len(self.terms))):  # the others' passes find what cross-entropy asks for, too
                chunk.number = number
                parts[number].append(self.terms[number].kernel(chunk, weights[number][span]))
            if sink is None:
                continue
            if self.balance is None:
                sink.write(chunk)
            else:
                waiting.append(chunk)
        values = [torch.cat(part) if part else weight[:0] for part, weight in zip(parts, weights)]
        sums = torch.stack([_total(*parts) for parts in zip(self.terms, weights, values)])
        if self.balance is not None:
            self.scale[0] = self.balance.scale(
                *units.balanced(float(sums[0]), float(sums[1:].sum()), self.balance.units)
            )
            sums[1:] *= self.scale[0]
        for chunk in waiting:
            assert sink is not None
            sink.write(chunk, self.scale[0])
        extra = [g * self.scale[0] for term in self.terms for g in term.gradients]
        for term in self.terms:
            for g in term.gradients:
                g.zero_()
        return sums.sum().to(self.dtype), values, None if sink is None else [*sink.tensors(), *extra]

    def _sink(self, logits: Tensor | HeadLogits) -> DenseGradient | SharedGradient | HeadGradient:
        if isinstance(logits, HeadLogits):
            return HeadGradient(logits, self.dtype)
        return DenseGradient(logits, self.rows) if self.into is None else SharedGradient(self.into)

    def _order(self) -> list[int]:
        """Numbers of the terms as they are computed: with `balance` the first one last, behind those it scales."""
        numbers = list(range(len(self.terms)))
        return [*numbers[1:], 0] if self.balance is not None and numbers else numbers

    def _add_first(
        self, logits: Tensor, gradient: Tensor, weight: Tensor, spans: Sequence[slice], buffers: Buffers
    ) -> None:
        """Scale the gradient of the other terms and add the first term's, in a second pass over the rows."""
        flat = gradient.view(-1, logits.shape[-1])
        for span in spans:
            index = self.rows[span]
            own = buffers.gather("gradient", gradient, index).mul_(self.scale[0])
            chunk = Chunk(span, buffers.read("logits", logits, index), own, buffers)
            self.terms[0].kernel(chunk, weight[span])
            flat.index_copy_(0, index, own.to(gradient.dtype))


def _total(term: Term, weight: Tensor, value: Tensor) -> Tensor:
    # Row sums first, then float64: a float32 sum over all entries loses four digits.
    return torch.where(term.norm[:, None] != 0, weight.double() * value.double(), 0.0).sum()


class _RowSum(torch.autograd.Function):
    """The gradient is computed with the values, in one pass, and handed over in backward."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.count = 2 if plan.fused else 1
        inputs = tensors[: ctx.count]
        loss, values, ctx.gradients = plan.run(*inputs)
        ctx.plan = replace(plan, into=None)  # what a collector got it keeps
        ctx.save_for_backward(*inputs)
        ctx.mark_non_differentiable(*values)
        return loss, *values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:  # a second backward pass: the first one gave its tensors away
            gradients = ctx.plan.run(*ctx.saved_tensors)[2]
        # Waiting for one number costs less than reading and writing the whole gradient once more.
        if float(grad_output) != 1.0:
            gradients = [None if g is None else g.mul_(grad_output) for g in gradients]
        needed = ctx.needs_input_grad[1:]
        return None, *(g if need else None for g, need in zip(gradients, needed))
