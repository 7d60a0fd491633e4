"""What a model writes against what it should write: ROUGE-L and exact match of greedy completions.

Completions end at their first line break; references are compared up to theirs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

# A word is a run of letters and digits; in scripts that write no spaces each character is one.
_WORDS = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\\W\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")


def words(text: str) -> list[str]:
    """The words of a text in small letters; where it has none (code, signs), what stands between blanks."""
    return _WORDS.findall(text.casefold()) or text.split()


def rouge_l(reference: str, written: str) -> float:
    """ROUGE-L: F1 of the longest common subsequence of words, 0 to 1; 1 for two empty texts.

    Source: Lin 2004, with equal weights of precision and recall. Words are not stemmed.
    """
    from rapidfuzz.distance import LCSseq

    expected, found = words(reference), words(written)
    if not expected or not found:
        return float(expected == found)
    return 2 * LCSseq.similarity(expected, found) / (len(expected) + len(found))


def exact(reference: str, written: str) -> bool:
    """Whether a completion is the reference, blanks at both ends aside."""
    return written.strip() == reference.strip()


def first_line(text: str) -> str:
    """A reference as far as completions go."""
    return text.lstrip("\n").split("\n")[0].strip()


def completion_figures(references: Sequence[str], written: Sequence[str]) -> dict[str, float]:
    """Means of `rouge_l` and `exact_match` over the completions; NaN for none."""
    if not references:
        return {"rouge_l": math.nan, "exact_match": math.nan, "texts": 0}
    expected = [first_line(text) for text in references]
    count = len(expected)
    return {
        "rouge_l": sum(rouge_l(r, w) for r, w in zip(expected, written, strict=True)) / count,
        "exact_match": sum(exact(r, w) for r, w in zip(expected, written, strict=True)) / count,
        "texts": count,
    }
