"""Exact match of results by the digits of the longer operand.

An example is arithmetic if its question has exactly two whole numbers and its answer is their sum, difference, product
or quotient, or if it has one and the answer is that number once more: however the question is worded, and whatever the
data says of itself.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ctkd_core.distill.data import Example

# Latin, Greek and Cyrillic letters make another word of a number (x2, 3rd, 5й). Others only touch it: 3과 4를, 12加30.
_LETTER = r"[^\W\u0590-\U0010ffff]"
_WHOLE = re.compile(rf"(?<!{_LETTER})(?<![\d.,])\d+(?!{_LETTER}|\d|[.,]\d)")
_RESULT = re.compile(r"-?\d+")
MOST_DIGITS = 400  # longer ones are no exercise, and Python refuses to read them


def operand_length(example: Example) -> int | None:
    """Digits of the longer operand of an example, None where it is no arithmetic."""
    question, answer = example.question or example.prompt, example.completion.strip()
    if not _RESULT.fullmatch(answer) or len(answer) > 2 * MOST_DIGITS:
        return None
    operands = _WHOLE.findall(question)
    if len(operands) not in (1, 2) or max(map(len, operands)) > MOST_DIGITS:
        return None
    if len(operands) == 1:
        return len(operands[0]) if operands[0] == answer else None
    a, b = map(int, operands)
    results = {a + b, a - b, b - a, a * b}
    results |= {x // y for x, y in ((a, b), (b, a)) if y and x % y == 0}
    return max(len(str(a)), len(str(b))) if int(answer) in results else None


def result_of(text: str) -> str | None:
    """The first whole number of a text, without leading zeros; None without one."""
    found = _RESULT.search(text)
    if found is None:
        return None
    sign, digits = ("-", found[0][1:]) if found[0].startswith("-") else ("", found[0])
    return sign + (digits.lstrip("0") or "0")


def arithmetic_figures(
    lengths: Sequence[int], references: Sequence[str], written: Sequence[str]
) -> tuple[dict[str, float], dict[str, int]]:
    """Share of right results by operand length ("1", "2", ...), and how many exercises each has."""
    right: dict[int, int] = defaultdict(int)
    counts: dict[int, int] = defaultdict(int)
    for length, reference, text in zip(lengths, references, written, strict=True):
        counts[length] += 1
        right[length] += result_of(text) == result_of(reference)
    order = sorted(counts)
    return {str(n): right[n] / counts[n] for n in order}, {str(n): counts[n] for n in order}


def overall(right: Mapping[str, float | None], counts: Mapping[str, float | None]) -> float | None:
    """Share of right results over all lengths, each of which counts by its exercises; None without any.

    right, counts  as `arithmetic_figures` gives them, for the same lengths
    """
    known = [(share, n) for length, share in right.items() if share is not None and (n := counts.get(length))]
    total = sum(n for _, n in known)
    return sum(share * n for share, n in known) / total if total else None
