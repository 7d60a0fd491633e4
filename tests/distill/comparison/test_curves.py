"""Curves over steps, tokens, seconds and joules; smoothing; bands; samples side by side."""

from __future__ import annotations

import numpy as np
import pytest

from ctkd_core.distill.comparison.curves import band, known_axes, line_of, smoothed
from ctkd_core.distill.comparison.samples import side_by_side
from tests.distill.comparison.make import made


@pytest.fixture
def rows(store):
    return made(store, 2.0).metric_rows()


def test_what_a_step_spent_counts_from_its_end(rows):
    x, y = line_of(rows, "loss")
    assert (x.tolist(), y.tolist()) == ([1, 2, 3, 4], [4, 3, 2, 1])
    assert line_of(rows, "loss", "seconds")[0].tolist() == [0.5, 1.0, 1.5, 2.0]
    assert line_of(rows, "loss", "tokens")[0].tolist() == [50, 100, 150, 200]
    x, y = line_of(rows, "bits_per_byte", "tokens", "eval")
    assert (x.tolist(), y.tolist()) == ([0, 200], [3.0, 2.0])
    assert line_of(rows, "terms.ce")[1].tolist() == [1.0] * 4


def test_axes_that_are_not_known_are_not_offered(rows):
    assert known_axes([rows]) == ["step", "tokens", "seconds"]
    with_joules = [row | {"joules": 3.0} for row in rows]
    assert known_axes([with_joules]) == ["step", "tokens", "seconds", "joules"]
    assert line_of(with_joules, "loss", "joules")[0].tolist() == [3, 6, 9, 12]
    assert known_axes([with_joules, rows]) == ["step", "tokens", "seconds"]


def test_smoothing_keeps_a_level_and_the_first_value():
    assert smoothed(np.full(5, 2.0), 0.9) == pytest.approx(np.full(5, 2.0))
    y = np.array([0.0, 1.0])
    assert smoothed(y, 0.5)[1] == pytest.approx(2 / 3)
    assert smoothed(y, 0.0) is y


def test_a_band_is_students_interval_at_each_point():
    x = np.array([1.0, 2.0])
    found = band([(x, np.array([1.0, 5.0])), (x, np.array([3.0, 5.0]))])
    assert found.mean.tolist() == [2.0, 5.0]
    assert found.high[0] - 2.0 == pytest.approx(12.7062 * 2**0.5 / 2**0.5, rel=1e-4)
    assert (found.low[1], found.high[1]) == (5.0, 5.0)


def test_curves_of_other_lengths_are_compared_where_both_are():
    found = band([(np.array([0.0, 4.0]), np.array([0.0, 4.0])), (np.array([2.0, 6.0]), np.array([2.0, 6.0]))])
    assert (found.x[0], found.x[-1]) == (2.0, 4.0)
    assert found.mean == pytest.approx(found.x)
    assert band([(np.array([0.0, 1.0]), np.zeros(2)), (np.array([2.0, 3.0]), np.zeros(2))]) is None
    assert band([]) is None


def test_samples_stand_side_by_side(store):
    runs = {"a": made(store, answer="5"), "b": made(store, answer="four")}
    assert side_by_side(runs) == [{"prompt": "2 + 2?", "reference": "4", "teacher": "four", "a": "5", "b": "four"}]
    assert side_by_side(runs, step=3) == []
