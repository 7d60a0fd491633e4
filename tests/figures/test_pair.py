"""Figures of page Pair: every bar is the number of its source, every figure has its table, nothing is markup."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ctkd_core.figures import pair as figures
from ctkd_core.figures import pair_domains as domains
from ctkd_core.figures import pair_matrix as matrix
from ctkd_core.figures import pair_special as special
from ctkd_core.markup.colours import VERMILLION
from ctkd_core.pair.corpus import measure_domains
from ctkd_core.pair.report import pair_report
from ctkd_core.tokenizers.chat_templates import DiffPiece, Seam
from ctkd_core.tokenizers.special_tokens import compare
from ctkd_core.vocabulary.overlap import WAYS, overlap
from tests.figures.samples import message_bytes
from tests.tiny import CORPUS, tiny_byte_level, tiny_metaspace

STUDENT, TEACHER = tiny_byte_level(900), tiny_metaspace()
TEXTS = {"<b>mine</b>": CORPUS[:3], "other": CORPUS[3:5]}
LIMIT = 2 * 2**20


@pytest.fixture(scope="module")
def report():
    return pair_report(STUDENT, TEACHER, TEXTS)


@pytest.fixture(scope="module")
def rows():
    return measure_domains(STUDENT, TEACHER, TEXTS)


def test_overlap_bars_add_up_to_the_vocabularies() -> None:
    shared = overlap(STUDENT, TEACHER)
    table = figures.overlap_table(shared)
    fig = figures.overlap_figure(shared)
    assert [t.name for t in fig.data] == ["student alone", "shared", "teacher alone"]
    for trace, column in zip(fig.data, ("student only", "shared", "teacher only")):
        assert list(trace.x) == table[column].tolist()
    for k, way in enumerate(WAYS):
        row = table.iloc[k]
        assert row["shared"] == shared.shares[way].count
        specials = len(STUDENT.special_ids) if way == "bytes" else 0
        assert row["student only"] + shared.student_matched[way].sum() == STUDENT.vocab_size - specials
    assert message_bytes(fig) < LIMIT


def test_nothing_shared_is_drawn_as_nothing_shared() -> None:
    shared = overlap(STUDENT, TEACHER)
    nothing = type(shared)(
        7, 5, {w: type(s)(0, 0.0, 0.0, 0.0) for w, s in shared.shares.items()}, shared.student_matched, {}
    )
    empty = {w: np.zeros(7, dtype=np.bool_) for w in WAYS}
    table = figures.overlap_table(type(nothing)(7, 5, nothing.shares, empty, empty))
    assert table["shared"].tolist() == [0, 0, 0] and table["student only"].tolist() == [7, 7, 7]


def test_critical_gaps_are_red_and_hatched_and_said(report) -> None:
    table, fig = figures.class_table(report), figures.class_figure(report)
    student = fig.data[0]
    assert table["class"].tolist()[:3] == ["1-digit numbers", "2-digit numbers", "3-digit numbers"], "digits first"
    gaps = table["critical gap"].tolist()
    assert any(gaps) and not all(gaps)
    for k, gap in enumerate(gaps):
        assert (student.marker.color[k] == VERMILLION) == gap
        assert (student.marker.pattern.shape[k] == "x") == gap
        assert ("missing" in student.text[k]) == gap
    assert report.advice.verdict == "P-KL"
    audit = report.vocabulary["classes"]
    assert table["student tokens"].sum() == sum(r["total"] for r in audit.values())
    assert f"{audit['digits_3']['matched']} of {audit['digits_3']['total']}" in figures.class_sentence(report)


def test_a_class_that_a_side_lacks_says_none(report) -> None:
    fig = figures.class_figure(report)
    table = figures.class_table(report)
    lacking = table.index[table["teacher tokens"] == 0].tolist()
    assert lacking, "the teacher has no numbers of three digits"
    assert all(fig.data[1].text[k] == "none" and fig.data[1].x[k] == 0 for k in lacking)


def test_lengths_count_every_ordinary_token_once() -> None:
    counts = figures.token_lengths(STUDENT)
    assert counts.sum() == STUDENT.vocab_size - len(STUDENT.special_ids)
    assert counts[1] == sum(
        len(b) == 1 and i not in STUDENT.special_ids for i, b in enumerate(STUDENT.all_token_bytes())
    )
    table, fig = figures.length_table(STUDENT, TEACHER), figures.length_figure(STUDENT, TEACHER)
    assert table["student tokens"].tolist() == counts[1:].tolist()
    assert table["teacher share"].sum() == pytest.approx(1)
    np.testing.assert_allclose(fig.data[1].y, table["teacher share"])
    assert "bytes, teacher" in figures.length_sentence(STUDENT, TEACHER)


@pytest.mark.parametrize("measure", domains.MEASURES)
def test_domain_bars_are_the_metrics(rows, measure: str) -> None:
    fig = domains.domain_figure(rows, measure, "sedi", "other")
    shown = domains.MEASURES[measure]
    assert [t.name for t in fig.data] == [b.name for b in shown.bars]
    for trace, bars in zip(fig.data, shown.bars):
        assert list(trace.y) == [row[bars.key] for row in rows.values()]
        assert list(trace.customdata) == list(rows)
    assert len(fig.layout.shapes) == 1, "the chosen domain is marked"
    assert "<b>" not in json.dumps(fig.to_plotly_json()["data"][0]["x"])
    aligned = any(b.key not in {"student_fertility", "student_bytes_per_token"} for b in shown.bars[:1])
    assert ("sedi" in fig.layout.title.text) == aligned


def test_stacked_kinds_of_groups_fill_the_bar(rows) -> None:
    fig = domains.domain_figure(rows, "kinds of groups", "sedi")
    np.testing.assert_allclose(np.sum([t.y for t in fig.data], axis=0), 1)
    assert len({t.marker.pattern.shape for t in fig.data}) == len(fig.data), "a hatch for every kind"


def test_domain_table_holds_every_number(rows) -> None:
    table = domains.domain_table(rows)
    assert table["domain"].tolist() == list(rows)
    assert table["student tokens"].tolist() == [r["student_tokens"] for r in rows.values()]
    assert set(domains.share_columns()) <= set(table.columns)
    assert domains.domain_labels({"a" * 30 + "x": {}, "a" * 30 + "y": {}}) == ["a" * 23 + "…", "a" * 23 + "… (2)"]
    assert "no text could be measured" in domains.domain_sentence("x", {"texts": 0})


def test_matrix_has_a_cell_for_every_pair() -> None:
    names = ["a", "<b>", "c"]
    shares = {(s, t): dict.fromkeys(WAYS, 0.25) for s in names for t in names if s != t}
    shares["a", "c"] = dict.fromkeys(WAYS, 0.75)
    fig = matrix.matrix_figure(names, shares, "canonical", ("a", "c"))
    heat, points, own = fig.data
    (frame,) = fig.layout.shapes
    assert heat.z[0][2] == 0.75 and heat.z[1][1] == 1.0
    assert [list(c[:2]) for c in points.customdata] == [[s, t] for s in names for t in names if s != t]
    assert (frame.x0, frame.x1, frame.y0, frame.y1) == (1.5, 2.5, -0.5, 0.5), "column c, row a"
    assert list(zip(own.x, own.y)) == [(name, name) for name in heat.x], "a click on the diagonal chooses nothing"
    assert "<b>" not in [*heat.x, *points.x]
    table = matrix.matrix_table(names, shares)
    assert len(table) == 6 and (table["student"][0], table["teacher"][0]) == ("a", "c")
    blank = matrix.matrix_figure(names, {("a", "c"): shares["a", "c"]}, "bytes")
    assert blank.data[0].z[1][0] is None


def test_role_table_keeps_ids_and_says_none() -> None:
    rows = compare(STUDENT, TEACHER)
    table = special.role_table(rows)
    assert len(table) == len(rows)
    pad = table[table["role"] == "padding"].iloc[0]
    assert (pad["student"], pad["teacher"]) == ("<pad>", "none") and pad["student id"] == STUDENT.pad_id
    notes = special.role_notes(rows)
    assert {note for _, note in notes} == {r["note"] for r in rows if r["note"]}
    assert special.fact_table(STUDENT, TEACHER).set_index("fact")["student"]["tokens"] == f"{STUDENT.vocab_size:,}"


def test_chat_tables_make_whitespace_visible() -> None:
    table = special.difference_table([DiffPiece(False, "<s>\n", "a b")])
    assert table.iloc[0].tolist() == [False, "<s>↵", "a·b"]
    found = {"<turn>": (2, 6), "<end>": (1, 1)}
    assert special.marker_table(found)["tokens"].tolist() == [6, 1]
    said = special.marker_sentence("student", "teacher", found)
    assert "1 of 2 markers" in said and "10 tokens more" in said
    assert "every marker" in special.marker_sentence("student", "teacher", {"<end>": (1, 1)})
    assert "no special token" in special.marker_sentence("student", "teacher", {})
    apart, together = special.seam_text(Seam(False, (b"In", b" 20", b"", b"1"), (b"In", b" 201"), ""))
    assert (apart, together) == ("In │ ·20 ‖ 1", "In │ ·201")
    tokens = special.token_table(STUDENT.encode("a\n<bos>"))
    assert tokens["token"].tolist()[-1] == "<bos>" and tokens["special"].tolist()[-1]
