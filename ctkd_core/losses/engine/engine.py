"""The engine of every loss: rows in chunks, analytic gradients, one autograd function.

Logits of a large vocabulary are far bigger than anything else in a training step, so no loss may build a second
full-vocabulary float32 tensor. The engine copies a few rows at a time into memory that it keeps, lets each term add
its gradient there, and writes the result once, in the data type of the student's logits. The only tensor of full
size is the gradient that autograd must return anyway.
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
from ctkd_core.losses.engine.fused import ROWS_FACTOR, HeadGradient, HeadLogits
from ctkd_core.losses.engine.sinks import Collector, DenseGradient, SharedGradient, current_collector

# Elements of one chunk of logits. On a CPU a chunk should stay in the last-level cache; a GPU wants long kernels.
CPU_CHUNK_ELEMENTS = 2**21
GPU_CHUNK_ELEMENTS = 2**26


class Buffers:
    """Memory kept from chunk to chunk: touching fresh pages costs more than the arithmetic on them."""

    def __init__(self, device: torch.device, dtype: torch.dtype):
        self.device, self.dtype = device, dtype
        self._kept: dict[str, Tensor] = {}

    def take(self, name: str, rows: int, width: int) -> Tensor:
        """Uninitialised [rows, width]; the same memory for the same name."""
        kept = self._kept.get(name)
        if kept is None or kept.numel() < rows * width:
            kept = self._kept[name] = torch.empty(rows * width, device=self.device, dtype=self.dtype)
        return kept[: rows * width].view(rows, width)

    def read(self, name: str, logits: Tensor | HeadLogits, rows: Tensor) -> Tensor:
        """As `gather`, for reading only: rows that lie one after another on a CPU aren't copied."""
        if isinstance(logits, HeadLogits):
            return self.gather(name, logits, rows)
        if logits.device.type == "cpu" and logits.dtype == self.dtype and logits.is_contiguous() and len(rows):
            first, last = int(rows[0]), int(rows[-1])
            if last - first + 1 == len(rows) and (len(rows) < 3 or bool((rows.diff() == 1).all())):
                return logits.detach().view(-1, logits.shape[-1])[first : last + 1]
        return self.gather(name, logits, rows)

    def gather(self, name: str, logits: Tensor | HeadLogits, rows: Tensor) -> Tensor:
        """Rows (int64 [c], into the flattened leading dimensions) of `logits` [..., V], in the compute dtype."""
        width = logits.shape[-1]
        out = self.take(name, len(rows), width)
        if isinstance(logits, HeadLogits):
            return logits.rows(rows, out)
        if not logits.is_contiguous():
            return out.copy_(logits[torch.unravel_index(rows, logits.shape[:-1])])
        flat = logits.view(-1, width)
        if logits.dtype == self.dtype:
            return torch.index_select(flat, 0, rows, out=out)
        return out.copy_(flat.index_select(0, rows))


@dataclass
class Chunk:
    """Some rows on their way through the terms of a loss.

    rows      which rows of the loss these are
    logits    [c, V] student logits in the compute dtype (float32, or float64 for float64 inputs); don't write
    gradient  [c, V] to add to, or None when no gradient is wanted
    """

    rows: slice
    logits: Tensor
    gradient: Tensor | None
    buffers: Buffers
    _softmax: dict[float, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.logits)

    def softmax(self, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        """Probabilities [c, V] (shared between terms: don't write) and log-sum-exp [c] of logits / temperature."""
        if temperature not in self._softmax:
            self._softmax[temperature] = softmax(self.logits, temperature, self.buffers, f"softmax {temperature}")
        return self._softmax[temperature]


def softmax(logits: Tensor, temperature: float, buffers: Buffers, name: str) -> tuple[Tensor, Tensor]:
    """Probabilities [c, V] in kept memory and log-sum-exp [c] of logits / temperature."""
    out = buffers.take(name, *logits.shape)
    if temperature == 1.0:
        torch.softmax(logits, dim=-1, out=out)
    else:
        torch.softmax(torch.mul(logits, 1.0 / temperature, out=out), dim=-1, out=out)
    # The largest probability is exp(0) / sum, so the logarithm of the sum is at hand without another exponential.
    if logits.device.type == "cpu":  # where a maximum with its place takes as long as the soft-max, one without a tenth
        return out, logits.amax(dim=-1) / temperature - out.amax(dim=-1).log()
    best, where = logits.max(dim=-1)
    return out, best / temperature - out.gather(1, where[:, None]).squeeze(1).log()


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


def compute_dtype(*tensors: Tensor | HeadLogits | None) -> torch.dtype:
    """float64 when an input is float64 (gradient checks), else float32."""
    return torch.float64 if any(t is not None and t.dtype == torch.float64 for t in tensors) else torch.float32


def rows_per_chunk(width: int, device: torch.device, chunk_rows: int | None = None) -> int:
    """Rows of one chunk for logits of this width; `chunk_rows` overrides."""
    elements = CPU_CHUNK_ELEMENTS if device.type == "cpu" else GPU_CHUNK_ELEMENTS
    return max(1, chunk_rows or elements // max(1, width))


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
        sink = self._sink(logits) if self.want_gradient else None
        weights = [
            t.norm.to(self.dtype)[:, None] * torch.tensor(t.coefficients, dtype=self.dtype, device=logits.device)
            for t in self.terms
        ]
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
            own = None if sink is None else buffers.take("gradient", len(chunk), logits.shape[-1]).zero_()
            for number in self._order():
                # the first term follows when it is known how the others are scaled
                chunk.gradient = None if rescale and number == 0 else own
                if number == 0 and own is not None and not rescale and self.balance is not None:
                    own.mul_(self.scale[0])
                parts[number].append(self.terms[number].kernel(chunk, weights[number][span]))
            if sink is not None and own is not None:
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

    def _sink(self, logits: Tensor | HeadLogits) -> DenseGradient | SharedGradient | HeadGradient:
        if isinstance(logits, HeadLogits):
            return HeadGradient(logits, self.dtype)
        return DenseGradient(logits) if self.into is None else SharedGradient(self.into)

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
        if grad_output.device.type != "cpu" or float(grad_output) != 1.0:
            gradients = [None if g is None else g.mul_(grad_output) for g in gradients]
        needed = ctx.needs_input_grad[1:]
        return None, *(g if need else None for g, need in zip(gradients, needed))
