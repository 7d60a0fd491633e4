"""Names, durations and ages in words."""

from __future__ import annotations

import pytest

from ctkd_core.figures.words import ago, between, change, duration, remaining
from tests.figures.samples import made


def test_names_tell_variants_and_options_apart():
    assert made("cdm").label == "cdm"
    assert made("cdm", integer_weights=False).label == "cdm (no integer weights)"
    assert made("cdm", variant="released", window=64).label == "cdm (released, window 64)"
    assert made("alm", chunking="space").label == "alm (chunking space)"
    assert made("cdm", window=64).label == "cdm (window 64)"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, ""), (0.4, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (725, "12 min")],
)
def test_durations(seconds, said):
    assert duration(seconds) == said


def test_ages_changes_and_what_is_left():
    assert [ago(100.0, 100.0 + s) for s in (5, 120, 90_000, 400_000)] == [
        "just now",
        "2 min ago",
        "yesterday",
        "4 days ago",
    ]
    assert ago(None) == ""
    assert (change(1.5, 2.0), change(None, 1.0)) == (-0.5, None)
    assert remaining(10, 40, 20.0) == 60.0
    assert remaining(1, 40, 20.0) is None


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (20, 45, "20 to 45 s"),
        (70, 160, "1 to 3 min"),
        (40, 130, "40 s to 3 min"),
        (0, 30, "0 to 30 s"),
        (3000, 7000, "50 min to 2 h"),
        (8000, 20_000, "2 to 6 h"),
    ],
)
def test_a_range_has_its_unit(low, high, said):
    assert between(low, high) == said
