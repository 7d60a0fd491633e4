"""Slow twins of the aligners, and what released programs make of their groups: obvious, the oracles of the tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ctkd_core.errors import AlignmentError


def components_networkx(
    student_spans: NDArray[np.int64], teacher_spans: NDArray[np.int64], empty_touch: bool = False
) -> set[tuple[frozenset[int], frozenset[int]]]:
    """Connected components of the overlap graph, each (student tokens, teacher tokens). O(n m).

    empty_touch: an empty span at p touches [a, b) when a <= p < b, as in the released SeDi program.
    """
    import networkx as nx

    graph = nx.Graph()
    graph.add_nodes_from(("student", i) for i in range(len(student_spans)))
    graph.add_nodes_from(("teacher", j) for j in range(len(teacher_spans)))
    for i, (a, b) in enumerate(student_spans):
        for j, (c, d) in enumerate(teacher_spans):
            overlap = max(a, c) < min(b, d)  # the intersection isn't empty
            touch = empty_touch and ((a == b and c <= a < d) or (c == d and a <= c < b))
            if overlap or touch:
                graph.add_edge(("student", i), ("teacher", j))
    return {
        (frozenset(k for side, k in nodes if side == "student"), frozenset(k for side, k in nodes if side == "teacher"))
        for nodes in nx.connected_components(graph)
    }


def dtw_plain(cost: NDArray[np.float64]) -> tuple[NDArray[np.float64], list[tuple[int, int]]]:
    """Accumulated cost [n, m] and path of a cost matrix [student, teacher], cell by cell.

    Ties: diagonal, then teacher - 1, then student - 1. Raises AlignmentError for an empty matrix.
    """
    n, m = cost.shape
    if n == 0 or m == 0:
        raise AlignmentError(f"a path needs tokens on both sides; the cost matrix is {n} x {m}.")
    total = np.full((n + 1, m + 1), np.inf)
    total[0, 0] = 0.0
    for i in range(n):
        for j in range(m):
            total[i + 1, j + 1] = cost[i, j] + min(total[i, j], total[i + 1, j], total[i, j + 1])
    i, j = n, m
    path = [(n - 1, m - 1)]
    while (i, j) != (1, 1):
        steps = [
            (total[i - 1, j - 1], 0, (i - 1, j - 1)),
            (total[i, j - 1], 1, (i, j - 1)),
            (total[i - 1, j], 2, (i - 1, j)),
        ]
        i, j = min(steps)[2]
        path.append((i - 1, j - 1))
    return total[1:, 1:], path[::-1]


def levenshtein(a: str, b: str) -> int:
    """Edit distance, the textbook recurrence."""
    row = list(range(len(b) + 1))
    for p, x in enumerate(a, 1):
        corner, row[0] = row[0], p
        for q, y in enumerate(b, 1):
            corner, row[q] = row[q], min(row[q] + 1, row[q - 1] + 1, corner + (x != y))
    return row[-1]


def path_components(pairs: NDArray[np.int32]) -> set[tuple[frozenset[int], frozenset[int]]]:
    """Connected components of the pairs of a path, each (student tokens, teacher tokens)."""
    import networkx as nx

    graph = nx.Graph((("student", int(i)), ("teacher", int(j))) for i, j in pairs)
    return {
        (frozenset(k for side, k in nodes if side == "student"), frozenset(k for side, k in nodes if side == "teacher"))
        for nodes in nx.connected_components(graph)
    }


def span_alignment_plain(
    student: Sequence[bytes], teacher: Sequence[bytes], max_span: int = 4
) -> tuple[float, list[tuple[int, int, int, int]]]:
    """Score and groups of X-Token's dynamic program over a whole text, without anchors and repair.

    Scores: 3 for equal strings, -3 for unequal ones, 1.5 a token of a span, -1.5 a gap. Ties: diagonal, student gap,
    teacher gap, then spans of the teacher, then of the student, shorter ones first.
    """
    n, m = len(student), len(teacher)
    best = {(0, 0): 0.0}
    came: dict[tuple[int, int], tuple[int, int]] = {}
    for i in range(n + 1):
        for j in range(m + 1):
            ways: list[tuple[float, tuple[int, int]]] = []
            if i and j:
                ways.append((3.0 if student[i - 1] == teacher[j - 1] else -3.0, (1, 1)))
            if i:
                ways.append((-1.5, (1, 0)))
            if j:
                ways.append((-1.5, (0, 1)))
            if i and j:
                spans = range(2, max_span + 1)
                ways += [(1.5 * k, (1, k)) for k in spans if k <= j and student[i - 1] == b"".join(teacher[j - k : j])]
                ways += [(1.5 * k, (k, 1)) for k in spans if k <= i and b"".join(student[i - k : i]) == teacher[j - 1]]
            for gain, (s, t) in ways:
                score = best[i - s, j - t] + gain
                if (i, j) not in best or score > best[i, j]:
                    best[i, j], came[i, j] = score, (s, t)
    groups = []
    i, j = n, m
    while i or j:
        s, t = came[i, j]
        groups.append((i - s, i, j - t, j))
        i, j = i - s, j - t
    return best[n, m], groups[::-1]


def incremental_pieces(prefixes: Sequence[str]) -> list[str]:
    """What each token adds to the decoded text, given the decoded prefixes up to and including each token (TRL).

    Text before the previous length is never looked at again: a replacement character that a later token completes
    adds nothing.
    """
    pieces, length = [], 0
    for prefix in prefixes:
        pieces.append(prefix[length:])
        length = len(prefix)
    return pieces


def text_buffer_groups(student: Sequence[str], teacher: Sequence[str]) -> list[tuple[list[int], list[int]]]:
    """Grow two text buffers and close a group whenever they are equal and not empty.

    The shorter buffer is extended, ties extend the student; buffers that never meet again end as one last group. Plain
    and quadratic; `greedy.buffer_groups` gives the same in one pass. Source: huggingface/trl, the parent of 2ac060ee.
    """
    groups: list[tuple[list[int], list[int]]] = []
    i = j = i0 = j0 = 0
    mine = theirs = ""
    while i < len(student) or j < len(teacher):
        extend_student = i < len(student) and (len(mine) <= len(theirs) or j == len(teacher))
        if extend_student:
            mine += student[i]
            i += 1
        else:
            theirs += teacher[j]
            j += 1
        if mine and mine == theirs:
            groups.append((list(range(i0, i)), list(range(j0, j))))
            i0, j0, mine, theirs = i, j, "", ""
    if i0 < i or j0 < j:
        groups.append((list(range(i0, i)), list(range(j0, j))))
    return groups


def merged_logits(
    student_logits: NDArray[np.float64],
    teacher_logits: NDArray[np.float64],
    of_student: Sequence[Sequence[int]],
    groups: Sequence[Sequence[int]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean logits [G, Vs] and [G, Vt] of each group, as the released CDM program takes them.

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
    """Whether the texts of both sides of each group are equal once blanks are deleted (released CDM)."""
    equal = []
    for group in groups:
        teachers = sorted({j for i in group for j in of_student[i]})
        mine = "".join(student_tokens[i] for i in group)
        theirs = "".join(teacher_tokens[j] for j in teachers)
        equal.append(mine.replace(" ", "") == theirs.replace(" ", ""))
    return equal
