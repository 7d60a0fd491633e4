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

# Estimators of the KL from log r, r = (p_T / p_S)^(1 / temperature), of the text alone (Schulman's k2 and k3).
RATIOS: dict[str, Callable[[Tensor], Tensor]] = {
    "k2": lambda log_r: log_r.square() / 2,
    "k3": lambda log_r: log_r.expm1() - log_r,
}


def _renyi(p: Tensor, q: Tensor, alpha: float) -> Tensor:
    if alpha == 1.0:  # the limit
        return _kl(p, q)
    text = alpha * p + (1.0 - alpha) * q
    other = alpha * log1m_exp(p) + (1.0 - alpha) * log1m_exp(q)
    return torch.logaddexp(text, other) / (alpha - 1.0)


def compare(kind: str, teacher: Tensor, student: Tensor, temperature: float, renyi_alpha: float = 0.5) -> Tensor:
    """Value of each chunk [n] from log-probabilities [n] <= 0, float32 or finer.

    `renyi_alpha`: order of "renyi", which like the limits looks at the probabilities as they are, whatever the
    temperature.
    """
    if kind in LIMITS:
        return LIMITS[kind](teacher, student)
    if kind in RATIOS:
        return RATIOS[kind]((teacher - student) / temperature)
    if kind == "renyi":
        return _renyi(teacher - EPSILON, student - EPSILON, renyi_alpha)
    return DIVERGENCES[kind](teacher / temperature - EPSILON, student / temperature - EPSILON)


KINDS = (*DIVERGENCES, *LIMITS, *RATIOS, "renyi")
