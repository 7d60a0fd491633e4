"""The bundled sets: found by their names, usable as they are, varied, and right where that can be computed."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter

import pytest

from ctkd_core.distill.data import data_file, fingerprint, load_examples, load_split
from ctkd_core.distill.sources import arithmetic
from ctkd_core.distill.sources.bundled import SETS
from ctkd_core.errors import RunError


def test_every_set_is_found_by_its_name_and_splits():
    assert data_file("bundled:tasks") == data_file("bundled")
    for name in SETS:
        split = load_split(f"bundled:{name}")
        assert len(split.train) > len(split.held_out) > 0
        assert len(fingerprint(f"bundled:{name}")) == 64
    with pytest.raises(RunError, match="unknown bundled data set 'languges'; did you mean 'languages'"):
        data_file("bundled:languges")


SCRIPTS = {"russian": "CYRILLIC", "german": "LATIN", "korean": "HANGUL", "english": "LATIN"}


def test_the_languages_are_what_they_say():
    examples = load_examples("bundled:languages")
    kinds = Counter(e.kind for e in examples)
    assert set(kinds) == set(SCRIPTS)
    assert min(kinds.values()) >= 150
    for kind, script in SCRIPTS.items():
        mine = [e for e in examples if e.kind == kind]
        assert len({e.question for e in mine}) == len({e.completion for e in mine}) == len(mine)
        letters = [c for e in mine for c in e.question + e.completion if c.isalpha()]
        assert all(unicodedata.name(c).split()[0] == script for c in letters)
        assert all(unicodedata.is_normalized("NFC", e.question + e.completion) for e in mine)


def test_arithmetic_is_right_and_has_every_length():
    rows = [json.loads(line) for line in data_file("bundled:arithmetic").read_text(encoding="utf-8").splitlines()]
    assert rows == list(arithmetic.generate())
    lengths = Counter()
    for row in rows:
        a, sign, b = re.search(r"(\d+) ([-+*]) (\d+)", row["prompt"]).groups()
        a, b = int(a), int(b)
        assert int(row["completion"]) == {"+": a + b, "-": a - b, "*": a * b}[sign]
        sort, digits = row["kind"].removesuffix(" digits").split(", ")
        assert len(str(a)) == int(digits)
        lengths[sort, int(digits)] += 1
    assert set(lengths) == {(s, n) for s in ("addition", "subtraction", "multiplication") for n in range(1, 13)}
    assert min(count for (_, digits), count in lengths.items() if digits > 2) >= 38


def test_the_code_runs():
    for example in load_examples("bundled:code"):
        space: dict = {}
        exec(example.completion.removeprefix(" "), space)
        assert any(callable(value) for value in space.values())
    space = {}
    for wanted in ("gcd", "balanced", "insertion_sort", "find"):
        (text,) = (e.completion for e in load_examples("bundled:code") if f"def {wanted}(" in e.completion)
        exec(text.removeprefix(" "), space)
    assert space["gcd"](12, 18) == 6
    assert (space["balanced"]("(a(b))"), space["balanced"](")(")) == (True, False)
    assert space["insertion_sort"]([3, 1, 2]) == [1, 2, 3]
    assert [space["find"]([1, 3, 5], n) for n in (1, 5, 4)] == [0, 2, -1]
