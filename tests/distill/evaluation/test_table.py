"""The table of evaluations: names in every form, in a config, and what they cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.estimate import estimate, evaluation_costs
from ctkd_core.distill.evaluation.evaluator import _PARTS
from ctkd_core.distill.evaluation.table import _TOKENS, EVALUATIONS, WRITING, TokensRead, chosen, spelt
from ctkd_core.errors import RunError


def test_every_row_can_be_measured_and_has_a_price():
    assert set(EVALUATIONS) == set(_PARTS) == set(_TOKENS)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("agreement,classes", ("classes", "agreement")),
        (["exposure", " completions "], ("completions", "exposure")),
        ("all", tuple(EVALUATIONS)),
        ("none", ()),
        ("", ()),
        ([], ()),
    ],
)
def test_names_in_every_form(given, expected):
    assert chosen(given) == expected
    assert chosen(spelt(expected)) == expected
    assert chosen(RunConfig(evaluations=given).evaluations) == expected


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(RunError, match="did you mean 'agreement'"):
        RunConfig(evaluations="agrement")
    with pytest.raises(RunError, match="names, separated by commas"):
        RunConfig(evaluations=3)


def test_a_config_of_before_keeps_its_fingerprint_and_lists_are_read():
    assert "evaluations" not in RunConfig().to_dict()
    listed = RunConfig.from_dict({"evaluations": ["agreement", "classes"]})
    assert listed.evaluations == "classes, agreement"
    assert RunConfig.from_dict(listed.to_dict()) == listed


def test_costs_are_the_tokens_that_are_read_and_written():
    config = RunConfig(eval_samples=10, eval_completions=4, sample_tokens=8)
    assert EVALUATIONS["classes"].tokens(config, 30) == TokensRead()
    assert EVALUATIONS["agreement"].tokens(config, 30) == TokensRead(300, 300, 0)
    assert EVALUATIONS["completions"].tokens(config, 30) == TokensRead(WRITING * 32, 0, WRITING * 32)
    assert EVALUATIONS["exposure"].tokens(config, 30).student == WRITING * 32 + 2 * 4 * 38


def test_the_estimate_of_a_run_counts_its_evaluations():
    plain, all_of_them = RunConfig(), RunConfig(evaluations="all")
    costs = evaluation_costs(all_of_them)
    assert set(costs) == set(EVALUATIONS) and costs["classes"].each == 0 < costs["exposure"].each
    each, once = (sum(getattr(cost, part) for cost in costs.values()) for part in ("each", "once"))
    more = estimate(all_of_them).training - estimate(plain).training
    assert more == pytest.approx(2 * each + once)  # before and after
    unmeasured = RunConfig(evaluations="all", eval_samples=0)
    assert estimate(unmeasured).training == pytest.approx(estimate(unmeasured.replace(evaluations="none")).training)


def test_the_table_in_the_docs_is_that_of_the_rows():
    page = (Path(__file__).resolve().parents[3] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    table = page.partition("<!-- The table of evaluations")[2].partition("-->")[2].partition("<!-- End")[0]
    rows = [f"| `{row.name}` | {row.question} | {row.cost} |" for row in EVALUATIONS.values()]
    assert table.split("|---|---|---|\n")[1].strip().splitlines() == rows
