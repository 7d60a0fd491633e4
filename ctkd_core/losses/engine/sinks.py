"""Where the engine puts the gradient of the logits: a tensor of its own, or one that several losses share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor

from ctkd_core.losses.engine.deferred import DeferredChunk, RowView


@dataclass
class Collector:
    """One gradient tensor that the losses of several teachers share; see `teachers.several`.

    logits    the student's; a loss of other logits isn't collected
    gradient  [..., V] that each loss adds `factor` times its gradient to
    loss      the loss that was collected last, to tell whether it is all that its method returned
    calls     how many losses were collected
    """

    logits: Tensor
    gradient: Tensor
    factor: float = 1.0
    loss: Tensor | None = None
    calls: int = 0


_COLLECTOR: ContextVar[Collector | None] = ContextVar("collector", default=None)


@contextmanager
def collecting(collector: Collector) -> Iterator[Collector]:
    """Within it, `evaluate` sends the gradient of the collector's logits there instead of handing it to autograd."""
    token = _COLLECTOR.set(collector)
    try:
        yield collector
    finally:
        _COLLECTOR.reset(token)


def current_collector() -> Collector | None:
    """The collector in force, None outside `collecting`."""
    return _COLLECTOR.get()


class DenseGradient:
    """A gradient tensor of the logits' own shape and dtype.

    written: int64 [R] rows that will be written; the others are 0.
    """

    def __init__(self, logits: Tensor, written: Tensor) -> None:
        self.total = torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)
        self._flat = self.total.view(-1, logits.shape[-1])
        left = torch.ones(len(self._flat), dtype=torch.bool, device=logits.device)
        left[written] = False
        self._flat.index_fill_(0, left.nonzero().squeeze(1), 0.0)

    def write(self, chunk: DeferredChunk, scale: float = 1.0) -> None:
        """Let a chunk write its rows; scale: of all terms but the first."""
        chunk.write(RowView(self.total).at(chunk.index), scale)

    def room(self, index: Tensor, dtype: torch.dtype) -> Tensor | None:
        """Rows int64 [c] of the tensor itself to add to, where they lie one after another in this dtype; else None.

        On a CPU alone: elsewhere it would wait for numbers of the device, and fresh memory costs nothing.
        """
        if self.total.device.type != "cpu" or self.total.dtype != dtype or not len(index):
            return None
        first = int(index[0])
        if int(index[-1]) - first + 1 != len(index) or (len(index) > 2 and not bool((index.diff() == 1).all())):
            return None
        return self._flat[first : first + len(index)]

    def put(self, index: Tensor, own: Tensor) -> None:
        """Store gradient [c, V] of rows int64 [c]; each row is stored once."""
        self._flat.index_copy_(0, index, own.to(self.total.dtype))

    def tensors(self) -> list[Tensor | None]:
        """What autograd gets for the logits."""
        return [self.total]


class SharedGradient:
    """The collector's tensor, which other losses have written to."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def put(self, index: Tensor, own: Tensor) -> None:
        """Add `factor` times gradient [c, V] of rows int64 [c]."""
        total = self._collector.gradient
        total.view(-1, total.shape[-1]).index_add_(0, index, own.to(total.dtype), alpha=self._collector.factor)

    def write(self, chunk: DeferredChunk, scale: float = 1.0) -> None:
        """Add `factor` times the gradient of a chunk's rows; scale: of all terms but the first."""
        total = self._collector.gradient
        chunk.write(RowView(total).at(chunk.index), scale, self._collector.factor, add=True)

    def tensors(self) -> list[Tensor | None]:
        """Nothing for autograd: `teachers.several` hands the collector's tensor over itself."""
        return [None]
