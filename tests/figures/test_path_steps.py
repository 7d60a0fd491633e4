"""The path step by step: pages cover it, and every cell holds its candidates, the least of which it took."""

from __future__ import annotations

import json

import pytest

from ctkd_core.errors import AlignmentError
from ctkd_core.figures import path_steps
from tests.figures.samples import made, weighted
from tests.tiny import CORPUS


def test_pages_cover_the_path_and_stay_small():
    a = made("cdm", " ".join(CORPUS))
    pages = path_steps.step_pages(a)
    assert pages > 10
    steps = []
    for page in range(pages):
        data = path_steps.step_page(a, page)
        assert data["first"] == len(steps[:-1])
        assert data["total"] == len(a.pairs)
        assert max(len(data["student"]), len(data["teacher"])) <= path_steps.STEPS
        here = [[data["student"][x][0], data["teacher"][y][0]] for x, y in data["path"]]
        assert not steps or here[0] == steps[-1], "a page begins where the last one ended"
        steps += here[1:] if steps else here
        assert len(json.dumps(data)) < 60_000
    assert steps == a.pairs.tolist()


def test_each_cell_is_its_cost_and_the_least_of_its_candidates():
    data = path_steps.step_page(weighted(), 1)
    for row in data["cells"]:
        for _, cost, total, *before, taken in row:
            known = [b for b in before if b is not None]
            assert total == pytest.approx(cost + min(known), abs=0.02)
            assert before[taken] == min(known)


def test_the_page_of_a_group_shows_it():
    a = made("mined")
    for group in range(len(a)):
        data = path_steps.step_page(a, path_steps.page_of_group(a, group))
        s0, s1, t0, t1 = a.groups[group]
        if s1 > s0 and t1 > t0:
            places = [(data["student"][x][0], data["teacher"][y][0]) for x, y in data["path"]]
            assert any(s0 <= s < s1 and t0 <= t < t1 for s, t in places)
            assert data["reach"][str(group)] == [t0, t1]


def test_the_table_has_a_row_for_each_step():
    a = made("cdm")
    data, table = path_steps.step_page(a, 1), path_steps.step_table(a, 1)
    assert table["step"].tolist() == list(range(data["first"], data["first"] + len(data["path"])))
    assert set(table["taken"]) <= set(path_steps.CANDIDATES)
    assert (table["accumulated"].diff().dropna() >= 0).all()


def test_no_path_no_steps():
    with pytest.raises(AlignmentError, match="searches no path"):
        path_steps.step_page(made("sedi"))
    empty = path_steps.step_page(made("cdm", ""))
    assert (empty["cells"], empty["path"], path_steps.step_pages(made("cdm", ""))) == ([], [], 1)
