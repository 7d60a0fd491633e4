"""Comparing rows of non-negative numbers that need not sum to one: sorted L1, and the JSD on raw numbers.

Both give the value of each row and the slope that its gradient is made of.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ctkd_core.losses.engine.engine import Buffers

# Source: TRL 1.16, GOLD: probabilities are clamped from below before their logarithm.
PROBABILITY_FLOOR = 1e-8


def l1_of_sorted(p: Tensor, q: Tensor, signs: Tensor, limit: int | None = None) -> Tensor:
    """[g]: sum_i |p_(i) - q_(i)| of rows p [g, n] and q [g, m], the shorter padded with zeros.

    signs: [g, n], receives d value / d p. Entries lie in [0, 1]. limit: only the largest entries of either side count.
    """
    if p.device.type == "cpu" and p.dtype == torch.float32:
        from ctkd_core.losses.kernels.sorted_l1 import sorted_gaps

        values = sorted_gaps(p.numpy(), q.numpy(), signs.numpy(), threads=torch.get_num_threads(), limit=limit)
        return torch.from_numpy(values).to(p.dtype)
    gap, order = sorted_gap(p, q)
    if limit is not None:
        gap[:, limit:] = 0.0
    signs.scatter_(1, order, gap[:, : p.shape[1]].sign())
    return gap.abs().sum(dim=1)


def sorted_gap(p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """[g, max(n, m)]: p_(i) - q_(i) of rows p [g, n] and q [g, m], the shorter padded with zeros; int64 [g, n]: where
    each p_(i) stands in p.
    """
    p_sorted, order = p.sort(dim=1, descending=True)
    q_sorted = q.sort(dim=1, descending=True).values
    width = max(p.shape[1], q.shape[1])
    pad = torch.nn.functional.pad
    return pad(p_sorted, (0, width - p.shape[1])) - pad(q_sorted, (0, width - q.shape[1])), order


def raw_jsd(p: Tensor, q: Tensor, beta: float, buffers: Buffers) -> tuple[Tensor, Tensor]:
    """Generalised JSD(beta) of raw rows p, q [g, n]: values [g], and d value / d log p [g, n].

    beta 0: sum q log(q / p); beta 1: sum p log(p / q); else beta KL(q || m) + (1 - beta) KL(p || m) with
    m = beta q + (1 - beta) p. Numbers below PROBABILITY_FLOOR count as that and get no gradient. Overwrites p and q.
    """
    low = buffers.take("floored", *p.shape).copy_(p <= PROBABILITY_FLOOR) if p.numel() else p
    p, q = p.clamp_(min=PROBABILITY_FLOOR), q.clamp_(min=PROBABILITY_FLOOR)
    log_p = torch.log(p, out=buffers.take("log p", *p.shape))
    log_q = torch.log(q, out=buffers.take("log q", *q.shape))
    if beta == 0.0:
        value, slope = log_q.sub_(log_p).mul_(q).sum(dim=1), q.neg_()
    elif beta == 1.0:
        slope = log_p.sub_(log_q).mul_(p)
        value = slope.sum(dim=1)
        slope.add_(p)
    else:
        log_m = torch.lerp(p, q, beta, out=buffers.take("log m", *p.shape)).log_()
        value = beta * log_q.sub_(log_m).mul_(q).sum(dim=1)
        # What the mixture contributes to d / dp, (beta q + (1 - beta) p) / m = 1, takes the "+ 1" of p log p away.
        slope = log_p.sub_(log_m).mul_(p).mul_(1.0 - beta)
        value = value + slope.sum(dim=1)
    return value, slope.mul_(low.neg_().add_(1.0)) if p.numel() else slope
