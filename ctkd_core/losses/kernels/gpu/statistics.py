"""Log-sum-exp of rows at one or two temperatures, of all columns or of some, in one pass over the logits."""

# mypy: ignore-errors
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ctkd_core.losses.kernels.rows import RowsAt

BLOCK, WARPS = 4096, 8


@triton.jit
def _normalisers(
    line, offset, columns, gathered, first, second, width, scale_a, scale_b,
    STEP: tl.constexpr, TWO: tl.constexpr, SOME: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    start = line + tl.multiple_of(tl.load(offset + row), STEP)
    best = -float("inf")
    sum_a, sum_b = 0.0, 0.0
    for begin in range(0, width, BLOCK):
        place = begin + tl.arange(0, BLOCK)
        inside = place < width
        if SOME:
            at = tl.load(columns + place, mask=inside, other=0)
            z = tl.load(start + at, mask=inside, other=-float("inf")).to(tl.float32)
            tl.store(gathered + row * width + place, z, mask=inside)
        else:
            z = tl.load(start + place, mask=inside, other=-float("inf")).to(tl.float32)
        higher = tl.maximum(best, tl.max(z, 0))
        shift = tl.where(higher == -float("inf"), 0.0, higher)
        sum_a = sum_a * tl.exp((best - shift) * scale_a) + tl.sum(tl.exp((z - shift) * scale_a), 0)
        if TWO:
            sum_b = sum_b * tl.exp((best - shift) * scale_b) + tl.sum(tl.exp((z - shift) * scale_b), 0)
        best = higher
    tl.store(first + row, best * scale_a + tl.log(sum_a))
    if TWO:
        tl.store(second + row, best * scale_b + tl.log(sum_b))


def normalisers(rows: RowsAt, width: int, *temperatures: float) -> list[Tensor]:
    """float32 [n] log-sum-exp of logits / temperature for one or two temperatures; -inf for rows of -inf alone.

    width: of the columns that count, the first ones of each row.
    """
    line, offset, step = rows
    found = [torch.empty(len(offset), dtype=torch.float32, device=line.device) for _ in temperatures]
    if len(offset):
        scales = [1.0 / t for t in temperatures]
        two = len(found) == 2
        _normalisers[(len(offset),)](
            line, offset, offset, found[0], found[0], found[-1], width, scales[0], scales[-1], step, two,
            False, BLOCK, num_warps=WARPS,
        )  # fmt: skip
    return found


def gathered(rows: RowsAt, columns: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """float32 [n, k] the logits at `columns` int64 [k], and [n] their log-sum-exp at the temperature."""
    line, offset, step = rows
    found = torch.empty(len(offset), len(columns), dtype=torch.float32, device=line.device)
    norm = torch.empty(len(offset), dtype=torch.float32, device=line.device)
    if len(offset):
        scale = 1.0 / temperature
        _normalisers[(len(offset),)](
            line, offset, columns, found, norm, norm, len(columns), scale, scale, step, False, True, BLOCK,
            num_warps=WARPS,
        )  # fmt: skip
    return found, norm
