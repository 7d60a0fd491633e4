"""A few rows on their way through a loss: memory kept from chunk to chunk, and what a loss asks of its rows."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ctkd_core.losses.engine.fused import HeadLogits

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
        return self.rows.stop - self.rows.start

    @property
    def learns(self) -> bool:
        """Whether a gradient is wanted."""
        return self.gradient is not None

    def normaliser(self, temperature: float = 1.0) -> Tensor:
        """Log-sum-exp [c] of logits / temperature."""
        return self.softmax(temperature)[1]

    def at(self, columns: Tensor, rows: Tensor | None = None) -> Tensor:
        """Logits [c, k] at columns int64 [c, k]; with `rows` int64 [n] of the chunk and columns int64 [n]: [n]."""
        return self.logits.gather(1, columns) if rows is None else self.logits[rows, columns]

    def add_softmax(self, coefficient: Tensor, temperature: float = 1.0, rows: Tensor | None = None) -> None:
        """gradient += coefficient [c] * softmax(logits / temperature); with `rows` int64 [n] and coefficient [n] there.

        Rows may repeat.
        """
        assert self.gradient is not None
        p, _ = self.softmax(temperature)
        if rows is None:
            self.gradient.addcmul_(p, coefficient[:, None])
        else:
            self.gradient.index_add_(0, rows, p.index_select(0, rows) * coefficient[:, None])

    def add_at(self, columns: Tensor, values: Tensor, rows: Tensor | None = None) -> None:
        """gradient[c, columns] += values [c, k]; with `rows` int64 [n] of the chunk, columns and values are [n].

        columns int64; they may repeat.
        """
        assert self.gradient is not None
        if rows is None:
            self.gradient.scatter_add_(1, columns, values)
        else:
            self.gradient.index_put_((rows, columns), values, accumulate=True)

    def softmax(self, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        """Probabilities [c, V] (shared between terms: don't write) and log-sum-exp [c] of logits / temperature."""
        if temperature not in self._softmax:
            self._softmax[temperature] = softmax(self.logits, temperature, self.buffers, f"softmax {temperature}")
        return self._softmax[temperature]


def softmax(logits: Tensor, temperature: float, buffers: Buffers, name: str) -> tuple[Tensor, Tensor]:
    """Probabilities [c, V] in kept memory and log-sum-exp [c] of logits / temperature."""
    out = probabilities(logits, temperature, buffers, name)
    # The largest probability is exp(0) / sum, so the logarithm of the sum is at hand without another exponential.
    if logits.device.type == "cpu":  # where a maximum with its place takes as long as the soft-max, one without a tenth
        return out, logits.amax(dim=-1) / temperature - out.amax(dim=-1).log()
    best, where = logits.max(dim=-1)
    return out, best / temperature - out.gather(1, where[:, None]).squeeze(1).log()


def probabilities(logits: Tensor, temperature: float, buffers: Buffers, name: str) -> Tensor:
    """Soft-max [c, V] of logits / temperature in kept memory."""
    out = buffers.take(name, *logits.shape)
    if temperature == 1.0:
        return torch.softmax(logits, dim=-1, out=out)
    return torch.softmax(torch.mul(logits, 1.0 / temperature, out=out), dim=-1, out=out)


def compute_dtype(*tensors: Tensor | HeadLogits | None) -> torch.dtype:
    """float64 when an input is float64 (gradient checks), else float32."""
    return torch.float64 if any(t is not None and t.dtype == torch.float64 for t in tensors) else torch.float32


def rows_per_chunk(width: int, device: torch.device, chunk_rows: int | None = None) -> int:
    """Rows of one chunk for logits of this width; `chunk_rows` overrides."""
    elements = CPU_CHUNK_ELEMENTS if device.type == "cpu" else GPU_CHUNK_ELEMENTS
    return max(1, chunk_rows or elements // max(1, width))
