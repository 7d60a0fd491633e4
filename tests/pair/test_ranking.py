"""Ranking pairs: which pairs there are, figures against their sources, order, and refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ctkd_core.errors import CtkdError, TokenizerError
from ctkd_core.pair import ranking
from ctkd_core.pair.advice import advise
from ctkd_core.pair.corpora import counting
from ctkd_core.pair.corpus import Skipped, measure
from ctkd_core.pair.ranking import ORDERS, matrix, rank_pairs
from ctkd_core.pair.report import pair_report
from ctkd_core.tokenizers.load import load_tokenizer_bytes
from tests.tiny import CORPUS, tiny_byte_level, tiny_metaspace, tiny_wordpiece

A, B, C = tiny_byte_level(), tiny_metaspace(), tiny_wordpiece()
TEXTS = list(CORPUS[:4])


def test_all_ordered_pairs_or_one_side_fixed() -> None:
    every = {(row.student, row.teacher) for row in rank_pairs([A, B, C], texts=TEXTS)}
    assert every == {(x.name, y.name) for x in (A, B, C) for y in (A, B, C) if x is not y}
    assert [row.student for row in rank_pairs([A, B, C], student=A, texts=TEXTS)] == [A.name] * 2
    assert {row.student for row in rank_pairs([A, B], teacher=C, texts=TEXTS)} == {A.name, B.name}


def test_figures_are_those_of_the_report_on_the_pair() -> None:
    (row,) = rank_pairs([B], student=A, texts=TEXTS)
    report = pair_report(A, B, {"texts": TEXTS})
    assert row.canonical == report.vocabulary["shares"]["canonical"]["smaller"]
    assert (row.numbers, row.method) == (report.advice.verdict, report.advice.method)
    assert row.equal_tokens == report.corpus["texts"]["student_tokens_1_1"]


def test_common_boundaries_against_the_ends_of_tokens() -> None:
    (row,) = rank_pairs([B], student=A, texts=TEXTS)
    common = total = 0
    for text in TEXTS:
        ends = [{int(end) for start, end in side.encode(text).spans if end > start} for side in (A, B)]
        common += len(ends[0] & ends[1])
    metrics = measure(A, B, TEXTS)
    total = metrics["student_tokens"] + metrics["teacher_tokens"]
    assert row.boundaries == pytest.approx(2 * common / total)
    assert row.tokens == pytest.approx(metrics["student_tokens"] / metrics["teacher_tokens"])


def test_a_tokenizer_beside_its_equal_is_first() -> None:
    equal = load_tokenizer_bytes(A.backend.to_str().encode(), "its equal")
    rows = rank_pairs([B, equal, C], student=A, texts=TEXTS)
    assert (rows[0].teacher, rows[0].same_tokenizer) == (equal.name, True)
    assert rows[0].boundaries == rows[0].equal_tokens == rows[0].teacher_whole == 1.0


@pytest.mark.parametrize("by", ORDERS)
def test_the_best_pair_comes_first(by: str) -> None:
    values = [getattr(row, by) for row in rank_pairs([A, B, C], texts=TEXTS, by=by)]
    assert values == sorted(values, reverse=ORDERS[by])


def test_the_matrix_holds_every_pair() -> None:
    rows = rank_pairs([A, B, C], texts=TEXTS)
    students, teachers, values = matrix(rows, "canonical")
    assert students == teachers == sorted([A.name, B.name, C.name])
    assert [values[k][k] for k in range(3)] == [None] * 3
    found = {(row.student, row.teacher): row.canonical for row in rows}
    assert values[0][1] == found[students[0], teachers[1]]


def test_progress_may_stop_it() -> None:
    class StopError(Exception):
        pass

    def progress(share: float, sentence: str) -> None:
        if share:
            raise StopError

    with pytest.raises(StopError):
        rank_pairs([A, B, C], texts=TEXTS[:1], progress=progress)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"tokenizers": [A]}, "at least two"),
        ({"tokenizers": [A], "student": A}, "at least two"),
        ({"tokenizers": [A, B], "student": A, "teacher": B}, "fixes one side"),
        ({"tokenizers": [A, B], "by": "beauty"}, "order of pairs"),
    ],
)
def test_what_cannot_be_ranked_is_refused(asked, said) -> None:
    with pytest.raises(CtkdError, match=said):
        rank_pairs(**asked, texts=TEXTS)


def test_what_cannot_be_measured_is_counted_and_left_out() -> None:
    (plain,) = rank_pairs([B], student=A, texts=TEXTS)
    odd = [*TEXTS, "", "half of \ud800", Skipped("not a record"), 7]
    (row,) = rank_pairs([B], student=A, texts=odd)
    assert row.skipped == {"empty": 1, "not valid Unicode (half of a character)": 1, "not a record": 1, "not a text": 1}
    assert replace(row, skipped={}) == plain


@pytest.mark.parametrize("side", [A, B])
def test_a_text_that_one_side_refuses_is_left_out_of_every_figure(side: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(self: Any, text: str, special_tokens: bool = False) -> Any:
        if self is side and text == TEXTS[0]:
            raise TokenizerError("no.")
        return encode(self, text, special_tokens)

    def refusing_all(self: Any, texts: list[str]) -> Any:
        if self is side and TEXTS[0] in texts:
            raise TokenizerError("no.")
        return encode_batch(self, texts)

    (expected,) = rank_pairs([B], student=A, texts=TEXTS[1:])
    encode, encode_batch = type(A).encode, type(A).encode_batch
    monkeypatch.setattr(type(A), "encode", refusing)
    monkeypatch.setattr(type(A), "encode_batch", refusing_all)
    (row,) = rank_pairs([B], student=A, texts=TEXTS)
    assert row.skipped == {"refused by the tokenizer": 1}
    assert replace(row, skipped={}) == expected
    with pytest.raises(CtkdError, match=r"no text can be measured \(1 x refused by the tokenizer\)"):
        rank_pairs([B], student=A, texts=TEXTS[:1])


@pytest.mark.parametrize(("texts", "said"), [([], "nothing was given"), (["", " "], "2 x empty")])
def test_no_text_at_all_is_refused(texts: list[str], said: str) -> None:
    with pytest.raises(CtkdError, match=f"no text to measure pairs on .{said}"):
        rank_pairs([A, B], texts=texts)


def test_long_texts_are_cut_as_measure_cuts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MAX_TEXT", 20)
    lengths: list[int] = []
    encode_batch = type(A).encode_batch

    def noting(self: Any, texts: list[str]) -> Any:
        lengths.extend(map(len, texts))
        return encode_batch(self, texts)

    monkeypatch.setattr(type(A), "encode_batch", noting)
    rank_pairs([B], student=A, texts=["a word " * 20])
    assert 0 < max(lengths) <= 20


def test_tokenizers_of_one_name_are_told_apart_by_where_they_come_from() -> None:
    data = A.backend.to_str().encode()
    one, two = (replace(load_tokenizer_bytes(data, "model"), source=source) for source in ("here/model", "there/model"))
    rows = rank_pairs([one, two, B], texts=TEXTS[:1])
    assert {row.student for row in rows} == {"model (here/model)", "model (there/model)", B.name}
    rows = rank_pairs([one, replace(two, source=one.source)], texts=TEXTS[:1])
    assert {row.student for row in rows} == {"model (here/model) (1)", "model (here/model) (2)"}
    rows = rank_pairs([replace(one, source=""), replace(two, source="")], texts=TEXTS[:1])
    assert {row.student for row in rows} == {"model (1)", "model (2)"}


def test_a_method_comes_with_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"method_options.temperature": 2.0}
    monkeypatch.setattr(ranking, "advise", lambda facts: replace(advise(facts), method="gold", options=options))
    (row,) = rank_pairs([B], student=A, texts=TEXTS[:1])
    assert (row.method, row.options, row.to_dict()["options"]) == ("gold", options, options)
