"""Sums, differences and products of long numbers: the bundled set `arithmetic`, written by `make_data`.

Every operand length comes equally often, so that results can be told apart by it; both operands have that length, but
for products, whose second operand has one digit. Tokenizers cut long numbers in different places.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

SEED = 20262
LONGEST = 12  # digits of an operand
EACH = 40  # pairs of one length and one sort
_SIGNS = {"addition": "+", "subtraction": "-", "multiplication": "*"}
_FORMS = ("{a} {sign} {b} =", "What is {a} {sign} {b}?", "Compute {a} {sign} {b}.")


def generate(seed: int = SEED, longest: int = LONGEST, each: int = EACH) -> Iterator[dict[str, str]]:
    """The pairs, shuffled: {"prompt", "completion", "kind"}, the kind naming sort and operand length; none twice."""
    rng = random.Random(seed)
    rows: dict[str, dict[str, str]] = {}
    for sort, sign in _SIGNS.items():
        for digits in range(1, longest + 1):
            for _ in range(each):
                a = _number(rng, digits)
                b = rng.randint(2, 9) if sort == "multiplication" else _number(rng, digits)
                if sort == "subtraction":
                    a, b = max(a, b), min(a, b)
                result = {"addition": a + b, "subtraction": a - b, "multiplication": a * b}[sort]
                prompt = rng.choice(_FORMS).format(a=a, b=b, sign=sign)
                row = {"prompt": prompt, "completion": str(result), "kind": f"{sort}, {digits} digits"}
                rows.setdefault(prompt, row)
    shuffled = list(rows.values())
    rng.shuffle(shuffled)
    yield from shuffled


def _number(rng: random.Random, digits: int) -> int:
    return rng.randint(10 ** (digits - 1), 10**digits - 1)
