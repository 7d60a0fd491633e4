"""The cost matrix: window, strips, path, table twin, what it says without costs."""

from __future__ import annotations

import numpy as np
import pytest

from ctkd_core.errors import AlignmentError
from ctkd_core.figures import dtw, theme
from tests.figures.samples import made, message_bytes, said, trace, weighted
from tests.tiny import CORPUS

LIMIT = 2 * 2**20


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
    assert message_bytes(fig) < LIMIT
    s0, s1, t0, t1 = long.groups[middle]
    rows, columns = dtw.window_around(long, middle, 64)
    assert rows.start <= s0 < s1 <= rows.stop
    assert columns.start <= t0 < t1 <= columns.stop
    (frame,) = fig.layout.shapes
    assert (frame.x0, frame.x1) == (rows.start - 0.5, rows.stop - 0.5)


@pytest.mark.parametrize("make", [dtw.dtw_figure, dtw.dtw_table])
def test_methods_without_costs_say_so(make):
    with pytest.raises(AlignmentError, match="searches no path through costs"):
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


def test_labels_hold_no_markup():
    assert theme.escape("<b>&</b>") == "&lt;b&gt;&amp;&lt;/b&gt;"
    fig = dtw.dtw_figure(made("cdm"))
    labels = [*fig.layout.xaxis.ticktext, *fig.layout.yaxis.ticktext]
    assert any("&lt;" in label for label in labels)
    assert not any("<" in label for label in labels)
