"""Sorted L1 distance of rows of probabilities without sorting them: see `kernels/buckets.py`.

Entries are counted where the probabilities are written (`paired._rest`); here the counts become signs, entries take the
sign of their bucket, and the few in open buckets are sorted by torch.
"""

# mypy: ignore-errors
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ctkd_core.losses.kernels import buckets

SPAN = 8192  # buckets, rounded up to a power of two
BLOCK, WARPS = 1024, 8
SHIFT, ROUND_UP, LAST, OPEN = (
    tl.constexpr(k) for k in (buckets.SHIFT, buckets.ROUND_UP, buckets.BUCKETS - 1, buckets.OPEN)
)


@triton.jit
def bits_of(probability):
    """Bits of a non-negative float32, which sort as the numbers do."""
    return probability.to(tl.int32, bitcast=True) & 0x7FFFFFFF


@triton.jit
def bucket_of(bits):
    """Number of the bucket."""
    return tl.minimum((bits + ROUND_UP) >> SHIFT, LAST)


@triton.jit
def _sign_of_bucket(above, count, other_above, other_count, limit):
    # As `rank_signs._sign_of_bucket`.
    sign = tl.where(above + count <= other_above, -1, tl.where(above >= other_above + other_count, 1, OPEN))
    return tl.where((count == 0) | (above >= limit), 0, tl.where(above + count > limit, OPEN, sign))


@triton.jit
def _tables(counts, signs, opened, limit, n_groups, SPAN: tl.constexpr):
    # counts [2, g, SPAN] become the number of entries in higher buckets; signs [2, g, SPAN]; opened [2, g].
    row = tl.program_id(0).to(tl.int64)
    place = tl.arange(0, SPAN)
    p_at, q_at = row * SPAN + place, (n_groups + row) * SPAN + place
    p_count, q_count = tl.load(counts + p_at), tl.load(counts + q_at)
    p_above = tl.sum(p_count, 0) - tl.cumsum(p_count, 0)
    q_above = tl.sum(q_count, 0) - tl.cumsum(q_count, 0)
    p_sign = _sign_of_bucket(p_above, p_count, q_above, q_count, limit)
    q_sign = _sign_of_bucket(q_above, q_count, p_above, p_count, limit)
    zeros = place == 0
    is_open = ((p_sign == OPEN) | (q_sign == OPEN)) & ~zeros
    p_sign = tl.where(is_open, OPEN, tl.where(zeros, 0, p_sign))
    q_sign = tl.where(is_open, OPEN, tl.where(zeros, 0, q_sign))
    tl.store(counts + p_at, p_above)
    tl.store(counts + q_at, q_above)
    tl.store(signs + p_at, p_sign.to(tl.int8))
    tl.store(signs + q_at, q_sign.to(tl.int8))
    tl.store(opened + row, tl.sum(tl.where(is_open, p_count, 0), 0))
    tl.store(opened + n_groups + row, tl.sum(tl.where(is_open, q_count, 0), 0))


