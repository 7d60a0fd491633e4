"""Tables: pages, disagreements, CSV, twins of the figures."""

from __future__ import annotations

import csv
import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctkd_core.alignment.kinds import KIND_STYLES
from ctkd_core.alignment.metrics import agreement, kind_counts
from ctkd_core.figures import chips, groups, tables
from tests.figures.samples import made, trace


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


def test_tables_twin_the_pictures():
    a, b = made("sedi"), made("uld")
    table = tables.shown_groups(a, b)
    assert table["kind"].value_counts().to_dict() == {KIND_STYLES[k].name: n for k, n in kind_counts(a).items()}
    drifted = tables.shown_groups(b)
    assert (drifted["mark"] == "≠").tolist() == b.unequal.tolist()
    assert b.unequal.any() and not a.unequal.any()
    assert not (drifted["same_text"] & b.unequal).any()
    assert table["differs"].tolist() == chips.differing_groups(a, b).tolist()
    regions = agreement(a, b).differing
    assert len(tables.disagreements(a, b, regions)) == len(regions)


def test_some_rows_are_the_same_rows_as_in_the_whole_table():
    a, b = made("sedi"), made("uld")
    for one, other in ((a, b), (b, None)):
        whole = tables.shown_groups(one, other)
        rows = np.array([7, 2, 3])
        pd.testing.assert_frame_equal(tables.shown_groups(one, other, rows), whole.iloc[rows].reset_index(drop=True))
        for kinds in ([], ["1-1"], ["n-1", "≠"], ["≠"]):
            names = [KIND_STYLES[kind].name if kind in KIND_STYLES else kind for kind in kinds]
            wanted = whole[whole["kind"].isin(names) | whole["mark"].isin(names)] if kinds else whole
            assert tables.groups_of_kinds(one, kinds).tolist() == wanted["group"].tolist()
