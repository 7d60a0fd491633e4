"""The bundled sets: found by their names, usable as they are, varied, and right where that can be computed."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter

import pytest

from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.data import data_file, fingerprint, load_examples, load_split
from ctkd_core.distill.evaluation.evaluator import Evaluator
from ctkd_core.distill.sources import arithmetic, copying
from ctkd_core.distill.sources.bundled import LICENCE, SETS
from ctkd_core.distill.training.materials import materials
from ctkd_core.errors import RunError
from ctkd_core.tokenizers.load import load_tokenizer
from tests.distill.kit import llama


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


PROSE = {
    "english": "LATIN",
    "french": "LATIN",
    "german": "LATIN",
    "hindi": "DEVANAGARI",
    "korean": "HANGUL",
    "russian": "CYRILLIC",
}
SUBJECTS = {"everyday life", "nature", "history of technology", "how-to"}


def test_the_prose_is_whole_and_as_much_in_each_language_and_domain():
    rows = [json.loads(line) for line in data_file("bundled:prose").read_text(encoding="utf-8").splitlines()]
    assert all(set(row) == {"text", "language", "domain"} for row in rows)
    counts = Counter((row["language"], row["domain"]) for row in rows)
    assert counts == {(language, subject): 6 for language in PROSE for subject in SUBJECTS}
    texts = [row["text"] for row in rows]
    assert len(set(texts)) == len({text[:30] for text in texts}) == len(texts)
    for text in texts:
        assert 300 <= len(text) <= 600, text
        assert text == text.strip() and "  " not in text and text.endswith((".", "।", "?", "!", "”", "“", "»")), text
        assert unicodedata.is_normalized("NFC", text)
        assert all(c.isprintable() or c == "\u00a0" for c in text) and "\ufffd" not in text, text
        assert all(text.count(a) == text.count(b) for a, b in ("()", "«»", "『』")), text


def test_the_prose_is_in_the_languages_that_it_says():
    for row in map(json.loads, data_file("bundled:prose").read_text(encoding="utf-8").splitlines()):
        scripts = Counter(unicodedata.name(c).split()[0] for c in row["text"] if c.isalpha())
        assert scripts[PROSE[row["language"]]] >= 0.97 * scripts.total(), (row["text"], scripts)


def test_the_prose_is_learnt_whole_under_its_licence(pair):
    for example in load_examples("bundled:prose"):
        assert not example.prompt and example.whole
        assert (example.kind in SUBJECTS, example.language in PROSE) == (True, True)
    assert SETS["prose"].licence == LICENCE == "CC0-1.0"
    config = pair.config(data="bundled:prose", max_length=256, eval_share=0.25)
    assert RunConfig.from_dict(config.to_dict()) == config
    tokenizers = {"student": load_tokenizer(config.student), "teacher": load_tokenizer(config.teacher)}
    (own,) = (each for each in materials(config, tokenizers) if each.role == "data")
    assert (own.source, own.licence) == ("bundled:prose", "CC0-1.0")


def test_an_evaluation_of_the_prose_tells_languages_and_domains_apart(pair):
    student, teacher = load_tokenizer(str(pair.student)), load_tokenizer(str(pair.teacher))
    held_out = load_split("bundled:prose").held_out
    config = pair.config(data="bundled:prose", evaluations="classes", max_length=48)
    models = llama(student.n_ids, 4), llama(teacher.n_ids, 5)
    found = Evaluator(config, student, teacher, models[1], held_out).figures(models[0])
    for part, names in (("language", set(PROSE)), ("domain", SUBJECTS)):
        assert set(found[f"bits_by_{part}"]) == set(found[f"teacher_bits_by_{part}"]) == names
        sizes = found[f"bytes_by_{part}"]
        whole = sum(found[f"bits_by_{part}"][name] * sizes[name] for name in names) / sum(sizes.values())
        assert whole == pytest.approx(found["bits_per_byte"])


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


def test_numbers_to_be_copied_are_the_answer_and_have_every_length():
    rows = [json.loads(line) for line in data_file("bundled:copying").read_text(encoding="utf-8").splitlines()]
    assert rows == list(copying.generate())
    lengths = Counter()
    for row in rows:
        (number,) = re.findall(r"\d+", row["prompt"])
        assert row["completion"] == number
        assert row["kind"] == f"copying, {len(number)} digits"
        lengths[len(number)] += 1
    assert set(lengths) == set(range(1, 13))
    assert min(count for digits, count in lengths.items() if digits > 2) >= 58


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
