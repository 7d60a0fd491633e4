"""The share of the gap between SFT and the teacher."""

from __future__ import annotations

import pytest

from ctkd_core.distill.evaluation.gap import gaps_closed, share_closed, shares_closed


def test_share_of_the_gap():
    assert share_closed(2.0, 1.5, 1.0) == pytest.approx(0.5)
    assert share_closed(2.0, 1.0, 1.0) == pytest.approx(1.0)
    assert share_closed(2.0, 2.2, 1.0) == pytest.approx(-0.2)
    for none in ((1.0, 0.5, 1.0), (1.0, 0.5, 2.0), (None, 1.0, 1.0), (2.0, None, 1.0), (2.0, 1.0, None)):
        assert share_closed(*none) is None
    found = shares_closed({"ru": 3.0, "de": 1.0}, {"ru": 2.0, "de": 1.0, "fr": 1.0}, {"ru": 1.0, "de": 1.5, "fr": 0.1})
    assert found == {"ru": 0.5, "de": None}


def row(run_id: str, method: str, after: float | None, seed: int = 0, **more: object) -> dict[str, object]:
    metrics = {"bits_per_byte_after": after, "teacher_bits_per_byte": 1.0}
    base = {"run_id": run_id, "method": method, "seed": seed, "student": "s", "teacher": "t", "steps": 10}
    return base | {"student_model": "scratch", "metrics": metrics} | more


def test_each_run_is_compared_with_sft_of_its_own_seed_where_there_is_one():
    rows = [
        row("a", "sft", 2.0),
        row("b", "sft", 3.0, seed=1),
        row("c", "uld", 1.5),
        row("d", "uld", 2.0, seed=1),
        row("e", "sedi", 1.75, seed=2),
        row("f", "sedi", 1.5, steps=20),
        row("g", "sedi", None),
        row("h", "sedi", 1.5, data="other.jsonl"),
        row("i", "sedi", 1.5, eval_share=0.5),
    ]
    found = gaps_closed(rows)
    assert found == {"c": 0.5, "d": 0.5, "e": 0.5, "f": None, "g": None, "h": None, "i": None}
