"""Which way a text runs: from left to right or from right to left."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Literal

Direction = Literal["ltr", "rtl"]
_LEFT, _RIGHT, _NUMBERS = ("L",), ("R", "AL"), ("EN", "AN")


def base_direction(text: str) -> Direction:
    """The direction of the first letter that has one, as in `dir="auto"` (Unicode's rules P2 and P3); else "ltr"."""
    return _of_letters(text) or "ltr"


def own_direction(text: str) -> Direction | None:
    """The direction in which a piece of text is read: that of its first letter, else "ltr" with a digit, else None."""
    has_digits = any(unicodedata.bidirectional(character) in _NUMBERS for character in text)
    return _of_letters(text) or ("ltr" if has_digits else None)


def _of_letters(text: str) -> Direction | None:
    for character in text:
        kind = unicodedata.bidirectional(character)
        if kind in _RIGHT:
            return "rtl"
        if kind in _LEFT:
            return "ltr"
    return None


def against(pieces: Sequence[str], base: Direction) -> list[bool]:
    """Of pieces in their order, those in a stretch of two or more that runs the other way than `base`.

    Laid out along `base`, such a stretch stands reversed. Pieces without a direction count where they stand inside one.
    """
    ways = [own_direction(piece) for piece in pieces]
    other = "ltr" if base == "rtl" else "rtl"
    out = [False] * len(ways)
    at = 0
    while at < len(ways):
        if ways[at] != other:
            at += 1
            continue
        end = last = at + 1
        while end < len(ways) and ways[end] in (other, None):
            end += 1
            last = end if ways[end - 1] == other else last
        if last - at > 1:
            out[at:last] = [True] * (last - at)
        at = last
    return out
