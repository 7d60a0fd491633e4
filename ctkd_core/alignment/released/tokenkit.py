"""Token groups as tokenkit makes them: both sides as byte strings, a group closes where the running lengths are equal.

Source: bminixhofer/tokenkit at bcacdef4 (ALM, arXiv 2503.20083).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Groups = list[tuple[list[int], list[int]]]


def byte_walk(
    student: Sequence[bytes], teacher: Sequence[bytes], may_close: Callable[[int, int], bool] | None = None
) -> Groups:
    """Groups of equal text; groups whose bytes differ are dropped, and so is what is left when one side ends.

    The side with fewer blanks at the start is padded to match. `may_close(i, j)` says whether a group may end before
    student token i and teacher token j (default: always).
    """
    student, teacher = _padded(student, teacher), _padded(teacher, student)
    groups: Groups = []
    i = j = i0 = j0 = 0
    mine = theirs = b""
    while True:
        if mine and len(mine) == len(theirs) and (may_close is None or may_close(i, j)):
            if mine == theirs:
                groups.append((list(range(i0, i)), list(range(j0, j))))
            i0, j0, mine, theirs = i, j, b"", b""
        if len(mine) <= len(theirs) and i < len(student):
            mine += student[i]
            i += 1
        elif len(theirs) <= len(mine) and j < len(teacher):
            theirs += teacher[j]
            j += 1
        else:
            return groups


def _padded(side: Sequence[bytes], other: Sequence[bytes]) -> Sequence[bytes]:
    missing = _leading_blanks(other) - _leading_blanks(side)
    return [b" " * missing + side[0], *side[1:]] if missing > 0 and side else side


def _leading_blanks(side: Sequence[bytes]) -> int:
    text = b"".join(side)
    return len(text) - len(text.lstrip(b" "))
