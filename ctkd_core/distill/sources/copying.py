"""Long numbers to be written once more: the bundled set `copying`, written by `make_data`.

Every length comes equally often, as far as there are so many numbers. Nothing has to be worked out: what is left is
whether a student writes a number right whose digits its tokenizer cuts in other places than its teacher's.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

SEED = 20263
LONGEST = 12  # digits
EACH = 60  # pairs of one length
_FORMS = ("Copy this number: {a}", "Repeat {a}.", "Write {a} once more.")


def generate(seed: int = SEED, longest: int = LONGEST, each: int = EACH) -> Iterator[dict[str, str]]:
    """The pairs, shuffled: {"prompt", "completion", "kind"}, the kind naming the length; none twice."""
    rng = random.Random(seed)
    rows: dict[str, dict[str, str]] = {}
    for digits in range(1, longest + 1):
        for _ in range(each):
            a = rng.randint(10 ** (digits - 1), 10**digits - 1)
            prompt = rng.choice(_FORMS).format(a=a)
            rows.setdefault(prompt, {"prompt": prompt, "completion": str(a), "kind": f"copying, {digits} digits"})
    shuffled = list(rows.values())
    rng.shuffle(shuffled)
    yield from shuffled
