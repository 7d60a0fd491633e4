"""Sums: exact in any order, kept as bytes; rates and intervals of them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctkd_core.alignment.metrics import rates
from ctkd_core.errors import CtkdError
from ctkd_core.pair.corpora import counts as module
from ctkd_core.pair.corpora.counts import ALL, AT, FIELDS, GROUPS, LEAST_TEXTS, RATES, Counts, intervals, metrics


def made(seed: int) -> Counts:
    rng = np.random.default_rng(seed)
    names = [ALL, ("script", "Latin"), ("language", f"l{seed % 3}")]
    tables = {name: rng.integers(0, 2**40 if seed % 2 else 9, (GROUPS, len(FIELDS))) for name in names}
    return Counts(tables, Counter({f"reason {seed % 2}": seed + 1}))


def same(a: Counts, b: Counts) -> bool:
    equal = a.slices.keys() == b.slices.keys() and all((a.slices[k] == b.slices[k]).all() for k in a.slices)
    return equal and a.skipped == b.skipped


MADE = [made(seed) for seed in range(3)]


@given(st.permutations(range(3)))
def test_the_order_of_additions_does_not_matter(order: list[int]) -> None:
    one, other = Counts(), Counts()
    for counts in MADE:
        one.add(counts)
    for place in order:
        other.add(Counts.from_bytes(MADE[place].to_bytes()))
    assert same(one, other)
    assert one.total()["largest_group"] == max(counts.total()["largest_group"] for counts in MADE)


@pytest.mark.parametrize("cut", [0, 1, 10, -1])
def test_a_damaged_record_is_a_value_error(cut: int) -> None:
    with pytest.raises(ValueError):
        Counts.from_bytes(made(1).to_bytes()[:cut])


def test_rates_are_those_of_alignments() -> None:
    counts = made(1)
    total = counts.total()
    found = metrics(counts)
    assert {name: found[name] for name in rates(total)} == rates(total)
    assert metrics(Counts())["boundary_f1"] == 1.0 and metrics(Counts())["share_1_1"] == 0.0


def tables(texts: int, share: float, rng: np.random.Generator) -> Counts:
    """Texts of about 100 tokens, of which about such a share is in 1-1 groups."""
    table = np.zeros((GROUPS, len(FIELDS)), dtype=np.int64)
    bucket, tokens = rng.integers(0, GROUPS, texts), rng.integers(50, 150, texts)
    own = np.clip(rng.normal(share, 0.1, texts), 0, 1)
    np.add.at(table[:, AT["texts"]], bucket, 1)
    np.add.at(table[:, AT["student_tokens"]], bucket, tokens)
    np.add.at(table[:, AT["1_1"]], bucket, np.rint(own * tokens).astype(int))
    return Counts({ALL: table})


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(7)
    inside = 0
    for _ in range(200):
        low, high = intervals(tables(300, 0.6, rng).table(), ("student_tokens_1_1",))["student_tokens_1_1"]
        inside += low <= 0.6 <= high
    assert 178 <= inside <= 199, "190 of 200 are expected"


def test_an_interval_has_the_width_of_a_bootstrap_over_texts() -> None:
    rng = np.random.default_rng(3)
    low, high = intervals(tables(20_000, 0.6, rng).table(), ("student_tokens_1_1",))["student_tokens_1_1"]
    # Tokens vary from 50 to 150: the mean of shares weighs by length.
    expected = 2 * 1.96 * 0.1 * np.sqrt((100**2 + 833) / 100**2 / 20_000)
    assert high - low == pytest.approx(expected, rel=0.3)


def test_few_texts_have_no_interval() -> None:
    rng = np.random.default_rng(0)
    assert metrics(tables(LEAST_TEXTS - 1, 0.5, rng))["intervals"] == {}
    found = metrics(tables(LEAST_TEXTS, 0.5, rng))["intervals"]
    assert found["student_tokens_1_1"][0] < found["student_tokens_1_1"][1]
    assert set(found) < set(RATES), "what has no denominator has no interval"


def test_a_field_of_no_use_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_VALUES", 2)
    total = Counts()
    total.add(made(0))
    total.add(made(1))
    with pytest.raises(CtkdError, match="field 'language' has more than 2 different values"):
        total.add(made(2))
