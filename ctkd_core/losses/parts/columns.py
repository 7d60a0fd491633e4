"""Probabilities moved through a sparse map into some teacher columns, and their gradient back.

Only the entries of the map that end in a chosen column matter, some ten thousand of the vocabulary's hundreds of
thousands, so no [n, Vt] tensor is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ctkd_core.losses.parts.matched import SameObject


@dataclass(frozen=True)
class EntryTensors:
    """E entries of a map [Vs, Vt] sorted by student row: student, teacher ids int64 [E], weight float [E]."""

    student: Tensor
    teacher: Tensor
    weight: Tensor
    shape: tuple[int, int]

    def columns(self, chosen: Tensor) -> ColumnEntries:
        """The entries that end in `chosen` int64 [k], renumbered 0..k-1."""
        place = torch.full((self.shape[1],), -1, dtype=torch.int64, device=chosen.device)
        place[chosen] = torch.arange(len(chosen), device=chosen.device)
        column = place[self.teacher]
        kept = (column >= 0).nonzero().squeeze(1)
        return ColumnEntries(self.student[kept], column[kept], self.weight[kept], kept, len(chosen))


@dataclass(frozen=True)
class ColumnEntries:
    """Entries of some columns: student int64 [e], column int64 [e] below width, weight [e], index [e] into all."""

    student: Tensor
    column: Tensor
    weight: Tensor
    index: Tensor
    width: int

    def project(self, p: Tensor) -> Tensor:
        """[g, width]: sum over entries of p[:, student] * weight, by column, for p [g, Vs]."""
        out = torch.zeros(len(p), self.width, dtype=p.dtype, device=p.device)
        if _numba(p):
            from ctkd_core.losses.kernels.columns import project

            project(p.numpy(), *self._arrays(p), out.numpy())
            return out
        return out.index_add_(1, self.column, p.index_select(1, self.student) * self.weight.to(p.dtype))

    def back(self, slope: Tensor, p: Tensor, out: Tensor) -> Tensor:
        """Add p * (slope [g, width] moved back through the map) to out [g, Vs]; returns its row sums [g]."""
        if _numba(p):
            from ctkd_core.losses.kernels.columns import back

            return torch.from_numpy(back(slope.numpy(), p.numpy(), *self._arrays(p), out.numpy()))
        pushed = slope.index_select(1, self.column) * self.weight.to(p.dtype) * p.index_select(1, self.student)
        out.index_add_(1, self.student, pushed)
        return pushed.sum(dim=1)

    def weight_gradient(self, slope: Tensor, p: Tensor, out: Tensor) -> None:
        """Add d / d weight = sum over rows of slope[:, column] * p[:, student] to out [E]."""
        pushed = (slope.index_select(1, self.column) * p.index_select(1, self.student)).sum(dim=0)
        out.index_add_(0, self.index, pushed)

    def _arrays(self, p: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.student.numpy(), self.column.numpy(), self.weight.to(p.dtype).numpy()


def entries_of(matrix: Any, widths: tuple[int, int], device: Any, dtype: torch.dtype) -> EntryTensors:
    """Entries of a Projection or scipy matrix for logits of these widths; entries beyond them are left out."""
    return _entries(SameObject(getattr(matrix, "matrix", matrix)), widths, str(device), dtype)


@lru_cache(maxsize=8)  # sorting a map and moving it takes longer than a step of the loss on a GPU
def _entries(matrix: SameObject, widths: tuple[int, int], device: str, dtype: torch.dtype) -> EntryTensors:
    coo = matrix.value.tocsr().sorted_indices().tocoo()
    kept = (coo.row < widths[0]) & (coo.col < widths[1]) & (coo.data != 0)
    tensors = [torch.from_numpy(x[kept].astype(np.int64)).to(device) for x in (coo.row, coo.col)]
    weight = torch.from_numpy(coo.data[kept].astype(np.float64)).to(device=device, dtype=dtype)
    return EntryTensors(tensors[0], tensors[1], weight, widths)


def _numba(p: Tensor) -> bool:
    return p.device.type == "cpu" and p.is_contiguous()