@triton.jit
def _known(
    rows, table, starts, values, sign, open_bits, open_at, width, SPAN: tl.constexpr, LEARNS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    # Entries outside open buckets: their signs, and the sum of sign * entry. The others are listed, by column.
    row = tl.program_id(0).to(tl.int64)
    total = tl.full([], 0.0, tl.float64)  # signed sums cancel where both sides nearly agree
    start = tl.load(starts + row)
    for begin in range(0, width, BLOCK):
        place = begin + tl.arange(0, BLOCK)
        inside = place < width
        entry = tl.load(rows + row * width + place, mask=inside, other=0.0)
        bits = bits_of(entry)
        here = tl.load(table + row * SPAN + bucket_of(bits)).to(tl.int32)
        is_open = inside & (here == OPEN)
        known = tl.where(is_open, 0, here)
        total += tl.sum(known.to(tl.float64) * entry.to(tl.float64), 0)
        if LEARNS:
            tl.store(sign + row * width + place, known.to(tl.int8), mask=inside)
        listed = is_open.to(tl.int32)
        many = tl.sum(listed, 0)
        if many > 0:
            at = start + tl.cumsum(listed, 0) - 1
            tl.store(open_bits + at, bits, mask=is_open)
            tl.store(open_at + at, place, mask=is_open)
            start += many
    tl.store(values + row, total)


def counted_gaps(
    p: Tensor, q: Tensor, counts: Tensor, learns: bool, limit: int
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Sorted L1 of float32 rows p [g, n], q [g, m]: values [g], sum of sign * p [g], signs int8 [g, n] (0 for zeros).

    counts: int32 [2, g, SPAN], entries of p and q in each bucket; overwritten. None: rows so near to each other that
    sorting is faster. Without `learns` there are no signs.
    """
    g = len(p)
    tables = torch.empty(2, g, SPAN, dtype=torch.int8, device=p.device)
    opened = torch.empty(2, g, dtype=torch.int32, device=p.device)
    _tables[(g,)](counts, tables, opened, limit, g, SPAN, num_warps=WARPS)
    opened = opened.long()
    sizes = opened.sum(dim=1).tolist()
    if sum(sizes) > (p.numel() + q.numel()) // buckets.MOST_OPEN:
        return None
    signs = torch.empty(g if learns else 0, p.shape[1], dtype=torch.int8, device=p.device)
    known = torch.empty(2, g, dtype=torch.float64, device=p.device)
    listed = []
    for side, rows in enumerate((p, q)):
        bits, at = torch.empty(2, sizes[side], dtype=torch.int32, device=p.device)
        starts = opened[side].cumsum(0) - opened[side]
        _known[(g,)](
            rows, tables[side], starts, known[side], signs, bits, at, rows.shape[1], SPAN, learns and side == 0, BLOCK,
            num_warps=WARPS,
        )  # fmt: skip
        listed.append(_Listed(bits, at, opened[side], counts[side]))
    for own, other, total in zip(listed, reversed(listed), known):
        sign = own.signs(other, limit)
        total.index_add_(0, own.rows, sign * own.entries.double())
        if learns and own is listed[0]:
            signs[own.rows, own.columns] = sign.to(torch.int8)
    return known.sum(dim=0).float(), known[0].float(), signs


class _Listed:
    """Entries of one side in open buckets, sorted: by row, the largest first, equal ones by column.

    rows, columns  int64 [u]
    entries        float32 [u]
    """

    def __init__(self, bits: Tensor, at: Tensor, lengths: Tensor, above: Tensor):
        """bits, at: int32 [u], `lengths` int64 [g] for each row; above: int32 [g, SPAN], entries in higher buckets."""
        self.rows = torch.repeat_interleave(torch.arange(len(lengths), device=at.device), lengths, output_size=len(at))
        self.codes, order = _code(self.rows, bits).sort(stable=True)
        bits = bits[order]
        self.columns, self.entries = at[order].long(), bits.view(torch.float32)
        self._bits, self._above = bits.long(), above

    def signs(self, other: _Listed, limit: int) -> Tensor:
        """int64 [u]: whether each entry is larger (1) or smaller (-1) than the other side's of its rank."""
        bucket = (self._bits + buckets.ROUND_UP >> buckets.SHIFT).clamp(max=buckets.BUCKETS - 1)
        top = torch.where(bucket == buckets.BUCKETS - 1, 0x7FFFFFFF, bucket << buckets.SHIFT)
        first, end = _code(self.rows, top), _code(self.rows, (bucket - 1) << buckets.SHIFT)
        place = torch.arange(len(bucket), device=bucket.device) - torch.searchsorted(self.codes, first)
        rank = self._above[self.rows, bucket] + place
        facing = rank - other._above[self.rows, bucket]
        start = torch.searchsorted(other.codes, first)
        count = torch.searchsorted(other.codes, end) - start
        sign = torch.where(facing < 0, -1, 1)
        beside = (facing >= 0) & (facing < count)
        gap = self.entries[beside] - other.entries[(start + facing)[beside]]
        sign[beside] = gap.sign().long()
        return torch.where(rank < limit, sign, 0)


def _code(rows: Tensor, bits: Tensor) -> Tensor:
    # Sorts by row, then from the largest number to the smallest.
    return (rows << 32) | (0x7FFFFFFF - bits.long())
