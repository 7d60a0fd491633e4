"""CDM's alignment written plainly, as the released program works: a distance and a cell at a time, in Python.

Written from the description in docs/methods/cdm.md, for comparison of time only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def released_cdm(
    student: Sequence[str], teacher: Sequence[str], student_entropy: Sequence[float], teacher_entropy: Sequence[float]
) -> tuple[float, list[tuple[int, int]], list[list[int]]]:
    """Cost, path (student, teacher) and the student lists that the program merges."""
    s_weights, t_weights = _weights(student_entropy), _weights(teacher_entropy)
    n, m = len(student), len(teacher)
    total = [[math.inf] * (m + 1) for _ in range(n + 1)]
    total[0][0] = 0.0
    for i in range(n):
        for j in range(m):
            distance = _levenshtein(student[i].replace(" ", ""), teacher[j].replace(" ", ""))
            best = min(total[i][j], total[i + 1][j], total[i][j + 1])
            total[i + 1][j + 1] = distance * s_weights[i] * t_weights[j] + best
    i, j, path = n, m, [(n - 1, m - 1)]
    while (i, j) != (1, 1):
        steps = ((i - 1, j - 1), (i, j - 1), (i - 1, j))
        i, j = min(steps, key=lambda cell: total[cell[0]][cell[1]])
        path.append((i - 1, j - 1))
    of_teacher: list[list[int]] = [[] for _ in range(m)]
    for i, j in reversed(path):
        of_teacher[j].append(i)
    merged = [list(group) for group in dict.fromkeys(tuple(x) for x in of_teacher)]
    return total[n][m], path[::-1], merged


def _weights(entropies: Sequence[float]) -> list[int]:
    low, high = min(entropies), max(entropies)
    return [int(3 + 3 / (1 + math.exp(2 - 4 * (h - low) / (high - low)))) for h in entropies]


def _levenshtein(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for p, x in enumerate(a, 1):
        corner, row[0] = row[0], p
        for q, y in enumerate(b, 1):
            corner, row[q] = row[q], min(row[q] + 1, row[q - 1] + 1, corner + (x != y))
    return row[len(b)]
