"""Common and uncommon ids of two vocabularies under a map: X-Token's sets for H-KL and for its GOLD baseline.

Source: NVIDIA NeMo-RL, cross-tokenizer loss; X-Token (arXiv 2605.21699) accepts every argmax instead of those of at
least 0.6. Both read a row's heaviest entry only and give one-to-one pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctkd_core.errors import ProjectionError, unknown

RULES = ("strict", "relaxed")
RELAXED_WEIGHT = 0.6  # released code


@dataclass(frozen=True, eq=False)
class Partition:
    """common int64 [C, 2]: student and teacher ids, ascending; uncommon_student, uncommon_teacher int64, ascending."""

    common: NDArray[np.int64]
    uncommon_student: NDArray[np.int64]
    uncommon_teacher: NDArray[np.int64]


def partition(
    indices: NDArray[np.int64],
    likelihoods: NDArray[np.float32],
    n_teacher: int,
    rule: str = "relaxed",
    least: float = RELAXED_WEIGHT,
) -> Partition:
    """The sets of a map in dense form, `indices` and `likelihoods` [Vs, K], -1 and 0 in unused slots.

    strict   a row of one entry of weight 1; of several student tokens that claim a teacher token the lowest id has it
    relaxed  a heaviest entry of at least `least`; the heaviest claim has it, of equal ones the lowest id

    Raises ProjectionError for another rule or arrays of different shapes.
    """
    if rule not in RULES:
        raise unknown("rule of partition", rule, RULES, ProjectionError)
    if indices.shape != likelihoods.shape or indices.ndim != 2 or not indices.shape[1]:
        raise ProjectionError(
            f"indices {list(indices.shape)} and likelihoods {list(likelihoods.shape)} must both be [Vs, K] with K > 0."
        )
    student = np.arange(len(indices))
    best = likelihoods.argmax(axis=1)
    teacher, weight = indices[student, best], likelihoods[student, best]
    if rule == "strict":
        claims = (weight == 1.0) & ((indices >= 0).sum(axis=1) == 1) & (teacher >= 0)
        order = np.flatnonzero(claims)
    else:
        claims = (weight >= least) & (weight > 0) & (teacher >= 0)
        order = np.flatnonzero(claims)
        order = order[np.lexsort((order, -weight[order]))]
    _, first = np.unique(teacher[order], return_index=True)
    taken = np.sort(order[first])
    common = np.stack([taken, teacher[taken]], axis=1)
    free = np.ones(n_teacher, dtype=np.bool_)
    free[common[:, 1]] = False
    return Partition(common, np.setdiff1d(student, taken), np.flatnonzero(free))
