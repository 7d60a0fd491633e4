"""One optimiser step over several batches is the step over one large batch, in value and in gradient."""

from __future__ import annotations

import pytest

import ctkd_core
from ctkd_core import methods

CHEAP = {"eval_samples": 0, "sample_prompts": 0, "save_student": False, "steps": 2, "warmup": 0.0}


def losses(pair, store, **changes) -> list[float]:
    run = ctkd_core.distill(pair.config(**CHEAP | changes), store)
    return [row["loss"] for row in run.metric_rows() if row["kind"] == "train"]


@pytest.mark.parametrize("variant", methods.VARIANTS)
@pytest.mark.parametrize("method", [row.name for row in methods.training()])
def test_four_samples_are_two_times_two(pair, store, method, variant):
    """The second loss follows from the gradient of the first step."""
    row = methods.get(method)
    if variant not in row.variants:
        pytest.skip(f"{method} has no variant {variant}")
    given = {"student": str(pair.teacher)} if row.same_tokenizer else {}
    given |= {"method": method, "variant": variant}
    whole = losses(pair, store, batch_size=4, **given)
    parts = losses(pair, store, batch_size=2, accumulation=2, **given)
    assert parts == pytest.approx(whole, rel=1e-6)
