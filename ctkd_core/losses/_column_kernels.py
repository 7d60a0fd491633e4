"""Numba loops behind `_columns.Part`: a scatter along columns, which torch does ten times slower on a CPU."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def project(p, student, column, weight, out):  # type: ignore[no-untyped-def]
    """out[g, column[e]] += p[g, student[e]] * weight[e]."""
    for g in range(p.shape[0]):
        for e in range(student.size):
            out[g, column[e]] += p[g, student[e]] * weight[e]


@njit(cache=True, nogil=True)
def back(slope, p, student, column, weight, out):  # type: ignore[no-untyped-def]
    """out[g, student[e]] += slope[g, column[e]] * weight[e] * p[g, student[e]]; returns the sums by row."""
    total = np.zeros(p.shape[0], dtype=p.dtype)
    for g in range(p.shape[0]):
        for e in range(student.size):
            pushed = slope[g, column[e]] * weight[e] * p[g, student[e]]
            out[g, student[e]] += pushed
            total[g] += pushed
    return total
