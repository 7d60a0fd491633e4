"""What every character is: part of a word or between words, and of which script. Tables for compiled loops.

A word is a run of characters between white space; in scripts without spaces every letter is one (docs/metrics.md).
"""

from __future__ import annotations

import re
import sys
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# Scripts that are written without spaces: each letter counts as a word. Han, kana, Thai, Lao, Burmese, Khmer.
_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_UNSPACED += r"\U00020000-\U0003ffff"
# Full-width punctuation parts words as white space does.
_SEPARATORS = r"\s\u3001-\u3004\u3008-\u303f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
_LETTER = re.compile(f"[{_UNSPACED}]")
_SEPARATOR = re.compile(f"[{_SEPARATORS}]")
_WORD = re.compile(f"[^{_UNSPACED}{_SEPARATORS}]+")

_LAST_LETTER = 0x40000  # no letters and digits beyond
IN_WORD, BETWEEN, ALONE, MARK = range(4)  # MARK: above or below a letter that is a word of its own; counts nothing
SIGNS, NUMBERS = 0, 1  # places in SCRIPTS of what is no letter
_FIRST_WORDS = {  # of the names of letters, where they name a script; others are "other letters"
    "LATIN": "Latin",
    "GREEK": "Greek",
    "CYRILLIC": "Cyrillic",
    "ARMENIAN": "Armenian",
    "HEBREW": "Hebrew",
    "ARABIC": "Arabic",
    "SYRIAC": "Syriac",
    "DEVANAGARI": "Devanagari",
    "BENGALI": "Bengali",
    "GURMUKHI": "Gurmukhi",
    "GUJARATI": "Gujarati",
    "ORIYA": "Oriya",
    "TAMIL": "Tamil",
    "TELUGU": "Telugu",
    "KANNADA": "Kannada",
    "MALAYALAM": "Malayalam",
    "SINHALA": "Sinhala",
    "THAI": "Thai",
    "LAO": "Lao",
    "TIBETAN": "Tibetan",
    "MYANMAR": "Burmese",
    "GEORGIAN": "Georgian",
    "ETHIOPIC": "Ethiopic",
    "KHMER": "Khmer",
    "MONGOLIAN": "Mongolian",
    "HIRAGANA": "Kana",
    "KATAKANA": "Kana",
    "HANGUL": "Hangul",
    "CJK": "Han",
}
SCRIPTS = ("signs", "numbers", *dict.fromkeys(_FIRST_WORDS.values()), "other letters")


@dataclass(frozen=True, eq=False)
class Characters:
    """Tables by code point: words uint8 (IN_WORD, BETWEEN, ALONE, MARK), scripts uint8 (index into SCRIPTS)."""

    words: NDArray[np.uint8]
    scripts: NDArray[np.uint8]


@lru_cache(maxsize=1)
def characters() -> Characters:
    """The tables, made once: a tenth of a second, mostly for the names of letters."""
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    words = np.full(len(every), IN_WORD, dtype=np.uint8)
    words[[found.start() for found in _SEPARATOR.finditer(every)]] = BETWEEN
    for found in _LETTER.finditer(every):
        mark = unicodedata.category(found[0]).startswith("M")
        words[found.start()] = MARK if mark else ALONE
    codes = {name: SCRIPTS.index(script) for name, script in _FIRST_WORDS.items()}
    scripts = np.full(len(every), SIGNS, dtype=np.uint8)
    for code, character in enumerate(every[:_LAST_LETTER]):
        if character.isalpha():
            name = unicodedata.name(character, "").partition(" ")[0].partition("-")[0]
            scripts[code] = codes.get(name, len(SCRIPTS) - 1)
        elif character.isdigit():
            scripts[code] = NUMBERS
    return Characters(words, scripts)


def count_words(text: str) -> int:
    """Words of `text`: runs between white space; in scripts without spaces every letter (marks don't count)."""
    letters = _LETTER.findall(text)
    return len(_WORD.findall(text)) + sum(not unicodedata.category(letter).startswith("M") for letter in letters)
