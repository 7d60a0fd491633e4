"""One distribution per group: the chain rule turns the rows of several tokens into one row and a scalar.

The merged row of a group is factor * softmax(z[row]): one row carries the distribution over the vocabulary, the
factor is the product of the probabilities that the other rows of the group give to the group's own tokens. Two
readings exist (see `gold.py`): "bayesian" takes the row that predicts the group's last token and the factors of the
tokens before it; "observed" takes the row at the group's first token, and looks up every later token in the row at
that token itself, as the released trainer does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ctkd_core.losses.base import Rows
from ctkd_core.losses.engine.deferred import RowView, readable
from ctkd_core.losses.engine.engine import Buffers, rows_per_chunk, softmax

# Source: TRL 1.16, GOLD's merge: every scalar factor is clamped from below.
FACTOR_FLOOR = 1e-8


@dataclass(frozen=True)
class MergedSide:
    """The groups of one side as rows of logits flattened to [B * T, V]; G groups, F factors.

    row           int64 [G] the row whose distribution the group has
    factor_row, factor_token, factor_group  int64 [F] row and token of each scalar factor, and its group (0..G-1)
    """

    row: Tensor
    factor_row: Tensor
    factor_token: Tensor
    factor_group: Tensor


def merged_side(sample: Tensor, start: Tensor, end: Tensor, ids: Tensor, merge: str) -> MergedSide:
    """Rows and factors of groups [start, end) in `sample` (each int64 [G]) of `ids` int64 [B, T].

    merge: "bayesian" (groups must not begin at position 0) or "observed".
    """
    length = end - start
    width = ids.shape[1]
    count = length - 1
    group = torch.repeat_interleave(torch.arange(len(length), device=ids.device), count)
    inside = torch.arange(len(group), device=ids.device) - (count.cumsum(0) - count)[group]
    if merge == "bayesian":
        # The distribution is that of the last token; earlier tokens are looked up in the rows that predict them.
        position = start[group] + inside
        return MergedSide(
            sample * width + end - 2, sample[group] * width + position - 1, ids[sample[group], position], group
        )
    position = start[group] + 1 + inside
    return MergedSide(sample * width + start, sample[group] * width + position, ids[sample[group], position], group)


def log_factors(side: MergedSide, log_probs: Tensor) -> Tensor:
    """[G]: log of each group's factor from the log-probabilities [F] of its tokens, each clamped from below."""
    floor = torch.log(torch.tensor(FACTOR_FLOOR, dtype=log_probs.dtype))
    total = torch.zeros(len(side.row), dtype=log_probs.dtype, device=log_probs.device)
    return total.index_add_(0, side.factor_group, log_probs.clamp(min=float(floor)))


def token_log_probs(
    logits: Tensor, rows: Tensor, tokens: Tensor, temperature: float, dtype: torch.dtype, chunk_rows: int | None = None
) -> Tensor:
    """[n]: log softmax(logits[row] / temperature)[token] for rows, tokens int64 [n], a few rows at a time."""
    if dtype == torch.float32 and readable(logits):
        return in_place_log_probs(logits, rows, tokens, temperature)
    buffers = Buffers(logits.device, dtype)
    parts = []
    step = rows_per_chunk(logits.shape[-1], logits.device, chunk_rows)
    for begin in range(0, len(rows), step):
        z = buffers.read("logits", logits, rows[begin : begin + step])
        chosen = z.gather(1, tokens[begin : begin + step, None]).squeeze(1) / temperature
        parts.append(chosen - softmax(z, temperature, buffers, "softmax")[1])
    return torch.cat(parts) if parts else torch.zeros(0, dtype=dtype, device=logits.device)


def in_place_log_probs(logits: Tensor, rows: Tensor, tokens: Tensor, temperature: float = 1.0) -> Tensor:
    """As `token_log_probs`, in float32 and without a copy of a row, where `readable(logits)`."""
    from ctkd_core.losses.kernels.gpu.statistics import normalisers

    view = RowView(logits)
    source = view.at(rows)
    chosen = view.line[source.offset + tokens].float()
    return chosen / temperature - normalisers(source, view.width, temperature)[0]


def with_rows(rows: Rows, flat: Tensor, ids: Tensor) -> tuple[Rows, Tensor]:
    """`rows` and the further rows `flat` int64 [n] of ids [B, T]; also bool [R'], the rows that were there before.

    The further rows have no target (0) and predict no learnt token.
    """
    missing = flat[~torch.isin(flat, rows.flat)].unique()
    if not len(missing):
        return rows, torch.ones_like(rows.flat, dtype=torch.bool)
    everything, order = torch.cat([rows.flat, missing]).sort()
    old = order < len(rows.flat)
    width = ids.shape[1]
    target = torch.zeros_like(everything)
    target[old] = rows.target[order[old]]
    number = torch.full_like(rows.number, -1)
    sample, position = everything // width, everything % width + 1
    number[sample[old], position[old]] = old.nonzero().squeeze(1)
    return Rows(sample, position, target, everything, number), old


def engine_rows(rows: Rows, flat: Tensor) -> Tensor:
    """int64 [n]: numbers of the rows `flat` among rows.flat (ascending); all must be there."""
    return torch.searchsorted(rows.flat, flat)


def group_cuts(rows: Rows, at: Tensor, factor_at: Tensor, factor_group: Tensor) -> Tensor:
    """bool [R]: a chunk may begin anywhere but inside a group; `at` [G], `factor_at` [F] are engine rows."""
    first, last = at.clone(), at.clone()
    first.scatter_reduce_(0, factor_group, factor_at, "amin")
    last.scatter_reduce_(0, factor_group, factor_at, "amax")
    depth = torch.zeros(len(rows) + 1, dtype=torch.int64, device=at.device)
    several = last > first
    depth.index_add_(0, first[several] + 1, torch.ones_like(first[several]))
    depth.index_add_(0, last[several] + 1, -torch.ones_like(first[several]))
    return depth[:-1].cumsum(0) == 0
