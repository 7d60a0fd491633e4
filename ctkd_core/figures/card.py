"""One group in detail: what both sides say, and which methods see it the same way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ctkd_core.alignment.base import Alignment
from ctkd_core.alignment.kinds import KIND_STYLES
from ctkd_core.markup.visible import hex_bytes, shorten, visible, visible_bytes
from ctkd_core.tokenizers.encoding import Encoding

if TYPE_CHECKING:
    from ctkd_core.lab.evidence import Evidence
    from ctkd_core.tokenizers.tokenizer import Tokenizer

CONTEXT = 24
MAX_TOKENS = 12
CANDIDATES = 3  # tokens that a model expects next, at most
MAX_VERDICT_PAIRS = 3


@dataclass(frozen=True)
class CardSide:
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
    """What other methods do with the tokens of the group; `methods` are those of one opinion."""

    methods: tuple[str, ...]
    agrees: bool
    sentence: str


@dataclass(frozen=True)
class GroupCard:
    """A group as the page shows it.

    `same_text`: whether its sides spell the same bytes of the text; None for one side alone.
    """

    group: int
    kind: str
    name: str  # of the kind, for people
    meaning: str
    student: CardSide
    teacher: CardSide
    same_text: bool | None
    before: str
    after: str
    verdicts: tuple[Verdict, ...]


def group_card(alignment: Alignment, group: int, others: Iterable[Alignment] = ()) -> GroupCard:
    """The card of one group. `others` are alignments of the same text by other methods.

    Raises AlignmentError for a group that doesn't exist.
    """
    alignment.check_group(group)
    s0, s1, t0, t1 = (int(v) for v in alignment.groups[group])
    student, teacher = _side(alignment.student, s0, s1), _side(alignment.teacher, t0, t1)
    kind = alignment.kind(group)
    same = None
    if s1 > s0 and t1 > t0:
        same = not alignment.unequal[group]
    before, after = _context(alignment, s0, s1, t0, t1)
    opinions: dict[tuple[bool, str], list[str]] = {}
    for other in others:
        if other is not alignment:
            opinions.setdefault(_opinion(alignment, group, other), []).append(other.label)
    verdicts = tuple(
        Verdict(tuple(names), agrees, sentence)
        for (agrees, sentence), names in sorted(opinions.items(), key=lambda item: not item[0][0])
    )
    style = KIND_STYLES[kind]
    return GroupCard(group, kind, style.name, style.meaning, student, teacher, same, before, after, verdicts)


def uncertainty(alignment: Alignment, group: int, evidence: Evidence, side: str) -> tuple[float, ...]:
    """Entropies in nats after each token of one side ("student" or "teacher") of the group, at most 12 of them."""
    first, last = alignment.groups[group, :2] if side == "student" else alignment.groups[group, 2:]
    return tuple(float(h) for h in getattr(evidence, f"{side}_entropy")[first : min(last, first + MAX_TOKENS)])


def expected(
    alignment: Alignment, group: int, evidence: Evidence, side: str, tokenizer: Tokenizer
) -> tuple[tuple[str, float], ...]:
    """What a model expects after the last token of its side of the group: (text, probability), most likely first."""
    first, last = alignment.groups[group, :2] if side == "student" else alignment.groups[group, 2:]
    if first == last:
        return ()
    ids = getattr(evidence, f"{side}_top_ids")[last - 1, :CANDIDATES].tolist()
    p = np.exp(getattr(evidence, f"{side}_top_logprobs")[last - 1, :CANDIDATES]).tolist()
    return tuple(
        (shorten(visible_bytes(tokenizer.token_bytes(i)) if i < tokenizer.n_ids else f"#{i}", 16), q)
        for i, q in zip(ids, p)
    )


def _side(encoding: Encoding, start: int, end: int) -> CardSide:
    shown = range(start, min(end, start + MAX_TOKENS))
    whole = b"".join(encoding.token_bytes[start:end])
    return CardSide(
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


def _opinion(alignment: Alignment, group: int, other: Alignment) -> tuple[bool, str]:
    """Whether `other` has the same group, and a sentence."""
    row = alignment.groups[group]
    s0, s1, t0, t1 = (int(v) for v in row)
    g = other.groups
    touched = ((g[:, 0] < s1) & (g[:, 1] > s0)) | ((g[:, 2] < t1) & (g[:, 3] > t0))
    found = g[touched]
    if len(found) == 1 and _same(found[0], row):
        return True, "same group"
    if not len(found):
        return False, "left out"
    pieces = []
    for a, b, c, d in found[:MAX_VERDICT_PAIRS].tolist():
        left = shorten(visible_bytes(b"".join(other.student.token_bytes[a:b])), 24) or "∅"
        right = shorten(visible_bytes(b"".join(other.teacher.token_bytes[c:d])), 24) or "∅"
        pieces.append(f"[{left} ~ {right}]")  # brackets as in `ctkd compare`: a token may be a comma
    more = f" and {len(found) - MAX_VERDICT_PAIRS} more" if len(found) > MAX_VERDICT_PAIRS else ""
    return False, " ".join(pieces) + more


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    empty = (a[0] == a[1], a[2] == a[3]), (b[0] == b[1], b[2] == b[3])
    if empty[0] != empty[1]:
        return False
    return bool((empty[0][0] or (a[:2] == b[:2]).all()) and (empty[0][1] or (a[2:] == b[2:]).all()))


def next_difference(differing: np.ndarray, alignment: Alignment, after: int | None) -> int | None:
    """The first group of the next differing stretch behind group `after` (from the start again at the end).

    differing  int32 [k, 4], as `ctkd_core.alignment.metrics.agreement` gives it. None when there is none.
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
