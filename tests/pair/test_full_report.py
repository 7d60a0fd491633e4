"""What a report about a pair gathers: texts under every method, how they agree, and a map."""

from __future__ import annotations

import pytest

from ctkd_core import methods
from ctkd_core.alignment import align
from ctkd_core.alignment.metrics import agreement
from ctkd_core.errors import AlignmentError, CtkdError
from ctkd_core.pair.full_report import METHODS, MOST_CHARACTERS, SAMPLES, full_report, usual_map
from tests.homes import own_home
from tests.tiny import tiny_byte_level, tiny_metaspace

STUDENT, TEACHER = tiny_byte_level(), tiny_metaspace()
CORPUS = {"few": ["In 2024 we sold 201 of them."]}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    own_home(tmp_path / "home", monkeypatch)


def test_every_text_has_every_method_and_what_differs_from_the_first():
    said = []
    texts = {"one": "the 2024 llamas", "two": "naïve façade"}
    found = full_report(
        STUDENT, TEACHER, texts, ("uld", "sedi"), CORPUS, "exact", lambda share, word: said.append(share)
    )
    assert [text.name for text in found.texts] == list(texts)
    assert said == sorted(said) and said[-1] == 1.0
    one = found.texts[0]
    a, b = (align(texts["one"], student=STUDENT, teacher=TEACHER, method=m) for m in ("uld", "sedi"))
    assert list(one.alignments) == ["uld", "sedi"]
    assert one.first.metrics() == a.metrics()
    assert one.agreements["sedi"].differing.tolist() == agreement(a, b).differing.tolist()
    assert one.truth.metrics() == b.metrics()
    plain = found.to_dict()
    assert plain["texts"][1]["methods"]["sedi"] == found.texts[1].alignments["sedi"].metrics()
    assert plain["map"]["method"] == "exact"
    assert plain["corpus"]["few"]["texts"] == 1


def test_the_usual_methods_align():
    gone = set(METHODS) - {row.name for row in methods.aligning()}
    assert not gone, f"METHODS in ctkd_core/pair/full_report.py names {sorted(gone)}, which have no alignment"


def test_the_usual_report_shows_samples_under_the_usual_methods():
    found = full_report(STUDENT, TEACHER, corpus=CORPUS)
    assert [text.name for text in found.texts] == list(SAMPLES)
    assert tuple(found.texts[0].alignments) == METHODS
    assert found.projection.method == usual_map(STUDENT, TEACHER) == "pieces"


@pytest.mark.parametrize(
    ("texts", "names", "error", "sentence"),
    [
        ({"x": ""}, METHODS, CtkdError, "'x' is empty"),
        ({"x": "a" * (MOST_CHARACTERS + 1)}, METHODS, CtkdError, "give it as a corpus"),
        ({str(k): "a" for k in range(13)}, METHODS, CtkdError, "at most 12 texts"),
        ({"x": "a"}, (), AlignmentError, "1 to 8 methods; got 0"),
        ({"x": "a"}, ("sft",), AlignmentError, "'sft' has no alignment"),
        ({"x": "a"}, ("sedy",), AlignmentError, "did you mean 'sedi'"),
    ],
)
def test_what_cannot_be_reported_is_told_before_anything_is_measured(texts, names, error, sentence):
    with pytest.raises(error, match=sentence):
        full_report(STUDENT, TEACHER, texts, names, {"never": iter(lambda: pytest.fail("measured"), None)})
