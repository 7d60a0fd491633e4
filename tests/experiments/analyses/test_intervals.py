"""Bootstrap intervals against a plain loop, and verdicts by hand."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.analyses.intervals import (
    CONTRADICTED,
    REPRODUCED,
    UNDECIDED,
    counted,
    difference,
    draws,
    percent,
    ratio,
    verdict,
)


def test_the_interval_is_that_of_texts_drawn_one_by_one():
    parts, wholes = [3, 0, 5, 9], [4, 7, 5, 10]
    found = ratio(parts, wholes)
    assert found.value == pytest.approx(17 / 26)
    by_loop = []
    for times in draws(4):
        drawn = [k for k, n in enumerate(times) for _ in range(n)]
        by_loop.append(sum(parts[k] for k in drawn) / sum(wholes[k] for k in drawn))
    assert found.low == pytest.approx(np.quantile(by_loop, 0.025))
    assert found.high == pytest.approx(np.quantile(by_loop, 0.975))
    assert ratio(parts, wholes) == found  # seeded


def test_differences_are_paired_by_text():
    parts, wholes = np.array([1, 5, 9]), np.array([10, 10, 10])
    found = difference(parts + 1, wholes, parts, wholes)
    assert (found.low, found.high) == pytest.approx((0.1, 0.1))
    assert found.sign == 1
    assert difference(parts, wholes, parts + 1, wholes).sign == -1
    assert difference(parts, wholes, parts, wholes).sign == 0


def test_nothing_to_divide_by():
    found = ratio([0, 0], [0, 0])
    assert np.isnan(found.value) and found.sign == 0
    assert percent(found) == "-"
    assert percent(ratio([1, 1], [2, 2])) == "50.0 (50.0 to 50.0)"
    assert percent(ratio([], [])) == "-"


@pytest.mark.parametrize(
    ("signs", "expected"),
    [
        ([1, 1, 1], REPRODUCED),
        ([1, 1, 0], REPRODUCED),
        ([1, 0, 0], UNDECIDED),
        ([1, 1, -1], UNDECIDED),
        ([-1, -1, 0], CONTRADICTED),
        ([-1, -1, 1], UNDECIDED),
        ([0, 0, 0], UNDECIDED),
        ([], UNDECIDED),
    ],
)
def test_a_verdict_follows_from_the_signs(signs, expected):
    assert verdict(signs) == expected


def test_signs_in_words():
    assert counted([1, -1, 0, 1]) == "on 2 of 4 pairs, the opposite on 1, within the intervals on 1"
