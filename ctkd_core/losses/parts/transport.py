"""Entropic optimal transport in the log domain, differentiable, batched over leading dimensions."""

from __future__ import annotations

import torch
from torch import Tensor


def sinkhorn_plan(
    cost: Tensor, epsilon: float, iterations: int, log_a: Tensor | None = None, log_b: Tensor | None = None
) -> Tensor:
    """Transport plan [..., n, m] of exp(-cost / epsilon) after `iterations` scalings of rows, then columns.

    log_a [..., n], log_b [..., m]: log marginals, default 0 (ones: Sinkhorn's doubly stochastic form, which has no
    solution for n != m; the last scaling then fixes the columns). Entries of -inf in a marginal are left out.
    """
    log_k = -cost / epsilon
    log_a = torch.zeros_like(cost[..., 0]) if log_a is None else log_a
    log_b = torch.zeros_like(cost[..., 0, :]) if log_b is None else log_b
    u = torch.zeros_like(log_a)
    v = torch.zeros_like(log_b)
    for _ in range(iterations):
        u = log_a - torch.logsumexp(log_k + v[..., None, :], dim=-1)
        v = log_b - torch.logsumexp(log_k + u[..., :, None], dim=-2)
    return (log_k + u[..., :, None] + v[..., None, :]).exp()


def transport_cost(plan: Tensor, cost: Tensor) -> Tensor:
    """[...]: sum of plan * cost over the last two dimensions."""
    return (plan * cost).sum(dim=(-2, -1))
