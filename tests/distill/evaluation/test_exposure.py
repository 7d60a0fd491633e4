"""ExAccErr against its definition."""

from __future__ import annotations

import numpy as np
import pytest

from ctkd_core.distill.evaluation.exposure import excess_errors


def test_excess_error_is_the_ratio_of_the_accumulated_errors():
    forced = [np.array([1.0, 1.0, 2.0, 4.0])] * 4
    own = [np.array([1.0, 2.0, 3.0, 6.0])] * 4
    found = excess_errors(own, forced, lengths=(1, 2, 3, 4, 5))
    assert found == {"1": 0.0, "2": pytest.approx(50.0), "3": pytest.approx(50.0), "4": pytest.approx(50.0)}
    assert excess_errors(forced, forced, lengths=(1, 4)) == {"1": 0.0, "4": 0.0}


def test_means_are_over_the_texts_that_are_so_long():
    short, long = np.array([2.0]), np.array([4.0, 8.0])
    own = [short, short, long, long, long, long]
    found = excess_errors(own, [np.ones(2)] * 4, lengths=(1, 2))
    assert found["1"] == pytest.approx(100 * ((2 * 2 + 4 * 4) / 6 - 1))
    assert found["2"] == pytest.approx(100 * ((20 / 6 + 8) - 2) / 2)


def test_too_few_texts_and_no_error_give_no_figure():
    ones = [np.ones(8)] * 3
    assert excess_errors(ones, ones) == {}
    mostly_short = [np.ones(8)] * 4 + [np.ones(1)] * 5
    assert list(excess_errors(mostly_short, [np.ones(8)] * 4, lengths=(1, 2))) == ["1"]
    assert excess_errors([np.ones(2)] * 4, [np.zeros(2)] * 4) == {}
    assert excess_errors([], []) == {}
