"""Divergences between two numbers: the log-probabilities of one text under teacher and student, as a yes-or-no event.

ALM looks at a chunk as the event "exactly this text" against everything else, so an f-divergence of two Bernoulli
distributions compares the models (a lower bound of the divergence over all texts). Source: arXiv 2503.20083, section 3
and its appendix E; the limits of a large temperature are the ones of the public code.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

EPSILON = 1e-6  # public code: keeps log-probabilities below 0


def log1m_exp(x: Tensor) -> Tensor:
    """log(1 - e^x) for x < 0, exact at both ends."""
    small = x < -0.6931471805599453
    near_zero = torch.log(-torch.expm1(torch.where(small, -1.0, x)))
    return torch.where(small, torch.log1p(-torch.exp(torch.where(small, x, -1.0))), near_zero)


def _binary_ce(p: Tensor, q: Tensor) -> Tensor:
    return -(p.exp() * q - torch.expm1(p) * log1m_exp(q))


def _kl(p: Tensor, q: Tensor) -> Tensor:
    return p.exp() * (p - q) - torch.expm1(p) * (log1m_exp(p) - log1m_exp(q))


def _reverse_kl(p: Tensor, q: Tensor) -> Tensor:
    return _kl(q, p)


def _reverse_binary_ce(p: Tensor, q: Tensor) -> Tensor:
    return _binary_ce(q, p)


def _tvd(p: Tensor, q: Tensor) -> Tensor:
    return (p.exp() - q.exp()).abs()


# (teacher, student) log-probabilities, divided by the temperature and shifted by EPSILON -> value; 0 at equality but
# for the cross-entropies.
DIVERGENCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "kl": _kl,
    "reverse_kl": _reverse_kl,
    "tvd": _tvd,
    "binary_ce": _binary_ce,
    "reverse_binary_ce": _reverse_binary_ce,
}


def _kl_limit(a: Tensor, b: Tensor) -> Tensor:
    a, b = a - EPSILON, b - EPSILON
    return (a - b) + a * torch.log(-b) - a * torch.log(-a)


# The temperature's limit of infinity, for the KL times it: log-probabilities as they are.
LIMITS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "kl_limit": _kl_limit,
    "tvd_limit": lambda a, b: (a - b).abs(),
}


def compare(kind: str, teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """Value of each chunk [n] from log-probabilities [n] <= 0, float32 or finer."""
    if kind in LIMITS:
        return LIMITS[kind](teacher, student)
    return DIVERGENCES[kind](teacher / temperature - EPSILON, student / temperature - EPSILON)


KINDS = (*DIVERGENCES, *LIMITS)
