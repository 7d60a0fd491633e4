"""What a reader takes for one character, and its name: emoji of several code points, flags, letters with accents.

The rules are the part of Unicode's text segmentation (UAX #29) that emoji and combining marks need; Hangul syllables
written in parts and the like stay apart.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

JOINER, KEYCAP = "\u200d", "\u20e3"
_SELECTORS = ("\ufe0e", "\ufe0f")
_SKIN = range(0x1F3FB, 0x1F400)
_FLAG = range(0x1F1E6, 0x1F200)
# Blocks whose characters are drawn as pictures; digits and signs that may be are left out.
_PICTURES = (range(0x1F000, 0x1FB00), range(0x2600, 0x27C0), range(0x2B00, 0x2C00), range(0x2300, 0x2400))
MOST_NAMES = 6  # of one character


def clusters(text: str) -> Iterator[tuple[int, int]]:
    """Ranges of `text`, half-open, in order and without gaps: each holds one character with all that belongs to it."""
    start = 0
    while start < len(text):
        end = start + 1
        if ord(text[start]) in _FLAG and end < len(text) and ord(text[end]) in _FLAG:
            end += 1
        while end < len(text) and (_extends(text[end]) or text[end - 1] == JOINER):
            end += 1
        yield start, end
        start = end


def _extends(character: str) -> bool:
    """Whether a code point belongs to the character before it."""
    if character.isascii():
        return False
    return (
        character in (JOINER, KEYCAP, *_SELECTORS)
        or ord(character) in _SKIN
        or unicodedata.category(character) in ("Mn", "Me", "Mc")
    )


def is_picture(cluster: str) -> bool:
    """Whether a character is an emoji or another little picture."""
    return any(ord(c) in block for c in cluster for block in _PICTURES) or KEYCAP in cluster


def character_name(cluster: str) -> str:
    """The name of a character in lower case: "llama", "woman, rocket", "flag JP", "latin small letter e with acute".

    Code points without a name are written as U+E000.
    """
    if len(cluster) == 2 and all(ord(c) in _FLAG for c in cluster):
        return "flag " + "".join(chr(ord("A") + ord(c) - _FLAG.start) for c in cluster)
    composed = unicodedata.normalize("NFC", cluster)
    parts = [_name(c) for c in composed if c not in (JOINER, *_SELECTORS)] or [_name(c) for c in composed]
    more = f" and {len(parts) - MOST_NAMES} more" if len(parts) > MOST_NAMES else ""
    return ", ".join(parts[:MOST_NAMES]) + more


def _name(character: str) -> str:
    if ord(character) in _FLAG:
        return f"flag letter {chr(ord('A') + ord(character) - _FLAG.start)}"
    if ord(character) in _SKIN:
        return f"skin tone {ord(character) - _SKIN.start + 2}"  # Fitzpatrick's types 1-2 to 6
    return unicodedata.name(character, "").lower() or f"U+{ord(character):04X}"
