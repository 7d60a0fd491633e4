"""What the released CDM program makes of a path: alignment lists, and groups that may overlap.

Source: released code of arXiv 2502.11104 ("dual" variant), as described in its notes; the clean method takes the
connected components of the path instead (`dtw.path_groups`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def alignment_lists(pairs: NDArray[np.int32], n: int, m: int) -> tuple[list[list[int]], list[list[int]]]:
    """Per student token its teacher tokens, per teacher token its student tokens, ascending; pairs int32 [P, 2]."""
    of_student: list[list[int]] = [[] for _ in range(n)]
    of_teacher: list[list[int]] = [[] for _ in range(m)]
    for i, j in pairs.tolist():
        of_student[i].append(j)
        of_teacher[j].append(i)
    return of_student, of_teacher


def merge_groups(of_teacher: Sequence[Sequence[int]]) -> list[list[int]]:
    """Student tokens of each group: the distinct lists of the teacher tokens, by first appearance. They may overlap."""
    return [list(group) for group in dict.fromkeys(tuple(students) for students in of_teacher)]
