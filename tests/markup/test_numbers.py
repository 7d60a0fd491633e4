"""Shares for people: only all is 100 %, only nothing is 0."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctkd_core.markup.numbers import decimals, percent, probability


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.0, "0.0 %"), (1.0, "100.0 %"), (0.974, "97.4 %"), (0.99996, "99.9 %"), (0.00001, "<0.1 %"), (0.5, "50.0 %")],
)
def test_a_share_is_said_without_promises(share, said):
    assert percent(share) == said


@given(st.floats(0.0, 1.0, exclude_min=True, exclude_max=True))
def test_neither_end_is_reached_by_rounding(share):
    assert percent(share) not in ("0.0 %", "100.0 %")
    assert decimals(share) not in ("0.000", "1.000")


@pytest.mark.parametrize(
    ("p", "said"),
    [(0.0, "0 %"), (1.0, "100.0 %"), (0.1234, "12.3 %"), (0.0012, "0.1 %"), (0.0008, "0.08 %"), (3e-5, "0.003 %"),
     (1e-9, "<0.001 %")],
)  # fmt: skip
def test_probabilities_of_every_size_have_one_unit(p, said):
    assert probability(p) == said
