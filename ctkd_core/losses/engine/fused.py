"""Fusion of the output head: a loss takes hidden states and the head instead of logits, and no logits are kept.

`HeadLogits(hidden, head)` stands for the logits hidden @ head.T. Every loss that reads logits through the engine takes
it in their place, for the student, the teacher or both:

    ctkd.loss("kd", HeadLogits(hidden, head), HeadLogits(teacher_hidden, teacher_head), batch)

The engine makes the logits of a few rows at a time, lets the terms write their gradient, and sends it on at once:
gradient @ head to the hidden states, gradient.T @ hidden to the head. Memory then depends on the chunk and on the sizes
of hidden states and head, not on positions x vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ctkd_core.errors import LossInputError

# A chunk reads the whole head, so it should have many rows.
ROWS_FACTOR = 8


class HeadLogits:
    """The logits [..., V] = hidden [..., d] @ head [V, d].T, made where and when they are read.

    Numbers are those of `torch.nn.functional.linear(hidden, head)` in the data type of `hidden`; `head` is cast to it
    once. Models that bend their logits afterwards (a bias, a scale, a soft cap) can't be fused.
    Raises LossInputError for shapes that don't fit.
    """

    def __init__(self, hidden: Tensor, head: Tensor) -> None:
        if head.ndim != 2 or hidden.ndim < 2 or hidden.shape[-1] != head.shape[1]:
            raise LossInputError(
                "fused logits need hidden states [..., d] and an output head [vocabulary, d]; got "
                f"{list(hidden.shape)} and {list(head.shape)}."
            )
        if hidden.device != head.device:
            raise LossInputError(f"hidden states are on {hidden.device}, the head on {head.device}; move both to one.")
        self.hidden, self.head = hidden, head.to(hidden.dtype)

    @property
    def shape(self) -> torch.Size:
        """[..., V]."""
        return torch.Size((*self.hidden.shape[:-1], self.head.shape[0]))

    @property
    def ndim(self) -> int:
        """Dimensions of the logits."""
        return self.hidden.ndim

    @property
    def dtype(self) -> torch.dtype:
        """Data type of the hidden states, in which the logits are made."""
        return self.hidden.dtype

    @property
    def device(self) -> torch.device:
        """Where both are."""
        return self.hidden.device

    @property
    def requires_grad(self) -> bool:
        """Whether hidden states or head learn."""
        return self.hidden.requires_grad or self.head.requires_grad

    def detach(self) -> HeadLogits:
        """The same without gradient."""
        return HeadLogits(self.hidden.detach(), self.head.detach())

    def numel(self) -> int:
        """Number of logits that this stands for."""
        return self.shape.numel()

    def rows(self, index: Tensor, out: Tensor) -> Tensor:
        """`out` [c, V], filled with the logits of rows int64 [c] of the flattened leading dimensions."""
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            chosen = self.hidden.detach().reshape(-1, self.hidden.shape[-1]).index_select(0, index)
            if out.dtype == chosen.dtype:
                return torch.mm(chosen, self.head.detach().t(), out=out)
            return out.copy_(chosen @ self.head.detach().t())

    def __getitem__(self, index: Any) -> HeadLogits:
        """Only [..., :n], the first n columns."""
        if isinstance(index, tuple) and len(index) == 2 and index[0] is Ellipsis and isinstance(index[1], slice):
            return HeadLogits(self.hidden, self.head[index[1]])
        raise LossInputError(_REFUSAL)

    def __len__(self) -> int:
        raise LossInputError(_REFUSAL)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise LossInputError(f"{_REFUSAL} (It asked for .{name}.)")


_REFUSAL = (
    "this loss reads its logits outside the engine, so the output head can't be fused with it: pass the logits "
    "themselves, torch.nn.functional.linear(hidden, head)."
)


class HeadGradient:
    """Where the engine sends the gradient of fused logits, a chunk of rows at a time."""

    def __init__(self, logits: HeadLogits, dtype: torch.dtype) -> None:
        self._logits = logits
        self._hidden = torch.zeros_like(logits.hidden) if logits.hidden.requires_grad else None
        # Sums over many chunks: in the compute dtype, for bfloat16 would lose the small ones.
        self._head = torch.zeros_like(logits.head, dtype=dtype) if logits.head.requires_grad else None

    def put(self, index: Tensor, own: Tensor) -> None:
        """Send on gradient [c, V] (may be overwritten) of rows int64 [c]."""
        width = self._logits.hidden.shape[-1]
        with torch.autocast(own.device.type, enabled=False):
            own = own.to(self._logits.dtype)
            if self._hidden is not None:
                self._hidden.view(-1, width).index_copy_(0, index, own @ self._logits.head)
            if self._head is not None:
                chosen = self._logits.hidden.reshape(-1, width).index_select(0, index)
                if self._head.dtype == own.dtype:
                    self._head.addmm_(own.t(), chosen)
                else:
                    self._head.add_(own.t() @ chosen)

    def tensors(self) -> list[Tensor | None]:
        """The gradients of hidden states and head, None for the one that doesn't learn."""
        return [self._hidden, None if self._head is None else self._head.to(self._logits.dtype)]
