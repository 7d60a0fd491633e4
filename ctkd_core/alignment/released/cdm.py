"""What the released CDM program makes of a path: alignment lists, groups that may overlap, twofold means.

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


def merged_logits(
    student_logits: NDArray[np.float64],
    teacher_logits: NDArray[np.float64],
    of_student: Sequence[Sequence[int]],
    groups: Sequence[Sequence[int]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean logits [G, Vs] and [G, Vt] of each group.

    The teacher's rows are averaged per student token first, then over the group's student tokens: a teacher token
    that faces several of them counts several times.
    """
    per_student = np.stack([teacher_logits[list(teachers)].mean(axis=0) for teachers in of_student])
    student = np.stack([student_logits[group].mean(axis=0) for group in groups])
    teacher = np.stack([per_student[group].mean(axis=0) for group in groups])
    return student, teacher


def text_equal(
    student_tokens: Sequence[str],
    teacher_tokens: Sequence[str],
    of_student: Sequence[Sequence[int]],
    groups: Sequence[Sequence[int]],
) -> list[bool]:
    """Whether the texts of both sides of each group are equal once blanks are deleted."""
    equal = []
    for group in groups:
        teachers = sorted({j for i in group for j in of_student[i]})
        mine = "".join(student_tokens[i] for i in group)
        theirs = "".join(teacher_tokens[j] for j in teachers)
        equal.append(mine.replace(" ", "") == theirs.replace(" ", ""))
    return equal
