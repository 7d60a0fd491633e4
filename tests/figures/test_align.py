"""Figures of page Align: the DTW picture three ways, the bipartite graph, cards with evidence, health, tables."""

from __future__ import annotations

import csv
import io

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctkd_core.alignment import align
from ctkd_core.alignment.base import Alignment
from ctkd_core.alignment.metrics import agreement, health
from ctkd_core.errors import AlignmentError
from ctkd_core.figures import card, dtw, graph, groups, metrics, tables, theme
from ctkd_core.lab.evidence import Evidence
from tests.tiny import CORPUS, tiny_byte_level

STUDENT, TEACHER = tiny_byte_level(), tiny_byte_level(700, digits=1)
TEXT = "The student reads <b>bold</b> & 2024 façade 👩‍🚀 units; the teacher reads 1234567 of them."
LIMIT = 2 * 2**20


def made(method: str = "sedi", text: str = TEXT, **options: object) -> Alignment:
    return align(text, student=STUDENT, teacher=TEACHER, method=method, **options)


def said(text: str = TEXT, seed: int = 0) -> Evidence:
    """Made-up rows of both models, three candidates each."""
    rng = np.random.default_rng(seed)
    sizes = [len(t.encode(text, special_tokens=False).ids) for t in (TEACHER, STUDENT)]
    entropies = [rng.uniform(0, 5, n).astype(np.float32) for n in sizes]
    ids = [rng.integers(0, 300, (n, 3)).astype(np.int32) for n in sizes]
    logp = [np.log(np.tile([0.5, 0.25, 0.125], (n, 1))).astype(np.float32) for n in sizes]
    return Evidence(*entropies, ids[0], logp[0], ids[1], logp[1], np.zeros(sizes[0], np.float32), ("made up",))


def weighted(text: str = TEXT) -> Alignment:
    found = said(text)
    return made("cdm", text, student_entropy=found.student_entropy, teacher_entropy=found.teacher_entropy)


def trace(fig, name: str):
    return next(t for t in fig.data if t.name == name)


@pytest.mark.parametrize("kind", ["local", "accumulated"])
def test_the_window_shows_costs_path_and_groups(kind):
    a = made("cdm")
    fig = dtw.dtw_figure(a, group=3, kind=kind)
    rows, columns = dtw.window_around(a, 3, dtw.WINDOW)
    heat = fig.data[0]
    np.testing.assert_array_equal(heat.z, a.cost.window(kind, rows, columns).T)
    assert kind.capitalize() in fig.layout.title.text
    path = trace(fig, "path")
    shown = {(int(x), int(y)) for x, y in zip(path.x, path.y)}
    inside = {(s, t) for s, t in a.pairs.tolist() if rows.start <= s < rows.stop and columns.start <= t < columns.stop}
    assert shown == inside
    cells = trace(fig, "cells")
    assert len(cells.x) == heat.z.size
    for x, y, (group, cost) in zip(cells.x, cells.y, cells.customdata):
        s0, s1, _, _ = a.groups[int(group)]
        assert s0 <= x < s1
        assert cost == heat.z[int(y) - columns.start, int(x) - rows.start]


def test_strips_show_the_entropies_of_the_window():
    a, found = weighted(), said()
    fig = dtw.dtw_figure(a, 5, size=20)
    rows, columns = dtw.window_around(a, 5, 20)
    student, teacher = trace(fig, "student entropy"), trace(fig, "teacher entropy")
    np.testing.assert_allclose(student.y, found.student_entropy[rows])
    np.testing.assert_allclose(teacher.x, found.teacher_entropy[columns])
    assert list(student.x) == list(range(rows.start, rows.stop))
    assert list(teacher.y) == list(range(columns.start, columns.stop))
    np.testing.assert_array_equal(student.customdata, a.cost.student_weights[rows])
    assert set(np.unique(a.cost.student_weights)) == {3, 4, 5}
    # the strips share the window's token axes and stand beside it
    assert (student.xaxis, teacher.yaxis) == ("x", "y")
    assert fig.layout.yaxis.domain[1] < fig.layout.yaxis3.domain[0]
    assert fig.layout.xaxis.domain[1] < fig.layout.xaxis3.domain[0]


