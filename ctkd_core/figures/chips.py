"""What the token component draws: pages of about 200 tokens, whole groups only, as plain data.

Texts arrive as they will be shown (`visible_bytes`); the component puts them into the page with `textContent`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.alignment.base import Alignment
from ctkd_core.alignment.kinds import KIND_STYLES, KINDS, UNEQUAL, UNEQUAL_MEANING
from ctkd_core.figures.chip_names import named_tokens, texts_under
from ctkd_core.markup.colours import VERMILLION
from ctkd_core.markup.direction import against, base_direction, own_direction
from ctkd_core.markup.visible import hex_bytes, shorten, visible_bytes
from ctkd_core.tokenizers.encoding import Encoding

PAGE_TOKENS = 200
# A super-group may hold thousands of tokens; this many of each side are drawn.
MAX_TOKENS_OF_A_GROUP = 60
MAX_CHARACTERS = 48


def page_starts(alignment: Alignment, tokens: int = PAGE_TOKENS) -> NDArray[np.int64]:
    """First group of each page, int64 [P]; a page holds whole groups, `tokens` tokens of the longer side or fewer.

    A group that is larger than that has a page for itself.
    """
    sizes = np.minimum(alignment.sizes.max(axis=1), MAX_TOKENS_OF_A_GROUP) if len(alignment) else np.zeros(0, int)
    ends = np.cumsum(sizes)
    starts = [0]
    while starts[-1] < len(ends):
        before = int(ends[starts[-1] - 1]) if starts[-1] else 0
        following = int(np.searchsorted(ends, before + tokens, side="right"))
        starts.append(max(following, starts[-1] + 1))
    return np.array(starts[:-1] or [0], dtype=np.int64)


def page_of(starts: NDArray[np.int64], group: int) -> int:
    """The page that shows `group`, counted from 0."""
    return max(0, int(np.searchsorted(starts, group, side="right")) - 1)


def chip_page(
    alignment: Alignment, page: int = 0, other: Alignment | None = None, tokens: int = PAGE_TOKENS
) -> dict[str, Any]:
    """The data of one page for the component.

    Keys: teacher, student (names), groups (list of {g, k, s, t, d, x}: index, kind, tokens of each side as
    [index, id, text, hex], whether method B differs there, whether the sides spell different bytes; where there is
    something to say also ns, nt: names over tokens of a side as [first, end, characters, name], dir: a direction of its
    own, r: the text has these groups the other way round), b (groups of `other` in the stretches that differ, as
    [s0, s1, t0, t1]), kinds (style of each kind), unequal (how x is marked), first, last, total (group indices),
    methods, dir (of the text).
    """
    starts = page_starts(alignment, tokens)
    page = min(max(page, 0), len(starts) - 1)
    first = int(starts[page])
    last = int(starts[page + 1]) if page + 1 < len(starts) else len(alignment)
    differs, others = _differences(alignment, other, first, last)
    unequal = alignment.unequal[first:last]
    rows = alignment.groups[first:last].tolist()
    codes = alignment.kind_codes[first:last].tolist()
    student_names, teacher_names = (
        _named(side, rows, k) for side, k in ((alignment.student, 0), (alignment.teacher, 2))
    )
    base = base_direction(alignment.student.text)
    texts = texts_under(alignment, first, last)
    turned = against(texts, base)
    ways = [way if (way := own_direction(text)) not in (None, base) else "" for text in texts]
    return {
        "teacher": alignment.teacher.tokenizer,
        "student": alignment.student.tokenizer,
        "methods": [alignment.label, None if other is None else other.label],
        "groups": [
            {
                "g": first + k,
                "k": codes[k],
                "s": _tokens(alignment.student, s0, s1),
                "t": _tokens(alignment.teacher, t0, t1),
                "sn": s1 - s0,
                "tn": t1 - t0,
                "d": bool(differs[k]),
                "x": bool(unequal[k]),
            }
            | _drawn_if(ns=_names(student_names, s0, s1), nt=_names(teacher_names, t0, t1), r=turned[k], dir=ways[k])
            for k, (s0, s1, t0, t1) in enumerate(rows)
        ],
        "b": others,
        "kinds": [
            {
                "name": name,
                "label": style.name,
                "colour": style.colour,
                "border": style.border,
                "letter": style.letter,
                "why": style.meaning,
            }
            for name, style in ((name, KIND_STYLES[name]) for name in KINDS)
        ],
        "unequal": {"mark": UNEQUAL, "why": UNEQUAL_MEANING},
        "mark": VERMILLION,
        "dir": base,
        "first": first,
        "last": last,
        "total": len(alignment),
    }


def _named(encoding: Encoding, rows: list[list[int]], column: int) -> list[tuple[int, int, str, str]]:
    """Names over the tokens of one side of a page, whose groups are `rows`."""
    some = [row for row in rows if row[column + 1] > row[column]]
    if not some:
        return []
    start, end = some[0][column], some[-1][column + 1]
    return named_tokens(encoding, start, min(end, start + 2 * PAGE_TOKENS))  # of a super-group only the first are drawn


def _names(found: list[tuple[int, int, str, str]], start: int, end: int) -> list[list[Any]]:
    """The names over the tokens of one group, as [first, end, characters, name] counted from its first token."""
    return [
        [max(a, start) - start, min(b, end) - start, shown, name]
        for a, b, shown, name in found
        if a < end and b > start
    ]


def _drawn_if(**parts: Any) -> dict[str, Any]:
    """Those that say something: most groups have no name over them and run as the text does."""
    return {name: value for name, value in parts.items() if value}


def _tokens(encoding: Encoding, start: int, end: int) -> list[list[Any]]:
    shown = min(end, start + MAX_TOKENS_OF_A_GROUP)
    ids, texts = encoding.ids[start:shown].tolist(), encoding.token_bytes[start:shown]
    return [[start + k, ids[k], *_shown(data)] for k, data in enumerate(texts)]


@lru_cache(maxsize=2**14)
def _shown(data: bytes) -> tuple[str, str]:
    """A token's bytes as they are drawn, and in hex; a text repeats its tokens, and so does the next edit of it."""
    return shorten(visible_bytes(data), MAX_CHARACTERS), hex_bytes(data)


