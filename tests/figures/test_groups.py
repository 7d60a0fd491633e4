"""Boundaries and sizes of groups."""

from __future__ import annotations

import numpy as np

from ctkd_core.alignment.kinds import KIND_STYLES, KINDS
from ctkd_core.figures import groups
from tests.figures.samples import made, message_bytes, trace
from tests.tiny import CORPUS

LIMIT = 2 * 2**20


def test_staircase_is_on_the_diagonal_exactly_for_byte_groups():
    ends = groups.boundary_bytes(made("sedi"))
    assert (ends[:, 0] == ends[:, 1]).all()
    drifting = groups.boundary_bytes(made("uld"))
    assert (drifting[:, 0] != drifting[:, 1]).any()
    fig = groups.staircase(made("sedi"), 2, (made("uld"),))
    assert [t.name for t in fig.data][1:] == ["sedi", "uld", "group 2"]
    assert [int(v) for v in trace(fig, "sedi").customdata[:, 0]] == list(range(len(made("sedi"))))


def test_staircase_of_a_long_text_is_thinned():
    fig = groups.staircase(made("sedi", " ".join(CORPUS * 12)))
    assert len(trace(fig, "sedi").x) <= groups.MAX_POINTS
    assert message_bytes(fig) < LIMIT


def test_histogram_counts_every_group_once():
    a = made()
    fig = groups.size_histogram(a)
    assert sum(int(np.sum(t.y)) for t in fig.data) == len(a)
    assert {t.name for t in fig.data} == {KIND_STYLES[a.kind(g)].name for g in range(len(a))}
    drifted = groups.size_histogram(made("uld"))
    marked = [t for t in drifted.data if t.name == "≠ 1 student : 1 teacher"]
    assert sum(marked[0].y) == made("uld").unequal.sum()
    patterns = [KIND_STYLES[name].pattern for name in KINDS]
    borders = {(KIND_STYLES[name].border, KIND_STYLES[name].colour) for name in KINDS}
    assert len(set(patterns)) == len(KINDS) == len(borders)
