"""X-Token's map of special tokens by the likeness of their names, as its released tools have it.

Source: NVIDIA NeMo-RL, projection tools of the `x_token` package. The paper (arXiv 2605.21699) has no such rule; names
alike say little about roles ("<|im_end|>" is as near to "<|im_start|>" as to "<|end_of_text|>"), so it is off.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ctkd_core.background.progress import Progress, silent
from ctkd_core.vocabulary import entries as table
from ctkd_core.vocabulary.entries import Entries
from ctkd_core.vocabulary.projection import SIMILAR

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

# Released defaults.
CHARACTERS, WORDS = 0.6, 0.4  # shares of the likeness of characters and of words
THRESHOLD, WEIGHT = 0.3, 0.8
SHORTEST_WORD = 3
_SHAPE = re.compile(r"<.*>", re.DOTALL)
_WORD = re.compile(r"[a-z0-9]+")


def similar_entries(
    student: Tokenizer, teacher: Tokenizer, rows: NDArray[np.int64], top_k: int, progress: Progress = silent
) -> Entries:
    """Student tokens `rows` shaped <...> to at most `top_k` teacher tokens of that shape, each WEIGHT * similarity."""
    own = {i: text for i in rows.tolist() if is_shaped(text := student.token(i))}
    other = {i: text for i in range(teacher.n_ids) if is_shaped(text := teacher.token(i))}
    return similarities(own, other, top_k, progress)


def similarities(student: dict[int, str], teacher: dict[int, str], top_k: int, progress: Progress = silent) -> Entries:
    """Every pair of names (by id) with a similarity of at least THRESHOLD, at most `top_k` a student token."""
    words = {i: name_words(text) for i, text in student.items()}
    found: list[tuple[int, int, float]] = []
    matcher = SequenceMatcher(None)
    for done, (t, text) in enumerate(teacher.items()):
        progress(done / len(teacher), f"Comparing the names of {len(student):,} and {len(teacher):,} special tokens")
        matcher.set_seq2(text)  # what is kept between comparisons depends on the second text
        teacher_words = name_words(text)
        for s, name in student.items():
            of_words = WORDS * jaccard(words[s], teacher_words)
            matcher.set_seq1(name)
            if CHARACTERS * matcher.real_quick_ratio() + of_words < THRESHOLD:
                continue
            if CHARACTERS * matcher.quick_ratio() + of_words < THRESHOLD:
                continue
            similarity = CHARACTERS * matcher.ratio() + of_words
            if similarity >= THRESHOLD:
                found.append((s, t, WEIGHT * similarity))
    rows, columns, weights = zip(*found) if found else ((), (), ())
    pairs = table.entries(np.array(rows, np.int64), np.array(columns, np.int64), np.array(weights, float), SIMILAR)
    return table.heaviest(pairs, top_k)


def similarity(a: str, b: str) -> float:
    """0.6 * share of characters in common (Ratcliff and Obershelp) + 0.4 * share of words in common, 0 to 1."""
    return CHARACTERS * SequenceMatcher(None, a, b).ratio() + WORDS * jaccard(name_words(a), name_words(b))


def name_words(text: str) -> frozenset[str]:
    """Words of a special token's name, in lower case; those of fewer than SHORTEST_WORD letters don't count."""
    return frozenset(w for w in _WORD.findall(text.lower()) if len(w) >= SHORTEST_WORD)


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    """Words in both over words in either, 0 without any."""
    return len(a & b) / len(a | b) if a | b else 0.0


def is_shaped(text: str) -> bool:
    """Whether a token has the shape <...>."""
    return bool(_SHAPE.fullmatch(text))