def test_without_entropies_there_are_no_strips():
    fig = dtw.dtw_figure(made("cdm"))
    assert not [t for t in fig.data if t.type == "bar"]
    assert fig.layout.yaxis.domain[1] == 1.0
    one = said()
    half = made("cdm", teacher_entropy=one.teacher_entropy)
    assert [t.name for t in dtw.dtw_figure(half).data if t.type == "bar"] == ["teacher entropy"]


def test_the_figure_of_a_long_text_is_capped_and_small():
    long = made("cdm", " ".join(CORPUS * 3))
    middle = len(long) // 2
    fig = dtw.dtw_figure(long, middle, size=500)
    window, whole = (t for t in fig.data if t.type == "heatmap")
    assert np.shape(window.z) == (64, 64)
    assert max(np.shape(whole.z)) <= 256
    assert len(trace(fig, "whole path").x) <= 256
    assert theme.message_bytes(fig) < LIMIT
    s0, s1, t0, t1 = long.groups[middle]
    rows, columns = dtw.window_around(long, middle, 64)
    assert rows.start <= s0 < s1 <= rows.stop
    assert columns.start <= t0 < t1 <= columns.stop
    (frame,) = fig.layout.shapes
    assert (frame.x0, frame.x1) == (rows.start - 0.5, rows.stop - 0.5)


@pytest.mark.parametrize("make", [dtw.dtw_figure, dtw.dtw_table])
def test_methods_without_costs_say_so(make):
    with pytest.raises(AlignmentError, match="searches no cost matrix"):
        make(made("sedi"))


def test_the_table_twin_holds_the_path_of_the_window():
    a = weighted()
    table = dtw.dtw_table(a, 3)
    path = trace(dtw.dtw_figure(a, 3), "path")
    assert list(zip(table["student_token"], table["teacher_token"])) == list(zip(path.x, path.y))
    for row in table.itertuples():
        s0, s1, t0, t1 = a.groups[row.group]
        assert s0 <= row.student_token < s1
        assert t0 <= row.teacher_token < t1
    assert (np.diff(table["accumulated"]) >= 0).all()
    np.testing.assert_allclose(table["teacher_entropy"], said().teacher_entropy[table["teacher_token"]])


def overlaps(a: Alignment, student: int, teacher: int) -> int:
    (s0, s1), (t0, t1) = a.student.spans[student], a.teacher.spans[teacher]
    return max(0, int(min(s1, t1) - max(s0, t0)))