def _differences(
    alignment: Alignment, other: Alignment | None, first: int, last: int
) -> tuple[NDArray[np.bool_], list[list[int]]]:
    """bool [last - first]: groups inside a stretch where `other` differs; the groups of `other` that reach there."""
    none = np.zeros(last - first, dtype=np.bool_)
    if other is None or last <= first:
        return none, []
    differs = differing_groups(alignment, other)[first:last]
    if not differs.any():
        return differs, []
    mine = alignment.groups[first:last][differs]
    theirs = other.groups[differing_groups(other, alignment)]
    inside = (theirs[:, 0] < mine[:, 1].max()) & (theirs[:, 1] > mine[:, 0].min())
    inside |= (theirs[:, 2] < mine[:, 3].max()) & (theirs[:, 3] > mine[:, 2].min())
    return differs, theirs[inside].tolist()


def differing_groups(alignment: Alignment, other: Alignment) -> NDArray[np.bool_]:
    """bool [G]: groups of `alignment` that `other` doesn't have."""
    return ~np.isin(_keys(alignment.groups), _keys(other.groups))


def _keys(groups: NDArray[np.int32]) -> NDArray[np.complex128]:
    """One sortable value for each row of four; exact below 2**26 tokens a side. Empty sides count as equal."""
    g = groups.astype(np.float64)
    student = np.where(g[:, 0] == g[:, 1], -1, g[:, 0] * 2**26 + g[:, 1])
    teacher = np.where(g[:, 2] == g[:, 3], -1, g[:, 2] * 2**26 + g[:, 3])
    return student + 1j * teacher
