"""The largest logit of each column over many rows, in one pass and without a copy."""

# mypy: ignore-errors
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ctkd_core.losses.kernels.rows import RowsAt

BLOCK, ROWS, PART = 256, 16, 512  # columns and rows of a tile, rows of a program


@triton.jit
def _maxima(
    line, offset, found, n, width, STEP: tl.constexpr, ROWS: tl.constexpr, PART: tl.constexpr, BLOCK: tl.constexpr
):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < width
    first = tl.program_id(1) * PART
    best = tl.full([BLOCK], -float("inf"), dtype=tl.float32)
    for k in range(0, PART, ROWS):
        row = first + k + tl.arange(0, ROWS)
        start = tl.multiple_of(tl.load(offset + row, mask=row < n, other=0), [STEP])
        at = line + start[:, None] + place[None, :]
        z = tl.load(at, mask=(row < n)[:, None] & inside[None, :], other=-float("inf")).to(tl.float32)
        best = tl.maximum(best, tl.max(z, 0))
    tl.store(found + tl.program_id(1).to(tl.int64) * width + place, best, mask=inside)


def column_maxima(rows: RowsAt, width: int) -> Tensor:
    """float32 [width]: the largest of each column over n rows, which must be some."""
    n = len(rows.offset)
    parts = triton.cdiv(n, PART)
    found = torch.empty(parts, width, dtype=torch.float32, device=rows.line.device)
    grid = (triton.cdiv(width, BLOCK), parts)
    _maxima[grid](rows.line, rows.offset, found, n, width, rows.step, ROWS, PART, BLOCK)
    return found.amax(dim=0)
