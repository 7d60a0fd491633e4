"""The bipartite graph: what is joined, how much is drawn, in which order."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctkd_core.alignment.base import Alignment
from ctkd_core.errors import AlignmentError
from ctkd_core.figures import graph
from tests.figures.samples import made, message_bytes, trace
from tests.tiny import CORPUS

LIMIT = 2 * 2**20


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
    assert message_bytes(graph.component_figure(one, found)) < LIMIT


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


def test_tokens_that_face_other_bytes_are_crossed_out():
    a = made("uld")
    group = int(np.flatnonzero(a.unequal)[0])
    found = graph.component(a, group)
    fig = graph.component_figure(a, found)
    for name, shape in (("student token", "circle"), ("teacher token", "square")):
        points = trace(fig, name)
        for (g, *_, said), symbol, text in zip(points.customdata, points.marker.symbol, points.text):
            assert symbol == (f"{shape}-x" if a.unequal[g] else shape)
            assert text.startswith("≠ ") == bool(a.unequal[g])
            assert ("spell different bytes" in said) == bool(a.unequal[g])
    assert any(t.name == "≠ the two sides spell different bytes" for t in fig.data)
    table = graph.component_table(a, found)
    assert table["mark"].tolist() == ["≠" if a.unequal[g] else "" for g in table["group"]]
    right = graph.component_figure(made("sedi"), graph.component(made("sedi"), 3))
    assert not any("≠" in str(t.name) for t in right.data)
