"""Writes the bundled data sets that are generated: data/bundled.jsonl, about 3,000 short prompt/completion pairs,
data/arithmetic.jsonl (`sources.arithmetic`) and data/copying.jsonl (`sources.copying`).

    python -m ctkd_core.distill.make_data

Seeded templates over the word lists of data/words.json; nothing is taken from another data set, and everything here
is CC0-1.0. Long numbers, accents, emoji and rare words are there on purpose: they are what tokenizers cut
differently. Same seed, same bytes; a test compares the file with what this writes.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ctkd_core.distill.sources import arithmetic, copying

SEED = 20261
FOLDER = Path(__file__).parent / "data"
COUNTS = {  # how many pairs to ask of each maker; repeated prompts are dropped, so small lists give fewer
    "addition": 420, "subtraction": 300, "multiplication": 160, "comparison": 150, "counting_on": 120,
    "number_words": 180, "letters": 220, "spelling": 140, "sorting": 170, "plural": 140, "past": 120, "opposite": 140,
    "facts": 260, "odd_one_out": 150, "units": 180, "rewriting": 240, "code": 220, "calendar": 120,
    "translation": 80, "emoji": 40,
}  # fmt: skip
Pair = tuple[str, str]


def main() -> None:
    """Write the files and say what they hold."""
    made = {"bundled": generate(), "arithmetic": arithmetic.generate(), "copying": copying.generate()}
    for name, pairs in made.items():
        rows = list(pairs)
        path = FOLDER / f"{name}.jsonl"
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        path.write_text("".join(lines), encoding="utf-8", newline="\n")
        print(f"{len(rows)} pairs, {path.stat().st_size:,} bytes: {path.name}")


def generate(seed: int = SEED) -> Iterator[dict[str, str]]:
    """The pairs, shuffled: {"prompt", "completion", "kind"}; no prompt twice."""
    words = json.loads((FOLDER / "words.json").read_text(encoding="utf-8"))
    rng = random.Random(seed)
    seen: dict[str, dict[str, str]] = {}
    for kind, count in COUNTS.items():
        for _ in range(count):
            prompt, completion = MAKERS[kind](rng, words)
            seen.setdefault(prompt, {"prompt": prompt, "completion": completion, "kind": kind})
    rows = list(seen.values())
    rng.shuffle(rows)
    yield from rows


def _number(rng: random.Random, longest: int = 7) -> int:
    """A number of 1 to `longest` digits, each length equally likely."""
    digits = rng.randint(1, longest)
    return rng.randint(10 ** (digits - 1), 10**digits - 1)


def _addition(rng: random.Random, _: Any) -> Pair:
    a, b = _number(rng), _number(rng)
    form = rng.choice(["What is {a} + {b}?", "Add {a} and {b}.", "{a} + {b} =", "What is the sum of {a} and {b}?"])
    return form.format(a=a, b=b), str(a + b)


def _subtraction(rng: random.Random, _: Any) -> Pair:
    a, b = sorted((_number(rng), _number(rng)), reverse=True)
    form = rng.choice(["What is {a} - {b}?", "Subtract {b} from {a}.", "{a} - {b} =", "How much is {a} minus {b}?"])
    return form.format(a=a, b=b), str(a - b)


def _multiplication(rng: random.Random, _: Any) -> Pair:
    a, b = rng.randint(2, 12), _number(rng, 3)
    form = rng.choice(["What is {a} times {b}?", "Multiply {a} by {b}.", "{a} * {b} ="])
    return form.format(a=a, b=b), str(a * b)


def _comparison(rng: random.Random, _: Any) -> Pair:
    digits = rng.randint(1, 7)
    a, b = (rng.randint(10 ** (digits - 1), 10**digits - 1) for _ in range(2))
    word, pick = rng.choice([("larger", max), ("smaller", min)])
    return f"Which number is {word}, {a} or {b + (a == b)}?", str(pick(a, b + (a == b)))


def _counting_on(rng: random.Random, _: Any) -> Pair:
    start, step = _number(rng, 4), rng.choice([1, 2, 3, 5, 10, 25, 100])
    shown = ", ".join(str(start + i * step) for i in range(4))
    return f"Continue: {shown},", ", ".join(str(start + i * step) for i in (4, 5))


def _number_words(rng: random.Random, _: Any) -> Pair:
    n = _number(rng, 4)
    if rng.random() < 0.5:
        return f"Write {n} in words.", in_words(n)
    return f"Write as digits: {in_words(n)}", str(n)


def _letters(rng: random.Random, words: Any) -> Pair:
    word = rng.choice(words["nouns"])
    letter = rng.choice(word)
    return rng.choice(
        [
            (f"How many letters does the word {word!r} have?", str(len(word))),
            (f"How many times does {letter!r} occur in {word!r}?", str(word.count(letter))),
            (f"What is the first letter of {word!r}?", word[0]),
            (f"What is the last letter of {word!r}?", word[-1]),
            (f"Which letter comes after {letter!r} in the alphabet?", chr((ord(letter) - 96) % 26 + 97)),
        ]
    )


def _spelling(rng: random.Random, words: Any) -> Pair:
    word = rng.choice(words["nouns"])
    return rng.choice([(f"Spell {word!r} with hyphens.", "-".join(word)), (f"Write {word!r} backwards.", word[::-1])])


def _sorting(rng: random.Random, words: Any) -> Pair:
    if rng.random() < 0.3:
        numbers = [_number(rng, 5) for _ in range(4)]
        return f"Sort from small to large: {', '.join(map(str, numbers))}", ", ".join(map(str, sorted(numbers)))
    chosen = rng.sample(words["nouns"], rng.randint(3, 4))
    return f"Sort alphabetically: {', '.join(chosen)}", ", ".join(sorted(chosen))


def _plural(rng: random.Random, words: Any) -> Pair:
    one, many = rng.choice(list(words["plurals"].items()))
    return rng.choice(
        [(f"What is the plural of {one!r}?", many), (f"One {one}, two", many), (f"Singular of {many!r}?", one)]
    )


def _past(rng: random.Random, words: Any) -> Pair:
    now, then = rng.choice(list(words["past"].items()))
    return rng.choice([(f"What is the past tense of {now!r}?", then), (f"Today I {now}, yesterday I", then)])


def _opposite(rng: random.Random, words: Any) -> Pair:
    pair = rng.choice(list(words["opposites"].items()))
    return f"What is the opposite of {pair[0]!r}?", pair[1]


def _facts(rng: random.Random, words: Any) -> Pair:
    country, capital = rng.choice(list(words["capitals"].items()))
    animal, young = rng.choice(list(words["young"].items()))
    thing, colour = rng.choice(list(words["colours"].items()))
    element, symbol = rng.choice(list(words["elements"].items()))
    question, answer = rng.choice(list(words["questions"].items()))
    return rng.choice(
        [
            (f"What is the capital of {country}?", capital),
            (f"Which country has the capital {capital}?", country),
            (f"What is a young {animal} called?", f"A {young}." if young[0] not in "aeiou" else f"An {young}."),
            (f"What colour is {thing}?", colour),
            (f"What is the chemical symbol of {element}?", symbol),
            (question, answer),
            (question, answer),
        ]
    )


def _odd_one_out(rng: random.Random, words: Any) -> Pair:
    many, other = rng.sample(list(words["categories"]), 2)
    # A word can belong to two lists (orange); the odd one must not.
    outsiders = [w for w in words["categories"][other] if w not in words["categories"][many]]
    odd = rng.choice(outsiders)
    shown = [*rng.sample(words["categories"][many], 3), odd]
    rng.shuffle(shown)
    if rng.random() < 0.4:
        word = rng.choice(words["categories"][many])
        return f"Is {word!r} the name of a {many} or of a {other}?".replace(" a a", " an a").replace(
            " a i", " an i"
        ), many
    return f"Which word doesn't belong: {', '.join(shown)}?", odd


def _units(rng: random.Random, _: Any) -> Pair:
    big, small, factor = rng.choice(
        [
            ("kilometres", "metres", 1000), ("metres", "centimetres", 100), ("kilograms", "grams", 1000),
            ("hours", "minutes", 60), ("minutes", "seconds", 60), ("days", "hours", 24), ("weeks", "days", 7),
            ("litres", "millilitres", 1000), ("years", "months", 12), ("feet", "inches", 12),
            ("gigabytes", "megabytes", 1000),
        ]
    )  # fmt: skip
    n = rng.randint(2, 60)
    if rng.random() < 0.5:
        return f"How many {small} are {n} {big}?", f"{n * factor} {small}"
    return f"Convert {n * factor} {small} to {big}.", f"{n} {big}"


def _rewriting(rng: random.Random, words: Any) -> Pair:
    person, other = rng.sample(words["people"], 2)
    thing = rng.choice(words["objects"])
    now, then = rng.choice([("finds", "found"), ("sells", "sold"), ("draws", "drew"), ("brings", "brought")])
    sentence = f"{person} {now} {thing}."
    return rng.choice(
        [
            (f"Put into the past tense: {sentence}", f"{person} {then} {thing}."),
            (f"Write in capitals: {sentence}", sentence.upper()),
            (f"Write in small letters: {sentence}", sentence.lower()),
            (f"Replace {person} by {other}: {sentence}", f"{other} {now} {thing}."),
            (f"Who does it? {sentence}", person),
            (f"How many words are in this sentence? {sentence}", str(len(sentence.split()))),
        ]
    )


def _code(rng: random.Random, words: Any) -> Pair:
    word = rng.choice(words["nouns"])
    a, b = rng.randint(2, 20), rng.randint(2, 20)
    numbers = [rng.randint(0, 99) for _ in range(rng.randint(3, 5))]
    i = rng.randrange(len(numbers))
    letter, start, cut, stop = rng.choice(word), rng.choice("abcdefgh"), rng.randint(1, 4), rng.randint(2, 7)
    source, value = rng.choice(
        [
            (f"len({word!r})", len(word)),
            (f"{word!r}.upper()", word.upper()),
            (f"{word!r}[{cut}]", word[cut]),
            (f"{word!r}[::-1]", word[::-1]),
            (f"{word!r}[:{cut}]", word[:cut]),
            (f"{word!r}.count({letter!r})", word.count(letter)),
            (f"{word!r}.startswith({start!r})", word.startswith(start)),
            (f"{a} % {b}", a % b),
            (f"{a} // {b}", a // b),
            (f"{a} ** 2", a**2),
            (f"{a} > {b}", a > b),
            (f"max({numbers})", max(numbers)),
            (f"min({numbers})", min(numbers)),
            (f"sum({numbers})", sum(numbers)),
            (f"sorted({numbers})", sorted(numbers)),
            (f"{numbers}[{i}]", numbers[i]),
            (f"list(range({stop}))", list(range(stop))),
        ]
    )
    return f"What does this Python expression give? {source}", repr(value)


def _calendar(rng: random.Random, _: Any) -> Pair:
    days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
    months = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
              "November", "December"]  # fmt: skip
    name, names = rng.choice([("day", days), ("month", months)])
    i, hop = rng.randrange(len(names)), rng.choice([1, 1, 2, 3])
    if rng.random() < 0.3:
        hour, minute, more = rng.randint(0, 22), rng.randint(0, 59), rng.randint(1, 60)
        total = hour * 60 + minute + more
        return f"It is {hour}:{minute:02d}. What time is it {more} minutes later?", f"{total // 60}:{total % 60:02d}"
    if hop == 1:
        return rng.choice(
            [
                (f"Which {name} comes after {names[i]}?", names[(i + 1) % len(names)]),
                (f"Which {name} comes before {names[i]}?", names[i - 1]),
            ]
        )
    return f"Which {name} is {hop} {name}s after {names[i]}?", names[(i + hop) % len(names)]


def _translation(rng: random.Random, words: Any) -> Pair:
    language, table = rng.choice([("French", words["french"]), ("German", words["german"])])
    english, foreign = rng.choice(list(table.items()))
    return rng.choice(
        [
            (f"What is {english!r} in {language}?", foreign),
            (f"What does the {language} word {foreign!r} mean?", english),
        ]
    )


def _emoji(rng: random.Random, words: Any) -> Pair:
    sign, meaning = rng.choice(list(words["emoji"].items()))
    return rng.choice([(f"What does {sign} show?", meaning), (f"Which emoji shows {meaning}?", sign)])


_ONES = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
_TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def in_words(n: int) -> str:
    """A number below 10,000 in English words: 1234 -> "one thousand two hundred thirty-four"."""
    if n < 20:
        return _ONES[n]
    if n < 100:
        return _TENS[n // 10] + (f"-{_ONES[n % 10]}" if n % 10 else "")
    unit, name = (1000, "thousand") if n >= 1000 else (100, "hundred")
    rest = f" {in_words(n % unit)}" if n % unit else ""
    return f"{in_words(n // unit)} {name}{rest}"


MAKERS: dict[str, Callable[[random.Random, Any], Pair]] = {name: globals()[f"_{name}"] for name in COUNTS}

if __name__ == "__main__":
    main()