@pytest.mark.parametrize("method", ["sedi", "cdm", "uld", "gold"])
def test_the_graph_joins_what_the_method_pairs_and_what_overlaps(method):
    a = made(method)
    found = graph.component(a, len(a) // 2)
    nodes = set(found.graph)
    students, teachers = ({k for side, k in nodes if side == which} for which in ("student", "teacher"))
    rows = a.groups[found.first : found.last]
    assert students == {k for s0, s1, _, _ in rows for k in range(s0, s1)}
    assert teachers == {k for _, _, t0, t1 in rows for k in range(t0, t1)}
    assert nx.is_bipartite(found.graph)
    for s in students:
        for t in teachers:
            edge = found.graph.get_edge_data(("student", s), ("teacher", t))
            common = overlaps(a, s, t)
            assert (edge["overlap"] if edge else 0) == common
            if a.pairs is not None:
                assert bool(edge and edge["pair"]) == ((s, t) in {tuple(p) for p in a.pairs.tolist()})
            elif edge and edge["pair"]:
                assert found.graph.nodes["student", s]["group"] == found.graph.nodes["teacher", t]["group"]


def test_pieces_of_the_byte_graph_are_the_groups():
    a = made("sedi")
    found = graph.component(a, len(a) // 2)
    pieces = {frozenset(c) for c in nx.connected_components(found.graph)}
    expected = {
        frozenset([("student", k) for k in range(s0, s1)] + [("teacher", k) for k in range(t0, t1)])
        for s0, s1, t0, t1 in a.groups[found.first : found.last].tolist()
    }
    assert pieces == expected


@given(st.text(alphabet="ab1 é🦙", min_size=1, max_size=40), st.integers(2, 30))
def test_a_graph_never_has_more_nodes_than_asked(text, most):
    a = made("uld", text)
    found = graph.component(a, len(a) - 1, most=most)
    assert 0 < len(found.graph) <= max(most, 2)
    assert found.first <= found.group < found.last
    drawn = sum(int(v) for v in a.sizes[found.first : found.last].sum(axis=1))
    assert found.hidden == drawn - len(found.graph)


def test_a_super_group_is_drawn_in_part_and_says_how_much():
    a = made(text=" ".join(CORPUS))
    one = Alignment(a.student, a.teacher, "one", np.array([[0, len(a.student), 0, len(a.teacher)]], dtype=np.int32))
    found = graph.component(one, 0)
    assert len(found.graph) == graph.MAX_NODES
    assert found.hidden == len(a.student) + len(a.teacher) - graph.MAX_NODES
    assert theme.message_bytes(graph.component_figure(one, found)) < LIMIT


def test_rows_of_the_graph_keep_the_order_of_the_text():
    a = made("cdm")
    found = graph.component(a, 5)
    where = graph.place(found)
    for side, height in (("teacher", 1.0), ("student", 0.0)):
        row = sorted(node for node in found.graph if node[0] == side)
        x = [where[node][0] for node in row]
        assert x == sorted(x)
        assert len(set(x)) == len(x)
        assert {where[node][1] for node in row} == {height}


def test_graph_points_carry_their_group_and_hold_no_markup():
    a = made("cdm")
    for group in range(len(a)):
        found = graph.component(a, group)
        fig = graph.component_figure(a, found)
        for name, columns in (("student token", (0, 1)), ("teacher token", (2, 3))):
            points = trace(fig, name)
            assert not any("<" in text for text in points.text)
            for g, position, *_ in points.customdata:
                assert a.groups[g][columns[0]] <= position < a.groups[g][columns[1]]
    table = graph.component_table(a, found)
    assert len(table) == found.graph.number_of_edges()
    assert set(table["bytes"]) >= {int(overlaps(a, r.student_token, r.teacher_token)) for r in table.itertuples()}
    with pytest.raises(AlignmentError, match="there is no group 9999; this alignment has"):
        graph.component(a, 9999)


def test_the_card_gathers_methods_of_one_opinion():
    a = made("cdm")
    others = [made(name) for name in ("sedi", "gold", "uld", "mined")]
    shown = card.group_card(a, 0, others)
    assert sorted(name for verdict in shown.verdicts for name in verdict.methods) == ["gold", "mined", "sedi", "uld"]
    assert len({verdict.sentence for verdict in shown.verdicts}) == len(shown.verdicts)
    assert [v.agrees for v in shown.verdicts] == sorted((v.agrees for v in shown.verdicts), reverse=True)


def test_the_card_tells_what_the_models_expect():
    a, found = weighted(), said()
    group = next(g for g in range(len(a)) if a.sizes[g, 1] > 1)
    t0, t1 = a.groups[group, 2:]
    assert card.uncertainty(a, group, found, "teacher") == pytest.approx(found.teacher_entropy[t0:t1].tolist())
    expected = card.expected(a, group, found, "teacher", TEACHER)
    assert [p for _, p in expected] == pytest.approx([0.5, 0.25, 0.125])
    ids = found.teacher_top_ids[t1 - 1]
    assert [text for text, _ in expected] == [card.visible_bytes(TEACHER.token_bytes(int(i))) for i in ids]


def test_health_lists_the_figures_of_both_methods():
    both = [made(name, " ".join(CORPUS)) for name in ("sedi", "uld")]
    table = tables.health_table(both, [one.metrics() for one in both]).set_index("figure")
    assert list(table.columns) == ["sedi", "uld"]
    assert table.loc["verdict", "sedi"] == "sound"
    assert table.loc["boundary F1", "sedi"] == "1.000"
    bad = health(both[1])
    assert table.loc["without a partner", "uld"] == f"{bad.orphans} tokens"
    whole = Alignment(
        both[0].student,
        both[0].teacher,
        "one",
        np.array([[0, len(both[0].student), 0, len(both[0].teacher)]], dtype=np.int32),
    )
    assert tables.health_table([whole], [whole.metrics()])["one"][0] == "super-group"


def test_names_tell_variants_and_options_apart():
    assert made("cdm").label == "cdm"
    assert made("cdm", variant="released", integer_weights=False).label == "cdm (released, no integer weights)"
    assert made("alm", chunking="space").label == "alm (chunking space)"
    assert made("cdm", window=64).label == "cdm (window 64)"


@pytest.mark.parametrize(
    ("group", "page"), [(None, (4, 0)), (0, (4, 0)), (9, (4, 0)), (30, (4, 1)), (32, (4, 2)), (999, (4, 3))]
)
def test_the_page_of_a_group(group, page):
    rows = [*range(10), *range(20, 50)]  # a filter left gaps
    assert tables.page_of_row(rows, group, 11) == page
    assert tables.page_of_row([], 5, 11) == (1, 0)


def test_disagreements_show_the_tokens_of_each_group():
    a, b = made("cdm"), made("sedi")
    table = tables.disagreements(a, b, agreement(a, b).differing)
    assert table["cdm"].str.contains("│").any()
    assert table["sedi"].str.contains("│").any()
    same = made("cdm", variant="released")
    twice = tables.disagreements(a, same, agreement(a, same).differing)
    assert list(twice.columns) == ["group", "cdm", "cdm (released)"]


@given(st.lists(st.text(max_size=8), min_size=1, max_size=6))
def test_no_cell_of_a_csv_begins_a_formula(texts):
    table = pd.DataFrame({"=a": texts, "n": [-1.5] * len(texts)})
    out = list(csv.reader(io.StringIO(tables.safe_csv(table), newline="")))
    assert out[0] == ["'=a", "n"]
    for (text, number), given_text in zip(out[1:], texts):
        assert not text.startswith(tables.FORMULA)
        assert text.removeprefix("'") == given_text.removeprefix("'")
        assert number == "-1.5"


def test_the_csv_of_groups_has_their_ranges():
    a = made("cdm", text="=1+1 -2 @x +3")
    rows = list(csv.DictReader(io.StringIO(tables.groups_csv(a, made("sedi", text="=1+1 -2 @x +3")))))
    assert [[int(r[k]) for k in ("s0", "s1", "t0", "t1")] for r in rows] == a.groups.tolist()
    assert any(r["student"].startswith("'") for r in rows)
    assert not any(r[k].startswith(("=", "+", "-", "@")) for r in rows for k in ("student", "teacher"))


def test_the_staircase_table_twins_its_figure():
    a, b = made("sedi"), made("uld")
    table = groups.staircase_table(a, (b,))
    fig = groups.staircase(a, None, (b,))
    mine = table[table["method"] == "sedi"]
    points = trace(fig, "sedi")
    assert list(zip(mine["student_byte"], mine["teacher_byte"])) == list(zip(points.x, points.y))


def test_nine_methods_look_different():
    rates = {f"m{k}": made().metrics() for k in range(12)}
    fig = metrics.metric_bars(rates)
    looks = {(t.marker.color, t.marker.pattern.shape) for t in fig.data}
    assert len(looks) == 12
    assert fig.layout.height > metrics.metric_bars({"m": made().metrics()}).layout.height
