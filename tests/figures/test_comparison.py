"""Runs in words: no more than the seeds support."""

from __future__ import annotations

import pytest

from ctkd_core.figures.comparison import better_sentence


def _run(method: str, bits: float | None, seed: int = 0) -> dict[str, object]:
    return {"method": method, "steps": 40, "seed": seed, "metrics": {"bits_per_byte_after": bits}}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], ""),
        ([_run("sedi", 1.0)], "Only one kind"),
        (
            [_run("sedi", 1.0), _run("uld", 1.2)],
            "sedi is ahead of uld by 0.200 bits per byte, with 1 and 1 seeds: too few",
        ),
        ([_run("a", 1.0), _run("a", 1.1), _run("b", 1.3), _run("b", 1.4)], "every one of its 2 seeds is better"),
        ([_run("a", 1.0), _run("a", 1.5), _run("b", 1.3), _run("b", 1.4)], "their seeds overlap"),
        ([_run("a", 1.0), _run("b", None)], "Only one kind"),
        ([_run("a", 1.0) | {"opened": ""}, _run("a", 1.2) | {"opened": "opened"}], "a is ahead of a (opened) by 0.200"),
    ],
)
def test_the_comparison_claims_no_more_than_the_seeds_support(rows, said):
    assert said in better_sentence(rows)
