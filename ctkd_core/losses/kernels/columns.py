"""Numba loops behind `parts/columns.py`: a scatter along columns, which torch does ten times slower on a CPU."""

from __future__ import annotations

import numpy as np

from ctkd_core.files.machine_code import njit


@njit(nogil=True)
def project(p, student, column, weight, out):  # type: ignore[no-untyped-def]
    """out[g, column[e]] += p[g, student[e]] * weight[e]."""
    for g in range(p.shape[0]):
        for e in range(student.size):
            out[g, column[e]] += p[g, student[e]] * weight[e]


@njit(nogil=True)
def back(slope, p, student, column, weight, out):  # type: ignore[no-untyped-def]
    """out[g, student[e]] += slope[g, column[e]] * weight[e] * p[g, student[e]]; returns the sums by row."""
    total = np.zeros(p.shape[0], dtype=p.dtype)
    for g in range(p.shape[0]):
        for e in range(student.size):
            pushed = slope[g, column[e]] * weight[e] * p[g, student[e]]
            out[g, student[e]] += pushed
            total[g] += pushed
    return total


@njit(nogil=True)
def add_moved(q, entries, place, rows, share, out):  # type: ignore[no-untyped-def]
    """out[rows[g], place[e]] += share[g] * q[g, entries[e]] / mass[g]; returns mass[g] = sum of q[g, entries]."""
    mass = np.zeros(q.shape[0], dtype=q.dtype)
    for g in range(q.shape[0]):
        total = 0.0
        for e in range(entries.size):
            total += q[g, entries[e]]
        mass[g] = total
        if total == 0.0:
            continue
        factor = q.dtype.type(share[g] / total)
        row = out[rows[g]]
        for e in range(entries.size):
            row[place[e]] += factor * q[g, entries[e]]
    return mass


@njit(nogil=True)
def add_largest(q, entries, place, rows, share, out):  # type: ignore[no-untyped-def]
    """As `add_moved`, but of several entries with one place only the largest counts."""
    mass = np.zeros(q.shape[0], dtype=q.dtype)
    best = np.empty(out.shape[1], dtype=q.dtype)
    for g in range(q.shape[0]):
        best[:] = 0
        for e in range(entries.size):
            x = q[g, entries[e]]
            if not x <= best[place[e]]:
                best[place[e]] = x
        total = best.sum()
        mass[g] = total
        if total == 0.0:
            continue
        factor = q.dtype.type(share[g] / total)
        row = out[rows[g]]
        for i in range(best.size):
            row[i] += factor * best[i]
    return mass
