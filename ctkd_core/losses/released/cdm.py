"""CDM's distillation term as released (NumPy, for comparison only; it doesn't train).

Its slips: the two passes share one soft-max with the models' roles swapped in the second half, only the student side
is tempered, and tau squared multiplies the logarithm instead of the loss. Source: released code of arXiv 2502.11104.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Logit of a slot without a partner, on both sides.
NOTHING = -10000.0


def slots(logits: NDArray[np.float64], ids: NDArray[np.int64], mapped: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Logits [G, K] at ids [G, K] of rows [G, V]; -10000 where `mapped` is False."""
    return np.where(mapped, np.take_along_axis(logits, ids, axis=1), NOTHING)


def slot_terms(target: NDArray[np.float64], student: NDArray[np.float64], tau: float) -> NDArray[np.float64]:
    """p (tau^2 log p - log q) per slot [G, 2K], p = softmax(target), q = softmax(student / tau); a KL if tau = 1."""
    log_p, log_q = log_softmax(target), log_softmax(student / tau)
    return np.exp(log_p) * (tau**2 * log_p - log_q)


def kl(target: NDArray[np.float64], student: NDArray[np.float64]) -> NDArray[np.float64]:
    """KL(softmax(target) || softmax(student)) in nats per row [G]."""
    log_p, log_q = log_softmax(target), log_softmax(student)
    return (np.exp(log_p) * (log_p - log_q)).sum(axis=1)


def log_softmax(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of the soft-max over the last axis."""
    shifted = z - z.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
