"""The report on a pair: contract of its keys, figures against their sources, equal tokenizers."""

from __future__ import annotations

import dataclasses
import json

import pytest

from ctkd_core import methods
from ctkd_core.files import plain, to_json
from ctkd_core.pair.corpus import measure
from ctkd_core.pair.report import PairReport, pair_report, special_token_warnings, unmatched_examples
from ctkd_core.vocabulary.classes import CLASSES
from ctkd_core.vocabulary.overlap import overlap
from tests.tiny import CORPUS, tiny_byte_level, tiny_metaspace, tiny_wordpiece

STUDENT, TEACHER = tiny_byte_level(), tiny_metaspace()
TEXTS = {"mine": CORPUS[:3], "other": CORPUS[3:5]}


@pytest.fixture(scope="module")
def report() -> PairReport:
    return pair_report(STUDENT, TEACHER, TEXTS)


def test_the_document_has_the_keys_of_the_contract(report: PairReport) -> None:
    data = report.to_dict()
    assert {"vocabulary", "corpus", "special_tokens", "advice"} <= set(data)
    assert {"student_size", "teacher_size", "exact", "canonical", "bytes", "classes"} <= set(data["vocabulary"])
    assert set(data["vocabulary"]["classes"]) == set(CLASSES)
    assert all(set(row) == {"total", "matched"} for row in data["vocabulary"]["classes"].values())
    assert {"method", "because", "verdict", "warnings"} <= set(data["advice"])
    assert methods.get(data["advice"]["method"]).can_train
    assert data["special_tokens"]
    assert json.loads(to_json(data)) == plain(data), "plain JSON"


def test_figures_are_those_of_their_sources(report: PairReport) -> None:
    shared = overlap(STUDENT, TEACHER)
    vocabulary = report.vocabulary
    assert (vocabulary["exact"], vocabulary["canonical"], vocabulary["bytes"]) == (
        shared.raw,
        shared.canonical,
        shared.bytes,
    )
    assert vocabulary["shares"]["exact"]["smaller"] == shared.shares["raw"].smaller
    assert vocabulary["student_size"] + vocabulary["student_empty_ids"] == STUDENT.n_ids
    assert list(report.corpus) == ["mine", "other"]
    assert report.corpus["mine"] == measure(STUDENT, TEACHER, TEXTS["mine"])


def test_examples_are_not_shared_and_few(report: PairReport) -> None:
    found = unmatched_examples(STUDENT, overlap(STUDENT, TEACHER), shown=3)
    of_teacher = {data.decode("utf-8", "backslashreplace") for data in TEACHER.all_token_bytes()}
    for name, examples in found.items():
        row = report.vocabulary["classes"][name]
        assert len(examples) == min(3, row["total"] - row["matched"])
        assert name == "special" or not set(examples) & of_teacher
    assert set(found) == {n for n, row in report.vocabulary["classes"].items() if row["matched"] < row["total"]}


def test_one_tokenizer_on_both_sides() -> None:
    found = pair_report(STUDENT, STUDENT, TEXTS)
    assert found.vocabulary["same_tokenizer"]
    assert found.advice.verdict == "H-KL"
    assert found.vocabulary["unmatched"] == {}
    assert found.corpus["mine"]["share_1_1"] == 1
    renamed = dataclasses.replace(STUDENT, name="copy")
    assert pair_report(STUDENT, renamed, TEXTS).vocabulary["same_tokenizer"], "a name is no difference"


def test_other_cuts_are_another_tokenizer(report: PairReport) -> None:
    assert not report.vocabulary["same_tokenizer"]
    nfc = tiny_byte_level(nfc=True)
    texts = {"mine": ["cafe\u0301"]}
    assert [STUDENT.token(i) for i in range(400)] == [nfc.token(i) for i in range(400)]
    assert not pair_report(STUDENT, nfc, texts).vocabulary["same_tokenizer"], "one of them composes accents"


def test_the_method_and_progress_are_passed_on() -> None:
    seen: list[float] = []
    found = pair_report(STUDENT, TEACHER, TEXTS, progress=lambda share, sentence: seen.append(share), method="uld")
    assert found.corpus["mine"] == measure(STUDENT, TEACHER, TEXTS["mine"], method="uld")
    assert seen == [0.5, 1.0, 1.0]


def test_special_tokens_that_need_care() -> None:
    wordpiece = tiny_wordpiece()
    assert special_token_warnings(STUDENT, STUDENT) == []
    assert special_token_warnings(STUDENT, dataclasses.replace(TEACHER, eos_id=None)) == [
        f"{STUDENT.name} has an EOS token and {TEACHER.name} has none; leave it out of what is compared."
    ]
    without = dataclasses.replace(wordpiece, bos_id=None)
    first, second = special_token_warnings(without, TEACHER)
    assert first.startswith(f"{TEACHER.name} has a BOS token and {without.name} has none")
    assert second.startswith(f"Only {TEACHER.name} puts BOS before a text")
