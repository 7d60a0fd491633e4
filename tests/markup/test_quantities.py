"""Times and sizes in words."""

from __future__ import annotations

import pytest

from ctkd_core.markup.quantities import about, between, duration, in_bytes


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, ""), (0.4, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (725, "12 min")],
)
def test_durations(seconds, said):
    assert duration(seconds) == said


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


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "5 s"), (42.4, "40 s"), (118, "2 min"), (127, "2 min 10 s"), (754, "13 min"), (12_100, "3 h 20 min")],
)
def test_estimates_are_said_no_more_exactly_than_they_are(seconds, said):
    assert about(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"), [(1, "1 byte"), (12, "12 bytes"), (820_000, "820.0 kB"), (3.1e9, "3.1 GB"), (2.5e12, "2.5 TB")]
)
def test_sizes(count, said):
    assert in_bytes(count) == said
