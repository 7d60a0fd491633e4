"""The rule of all verdicts."""

from __future__ import annotations

import pytest

from ctkd_core.methods.evidence import Difference, verdict_of


@pytest.mark.parametrize(
    ("n", "low", "high", "higher", "expected"),
    [
        (3, -0.2, -0.1, False, "reproduced"),
        (3, 0.1, 0.2, False, "contradicted"),
        (3, 0.1, 0.2, True, "reproduced"),
        (3, -0.2, -0.1, True, "contradicted"),
        (3, -0.1, 0.2, False, "undecided"),
        (2, -0.2, -0.1, False, "undecided"),
        (1, None, None, False, "undecided"),
        (3, 0.0, 0.0, False, "undecided"),
    ],
)
def test_verdicts(n: int, low: float | None, high: float | None, higher: bool, expected: str) -> None:
    mean = 0.0 if low is None or high is None else (low + high) / 2
    gap = Difference(n=n, mean=mean, low=low, high=high, probability=0.25)
    assert verdict_of(gap, higher) == expected


def test_without_runs_there_is_no_verdict() -> None:
    assert verdict_of(None, False) == "not run"
