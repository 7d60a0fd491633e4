"""The report on a pair: contract of its keys, figures against their sources, equal tokenizers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctkd_core import methods
from ctkd_core.errors import CtkdError
from ctkd_core.files import documents, plain, to_json
from ctkd_core.pair.corpus import CorpusMetrics, measure
from ctkd_core.pair.report import (
    PairReport,
    SpecialToken,
    VocabularyFacts,
    doubles_notes,
    pair_report,
    special_token_warnings,
    unmatched_examples,
    vocabulary_facts,
)
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


def test_a_printed_report_is_read_again(report: PairReport, tmp_path: Path) -> None:
    path = tmp_path / "pair.json"
    path.write_text(to_json(report.to_dict()))
    again = documents.read(PairReport, path, "pair report")
    assert again == report
    assert to_json(again.to_dict()) == to_json(report.to_dict()), "numbers are written as they were"


def test_models_name_every_key_that_is_printed(report: PairReport) -> None:
    data = report.to_dict()
    assert list(data["vocabulary"]) == list(VocabularyFacts.__annotations__)
    assert all(list(row) == list(CorpusMetrics.__annotations__) for row in data["corpus"].values())
    assert all(list(row) == list(SpecialToken.__annotations__) for row in data["special_tokens"])


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(data=st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_report_of_another_shape_is_refused_with_field_and_file(report, tmp_path, data) -> None:
    whole = json.loads(to_json(report.to_dict()))
    places = [(whole, key) for key in whole]
    places += [(whole["vocabulary"], key) for key in whole["vocabulary"]]
    places += [(whole["corpus"]["mine"], key) for key in whole["corpus"]["mine"]]
    places += [(whole["special_tokens"][0], key) for key in whole["special_tokens"][0]]
    table, key = data.draw(st.sampled_from(places))
    table[key] = data.draw(DOCUMENTS)
    path = tmp_path / "pair.json"
    path.write_text(json.dumps(whole))
    try:
        documents.read(PairReport, path, "pair report")
    except CtkdError as fault:
        assert "pair.json" in str(fault)
        assert key in str(fault)


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


def test_doubles_are_counted_and_told() -> None:
    facts = vocabulary_facts(tiny_metaspace(), tiny_byte_level())
    doubles = facts["doubles"]
    assert doubles["student"]["count"] == len(tiny_metaspace().doubles) > 40
    assert doubles["teacher"] == {"count": 0, "examples": []}
    assert all(counts.isprintable() for _, counts in doubles["student"]["examples"])
    (note,) = doubles_notes(facts)
    assert note.startswith(f"{doubles['student']['count']} ids of the student") and "<0x" in note
