"""Figures and verdicts in words."""

from __future__ import annotations

import pytest

from ctkd_core.methods.evidence import Difference, Interval
from experiments.phrases import in_words, listed, value, word


def gap(mean: float, low: float | None, high: float | None, n: int = 3) -> Difference:
    return Difference(n=n, mean=mean, low=low, high=high, probability=0.25)


@pytest.mark.parametrize(
    ("found", "figure", "expected"),
    [
        (gap(-0.02, -0.03, -0.01), "bits_per_byte", "decidedly better by 0.02 (0.01 to 0.03; 3 seeds)"),
        (gap(0.02, 0.01, 0.03, 5), "bits_by_domain.ru", "decidedly worse by 0.02 (0.01 to 0.03; 5 seeds)"),
        (gap(0.02, 0.01, 0.03), "mass_by_class.digits_3", "decidedly higher by 0.02 (0.01 to 0.03; 3 seeds)"),
        (gap(-9.0, -19.2, -0.5), "exposure.1", "decidedly lower by 9 (0.5 to 19.2; 3 seeds)"),
        (gap(-0.02, -0.05, 0.01), "bits_per_byte", "undecided (-0.02, -0.05 to +0.01; 3 seeds)"),
        (gap(-0.02, -0.03, -0.01, 2), "bits_per_byte", "undecided (-0.02, -0.03 to -0.01; 2 seeds)"),
        (gap(-0.02, None, None, 1), "bits_per_byte", "undecided (-0.02; 1 seed)"),
        (None, "bits_per_byte", "not run"),
    ],
)
def test_a_difference_in_words(found: Difference | None, figure: str, expected: str) -> None:
    assert in_words(found, figure) == expected
    assert expected.startswith(word(found, figure))


def test_means_and_lists() -> None:
    assert value(Interval(n=3, mean=1.23456, low=1.0, high=1.5)) == "1.23 (1 to 1.5)"
    assert value(Interval(n=1, mean=1200.4), count=True) == "1200, n = 1"
    assert value(None) == "not run"
    assert [listed(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "none",
        "a",
        "a and b",
        "a, b and c",
    ]
