"""Looking up a token, the list of what is lost, and the graph of a token's neighbours."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctkd_core.errors import ProjectionError
from ctkd_core.figures import find_token as finding
from ctkd_core.figures import vocabulary_graph as graphs
from ctkd_core.figures import vocabulary_tokens as tokens
from ctkd_core.markup.visible import visible_bytes
from ctkd_core.vocabulary import project
from ctkd_core.vocabulary.projection import Projection
from tests.figures.samples import message_bytes
from tests.tiny import tiny_byte_level, tiny_metaspace, tiny_wordpiece

LIMIT = 2 * 2**20
STUDENT, TEACHER = tiny_byte_level(), tiny_metaspace()


@lru_cache(maxsize=4)
def mapped(method: str = "pieces") -> Projection:
    return project(STUDENT, TEACHER, method)


@pytest.mark.parametrize("tokenizer", [tiny_byte_level(), tiny_metaspace(), tiny_wordpiece()], ids=lambda t: t.kind)
def test_every_token_can_be_looked_up_again(tokenizer):
    for token in range(tokenizer.n_ids):
        assert finding.find_token(tokenizer, finding.query_for(tokenizer, token)) == token


@pytest.mark.parametrize(
    ("query", "data"),
    [
        *(("·the", b" the"), (" the", b" the"), ("▁the", b" the"), ("Ġthe", b" the")),
        *(("<E6>", b"\xe6"), ("<0xE6>", b"\xe6"), ("0", b"0"), ("#7", None)),
    ],
)
def test_queries_may_be_written_as_tokens_are_shown_or_as_vocabularies_write_them(query, data):
    found = finding.find_token(STUDENT, query)
    assert found == 7 if data is None else STUDENT.token_bytes(found) == data


@pytest.mark.parametrize(
    ("query", "message"),
    [("zzqq", r"spells 'zzqq'; it is cut into z \| z \| q \| q"), ("#99999", "its ids run to"), ("", "type a token")],
)
def test_queries_without_a_token_say_why(query, message):
    with pytest.raises(ProjectionError, match=message):
        finding.find_token(STUDENT, query)


@given(st.binary(max_size=12))
def test_spelled_reads_what_visible_writes(data):
    shown = visible_bytes(data)
    assert finding.spelled(shown) == data


def test_row_and_column_of_a_token_are_those_of_the_matrix():
    token = int(np.argmax(mapped().fan_out()))
    row = tokens.row_table(mapped(), token)
    dense = mapped().matrix.toarray()
    assert row["weight"].tolist() == [dense[token, k] for k in row["teacher_id"]]
    column = tokens.column_table(mapped(), int(row["teacher_id"][0]))
    assert set(column["student_id"]) == set(np.flatnonzero(dense[:, row["teacher_id"][0]]).tolist())
    assert f"{len(row)} teacher tokens" in tokens.row_sentence(mapped(), token)
    lonely = int(np.flatnonzero(mapped("exact").fan_out() == 0)[0])
    assert "maps to nothing" in tokens.row_sentence(mapped("exact"), lonely)


def test_the_list_of_losses_is_what_no_teacher_token_says():
    texts = ["In 2024 we sold 201 units, 201 of them twice."] * 3
    counts = tokens.token_counts(STUDENT, texts)
    assert counts.sum() == sum(len(ids) for ids in STUDENT.encode_batch(texts))
    table = tokens.lost_table(mapped("exact"), counts)
    audit = mapped("exact").audit()
    assert len(table) == sum(c["total"] - c["matched"] for c in audit.values())
    assert table["in_samples"].tolist() == sorted(table["in_samples"], reverse=True)
    assert set(table["reason"]) == {"empty"}
    pieces = tokens.lost_table(mapped(), counts).set_index("student_id")
    for token in pieces.index[:40].tolist():
        row = mapped().explain(token)
        expected = " │ ".join(visible_bytes(b) for b in row["teacher_bytes"])
        assert pieces.loc[token, "becomes"] == expected
        assert pieces.loc[token, "weight"] == (row["weight"].max() if len(row) else 0)


def test_a_neighbourhood_is_small_true_and_always_drawn_alike():
    token = int(mapped().column(int(np.argmax(mapped().column_load())))["student_id"].iloc[-1])
    found = graphs.neighbourhood(mapped(), token, most=8)
    assert len(found.graph) <= 8
    assert found.hidden > 0
    dense = mapped().matrix.toarray()
    for row in graphs.graph_table(found, mapped()).to_dict("records"):
        assert row["weight"] == pytest.approx(dense[row["student_id"], row["teacher_id"]])
    everyone = graphs.neighbourhood(mapped(), token, most=10_000)
    teachers = set(mapped().explain(token)["teacher_id"])
    column = {s for t in teachers for s in mapped().column(t)["student_id"]}
    assert {n[1] for n in everyone.graph if n[0] == "s"} == column
    assert everyone.hidden == 0
    first, second = graphs.layout(found), graphs.layout(found)
    assert all(np.array_equal(first[node], second[node]) for node in first)
    fig = graphs.graph_figure(found, mapped())
    drawn = next(trace for trace in fig.data if trace.name == "other student tokens")
    assert set(drawn.customdata.ravel().tolist()) == {n[1] for n in found.graph if n[0] == "s"} - {token}
    assert message_bytes(graphs.graph_figure(graphs.neighbourhood(mapped(), token), mapped())) < LIMIT / 4


def test_a_token_without_entries_stands_alone():
    lonely = int(np.flatnonzero(mapped("exact").fan_out() == 0)[0])
    found = graphs.neighbourhood(mapped("exact"), lonely)
    assert (len(found.graph), found.hidden) == (1, 0)
    assert len(graphs.graph_table(found, mapped("exact"))) == 0


def test_a_map_opens_on_a_lost_token_of_the_class_with_the_most_loss():
    student, teacher = tiny_byte_level(700), tiny_byte_level(400, digits=1)
    projection = project(student, teacher, "exact")
    found = tokens.opening(projection)
    lost = tokens.lost_table(projection, np.zeros(student.n_ids, dtype=np.int64))
    of_class = lost[lost["class"] == found.title]
    token = finding.find_token(student, found.query)
    assert token == of_class["student_id"].min()
    assert found.title in found.sentence
    other = finding.query_for(student, int(of_class["student_id"].max()))
    assert tokens.opening(projection, other).query == other
    assert tokens.opening(projection, "no such token").query == found.query
    assert tokens.opening(project(student, student, "exact")) is None
