"""Losses that look at a few entries of each row: gather their log-probabilities, then spread a small gradient back.

Such a loss has three steps: `gather_log_probs` reads log softmax(z / tau) at the columns it wants ([R, k] numbers), the
loss itself is plain torch on these, and `gathered_term` carries d loss / d log p back to the full rows inside the
engine, in the same pass as the other terms: d / d z = (scatter(slope) - p * sum(slope)) / tau.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ctkd_core.losses.engine.engine import Buffers, Chunk, Term, rows_per_chunk, softmax


def gather_log_probs(
    logits: Tensor,
    rows: Tensor,
    columns: Tensor,
    temperature: float,
    dtype: torch.dtype,
    chunk_rows: int | None = None,
) -> Tensor:
    """[n, k]: log softmax(logits[row] / temperature) at columns int64 [n, k], for rows int64 [n] of [..., V]."""
    buffers = Buffers(logits.device, dtype)
    out = torch.empty(columns.shape, dtype=dtype, device=logits.device)
    step = rows_per_chunk(logits.shape[-1], logits.device, chunk_rows)
    for begin in range(0, len(rows), step):
        span = slice(begin, begin + step)
        z = buffers.read("logits", logits, rows[span])
        _, normaliser = softmax(z, temperature, buffers, "softmax")
        torch.sub(z.gather(1, columns[span]) / temperature, normaliser[:, None], out=out[span])
    return out


@dataclass(frozen=True)
class _Kernel:
    values: Tensor
    columns: Tensor
    slope: Tensor
    temperature: float

    def __call__(self, chunk: Chunk, weight: Tensor) -> Tensor:  # noqa: ARG002 - the slope is weighted already
        span = chunk.rows
        if chunk.gradient is not None:
            p, _ = chunk.softmax(self.temperature)
            slope = self.slope[span] / self.temperature
            chunk.gradient.scatter_add_(1, self.columns[span], slope)
            chunk.gradient.addcmul_(p, -slope.sum(dim=1, keepdim=True))
        return self.values[span]


def gathered_term(
    names: tuple[str, ...],
    coefficients: tuple[float, ...],
    norm: Tensor,
    values: Tensor,
    columns: Tensor,
    slope: Tensor,
    temperature: float,
    owner: Tensor | None = None,
) -> Term:
    """A term of known values [R, n] whose gradient reaches the rows through log-probabilities at columns [R, k].

    slope: [R, k], d loss / d log p with all factors in it (0 where a row says nothing).
    """
    return Term(names, coefficients, norm, _Kernel(values, columns, slope, temperature), owner=owner)
