"""One group in detail: what both sides say, and which methods see it the same way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ctkd_core.alignment.base import Alignment
from ctkd_core.encoding import Encoding
from ctkd_core.errors import AlignmentError
from ctkd_core.figures.theme import KIND_STYLES
from ctkd_core.figures.visible import hex_bytes, shorten, visible, visible_bytes

CONTEXT = 24
MAX_TOKENS = 12


@dataclass(frozen=True)
class Side:
    """One side of a group: its tokens as they are shown, ids, bytes in hex."""

    tokenizer: str
    start: int
    end: int
    tokens: tuple[str, ...]
    ids: tuple[int, ...]
    text: str
    hex: str
    more: int  # tokens that are left out


@dataclass(frozen=True)
class Verdict:
    """What another method does with the tokens of the group."""

    method: str
    agrees: bool
    sentence: str


@dataclass(frozen=True)
class GroupCard:
    """A group as the page shows it; `same_text` is None for a one-sided group."""

    group: int
    kind: str
    meaning: str
    student: Side
    teacher: Side
    same_text: bool | None
    before: str
    after: str
    verdicts: tuple[Verdict, ...]


def group_card(alignment: Alignment, group: int, others: Iterable[Alignment] = ()) -> GroupCard:
    """The card of one group. `others` are alignments of the same text by other methods.

    Raises AlignmentError for a group that doesn't exist.
    """
    if not 0 <= group < len(alignment):
        raise AlignmentError(f"there is no group {group}; this alignment has {len(alignment)}, counted from 0.")
    s0, s1, t0, t1 = (int(v) for v in alignment.groups[group])
    student, teacher = _side(alignment.student, s0, s1), _side(alignment.teacher, t0, t1)
    kind = alignment.kind(group)
    same = None
    if s1 > s0 and t1 > t0:
        same = alignment.student_bytes(group).lstrip(b" ") == alignment.teacher_bytes(group).lstrip(b" ")
    before, after = _context(alignment, s0, s1, t0, t1)
    verdicts = tuple(_verdict(alignment, group, other) for other in others if other is not alignment)
    return GroupCard(group, kind, KIND_STYLES[kind].meaning, student, teacher, same, before, after, verdicts)


def _side(encoding: Encoding, start: int, end: int) -> Side:
    shown = range(start, min(end, start + MAX_TOKENS))
    whole = b"".join(encoding.token_bytes[start:end])
    return Side(
        tokenizer=encoding.tokenizer,
        start=start,
        end=end,
        tokens=tuple(shorten(visible_bytes(encoding.token_bytes[i]), 40) for i in shown),
        ids=tuple(int(encoding.ids[i]) for i in shown),
        text=shorten(visible_bytes(whole), 160),
        hex=hex_bytes(whole),
        more=max(0, end - start - MAX_TOKENS),
    )


def _context(alignment: Alignment, s0: int, s1: int, t0: int, t1: int) -> tuple[str, str]:
    spans = alignment.student.spans[s0:s1] if s1 > s0 else alignment.teacher.spans[t0:t1]
    data = alignment.student.text.encode("utf-8", errors="surrogatepass")
    start, end = (int(spans[:, 0].min()), int(spans[:, 1].max())) if len(spans) else (0, 0)
    before = data[max(0, start - 4 * CONTEXT) : start].decode("utf-8", "ignore")[-CONTEXT:]
    after = data[end : end + 4 * CONTEXT].decode("utf-8", "ignore")[:CONTEXT]
    return visible(before), visible(after)


def _verdict(alignment: Alignment, group: int, other: Alignment) -> Verdict:
    row = alignment.groups[group]
    s0, s1, t0, t1 = (int(v) for v in row)
    g = other.groups
    touched = ((g[:, 0] < s1) & (g[:, 1] > s0)) | ((g[:, 2] < t1) & (g[:, 3] > t0))
    found = g[touched]
    if len(found) == 1 and _same(found[0], row):
        return Verdict(other.method, True, "has the same group")
    if not len(found):
        return Verdict(other.method, False, "leaves these tokens out")
    pieces = []
    for a, b, c, d in found[:3].tolist():
        left = shorten(visible_bytes(b"".join(other.student.token_bytes[a:b])), 24) or "∅"
        right = shorten(visible_bytes(b"".join(other.teacher.token_bytes[c:d])), 24) or "∅"
        pieces.append(f"[{left} ~ {right}]")  # brackets as in `ctkd compare`: a token may be a comma
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return Verdict(other.method, False, "pairs " + " ".join(pieces) + more)


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    empty = (a[0] == a[1], a[2] == a[3]), (b[0] == b[1], b[2] == b[3])
    if empty[0] != empty[1]:
        return False
    return bool((empty[0][0] or (a[:2] == b[:2]).all()) and (empty[0][1] or (a[2:] == b[2:]).all()))


def next_difference(differing: np.ndarray, alignment: Alignment, after: int | None) -> int | None:
    """The first group of the next differing stretch behind group `after` (from the start again at the end).

    differing  int32 [k, 4], as `ctkd_core.metrics.agreement` gives it. None when there is none.
    """
    if not len(differing) or not len(alignment):
        return None
    starts = [group_at(alignment, int(s0), int(t0)) for s0, _, t0, _ in differing]
    later = [g for g in starts if after is None or g > after]
    return later[0] if later else starts[0]


def group_at(alignment: Alignment, student: int, teacher: int) -> int:
    """The first group that reaches to or past these positions."""
    behind = (alignment.groups[:, 1] > student) | (alignment.groups[:, 3] > teacher)
    return int(np.argmax(behind)) if behind.any() else len(alignment) - 1
