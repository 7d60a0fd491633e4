"""Facts about real vocabularies that papers print, on the reference tokenizers where they are at hand."""

from __future__ import annotations

import string
from pathlib import Path

import numpy as np
import pytest

from ctkd_core.tokenizers.load import load_tokenizer
from ctkd_core.tokenizers.tokenizer import Tokenizer
from ctkd_core.vocabulary import project
from ctkd_core.vocabulary.classes import audit
from ctkd_core.vocabulary.overlap import overlap
from ctkd_core.vocabulary.projection import NEAREST

SHARED = Path(__file__).resolve().parents[3] / "shared" / "tokenizers"


def reference(name: str) -> Tokenizer:
    if not (SHARED / name).is_dir():
        pytest.skip(f"needs the shared reference tokenizer {name!r}")
    return load_tokenizer(SHARED / name)


def digits(count: int) -> list[str]:
    return [f"{k:0{count}d}" for k in range(10**count)]


@pytest.mark.parametrize(
    ("teacher", "matched"),
    [("qwen3", {1: 10, 2: 0, 3: 0}), ("gpt4o", {1: 10, 2: 100, 3: 1000})],
    ids=["Qwen3", "GPT-4o"],
)
@pytest.mark.parametrize("match", ["bytes", "canonical", "raw"])
def test_numbers_of_llama_3_that_the_teacher_has_too(teacher: str, matched: dict[int, int], match: str) -> None:
    """X-Token (arXiv 2605.21699), section 8 of our notes: 0 of 100 and 0 of 1,000 with Qwen3, all with o200k."""
    student, other = reference("llama3"), reference(teacher)
    found = project(student, other, method="exact", match=match)
    hit = found.fan_out() > 0
    for count, expected in matched.items():
        ids = [student.id_of(number) for number in digits(count)]
        assert None not in ids, "Llama 3 has every number of up to three digits"
        assert int(hit[ids].sum()) == expected, count
    classes = audit(student, hit)
    assert [classes[f"digits_{n}"]["matched"] for n in matched] == list(matched.values())


@pytest.mark.parametrize("teacher", ["qwen3", "gpt4o"])
def test_one_digit_tokens_and_ascii_punctuation_are_matched(teacher: str) -> None:
    """The paper counts 13 of 13 and 88 of 88; which tokens these are it doesn't say. Ours: ten digits and the three
    superscripts of Latin-1, and every ASCII punctuation mark without and with a space before it."""
    student, other = reference("llama3"), reference(teacher)
    mask = overlap(student, other).matched("bytes")
    of_bytes = {b: i for i, b in enumerate(student.all_token_bytes()) if i not in student.special_ids}
    single = [*string.digits, "¹", "²", "³"]
    marks = [space + mark for mark in string.punctuation for space in ("", " ")]
    assert (len(single), len(marks)) == (13, 64)
    for spelled in (*single, *marks):
        assert mask[of_bytes[spelled.encode()]], spelled


@pytest.mark.parametrize(
    ("pair", "low", "high"),
    [
        (("llama3", "qwen3"), 0.838, 0.858),
        (("llama3", "gemma3"), 0.664, 0.684),
        (("qwen3", "gemma3"), 0.622, 0.642),
        (("llama3", "gpt4o"), 0.788, 0.808),  # printed for gpt-oss, whose vocabulary has more special tokens
    ],
    ids=["Llama 3 x Qwen3", "Llama 3 x Gemma 3", "Qwen3 x Gemma 3", "Llama 3 x o200k"],
)
def test_canonical_overlap(pair: tuple[str, str], low: float, high: float) -> None:
    """Printed by X-Token's tools: .848, .674, .632, .798 of the smaller vocabulary."""
    shares = overlap(*map(reference, pair)).shares["canonical"]
    assert low <= shares.smaller <= high


def test_numbers_that_qwen_cuts_go_to_their_first_digit() -> None:
    student, teacher = reference("llama3"), reference("qwen3")
    row = project(student, teacher, method="pieces").explain(student.id_of("201") or 0)
    assert [teacher.token(i) for i in row["teacher_id"]] == ["2", "0", "1"]
    np.testing.assert_allclose(row["weight"], np.array([0.9, 0.09, 0.009]) / 0.999, rtol=1e-5)


@pytest.mark.slow
def test_every_token_of_llama_3_finds_its_nearest_in_qwen3() -> None:
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist

    student, teacher = reference("llama3"), reference("qwen3")
    found = project(student, teacher, method="nearest")
    rows = found.rows()
    assert rows["empty"] == sum(not b for b in student.all_token_bytes()) + len(student.special_ids) - rows["role"]
    table = teacher.all_token_bytes()
    targets = [i for i, b in enumerate(table) if b and i not in teacher.special_ids]
    spelled = [table[i].decode("latin-1") for i in targets]
    chosen = np.random.default_rng(0).choice(np.flatnonzero(found.row_reason == NEAREST), 40, replace=False)
    queries = [student.token_bytes(int(i)).decode("latin-1") for i in chosen]
    least = cdist(queries, spelled, scorer=Levenshtein.distance, dtype=np.uint8).min(axis=1)
    partners = [table[int(found.matrix.indices[found.matrix.indptr[i]])].decode("latin-1") for i in chosen]
    assert [Levenshtein.distance(q, p) for q, p in zip(queries, partners)] == least.tolist()
