"""Intervals, paired differences and sign flips against values that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ctkd_core.distill.comparison.statistics import difference, estimate, holm, sign_flip_probability


def test_students_interval_of_three_values():
    found = estimate([1.0, 2.0, 3.0])
    # t(2) at 97.5 % is 4.30265; s = 1
    assert (found.n, found.mean, found.deviation) == (3, 2.0, 1.0)
    assert (found.low, found.high) == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5), abs=1e-5)


def test_one_value_has_no_interval_and_none_no_estimate():
    assert (estimate([2.0]).mean, estimate([2.0]).low) == (2.0, None)
    assert estimate([]) is None
    assert estimate([float("nan"), 3.0]).n == 1


@pytest.mark.parametrize(
    ("gaps", "probability"),
    [
        ([], 1.0),
        ([0.5], 1.0),
        ([0.1, 0.2, 0.3], 2 / 8),
        ([-0.1, -0.2, -0.3], 2 / 8),
        ([0.1] * 6, 2 / 64),
        ([1.0, -1.0], 1.0),
        ([0.0, 0.0, 0.0], 1.0),
        # sums of +-1 +-2 +-3 whose size is at least |-1 + 2 + 3| = 4: +-4, +-6
        ([-1.0, 2.0, 3.0], 4 / 8),
    ],
)
def test_the_probability_counts_signs(gaps, probability):
    assert sign_flip_probability(gaps) == pytest.approx(probability)


def test_many_values_are_drawn_and_come_near_the_exact_share():
    assert sign_flip_probability([1.0] * 20) == pytest.approx(0.0, abs=1e-3)
    alternating = [1.0, -1.0] * 10
    assert sign_flip_probability(alternating) == pytest.approx(1.0)


def test_only_equal_seeds_are_compared():
    found = difference({0: 1.0, 1: 2.0, 2: 9.0}, {0: 0.5, 1: 1.0, 3: 7.0})
    assert (found.n, found.mean) == (2, 0.75)
    assert found.probability == pytest.approx(0.5)
    assert difference({0: 1.0}, {1: 1.0}) is None


def test_a_wide_spread_that_seeds_share_does_not_hide_a_difference():
    rng = np.random.default_rng(0)
    base = {k: float(v) for k, v in enumerate(10 * rng.standard_normal(6))}
    found = difference({k: v - 0.1 for k, v in base.items()}, base)
    assert found.high < 0.0
    assert found.probability == pytest.approx(2 / 64)


def test_holm():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
