"""Span groups as the released SeDi program makes them.

It differs from the clean method in three ways: an empty span at p touches [a, b) when a <= p < b, tokens without a
partner vanish, and texts whose sides don't end at one character are refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from ctkd_core.errors import AlignmentError

Span = Sequence[int]


def span_groups(student: Sequence[Span], teacher: Sequence[Span]) -> list[tuple[list[int], list[int]]]:
    """Groups (student tokens, teacher tokens) of half-open character spans, in text order. O(n m).

    Raises AlignmentError when the sides end at different characters.
    """
    if (list(student[-1:]) and student[-1][1]) != (list(teacher[-1:]) and teacher[-1][1]):
        raise AlignmentError(
            f"the student's spans end at {[x[1] for x in student[-1:]]}, the teacher's at "
            f"{[x[1] for x in teacher[-1:]]}; the released program stops here."
        )
    groups: list[tuple[set[int], set[int]]] = []
    for i, mine in enumerate(student):
        touched = {j for j, other in enumerate(teacher) if _touches(mine, other)}
        if not touched:
            continue
        joined: tuple[set[int], set[int]] = ({i}, touched)
        apart = []
        for group in groups:
            if group[1] & touched:
                joined = (joined[0] | group[0], joined[1] | group[1])
            else:
                apart.append(group)
        groups = [*apart, joined]
    return sorted((sorted(s), sorted(t)) for s, t in groups)


def _touches(a: Span, b: Span) -> bool:
    if a[0] == a[1] and b[0] == b[1]:
        return False
    if a[0] == a[1]:
        return b[0] <= a[0] < b[1]
    if b[0] == b[1]:
        return a[0] <= b[0] < a[1]
    return not (a[1] <= b[0] or b[1] <= a[0])
