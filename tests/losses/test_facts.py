"""Facts of batches become those of a step."""

from __future__ import annotations

import json
import pickle

import pytest
import torch

from ctkd_core.losses.facts import Count, Mean, mean, of_the_step, portion


def test_counts_add_up_means_are_weighed_and_other_numbers_averaged():
    one = {"rows": Count(3), "right": Mean(1.0, 3), "columns": 8.0}
    other = {"rows": Count(1), "right": Mean(0.0, 1), "columns": 9.0}
    step = of_the_step([one, other])
    assert step == {"rows": 4.0, "right": 0.75, "columns": 8.5}
    assert of_the_step([step, {"rows": Count(4), "right": Mean(0.25, 4)}]) == {"rows": 8, "right": 0.5, "columns": 8.5}


def test_a_batch_without_any_says_nothing_of_a_mean():
    nothing = mean(torch.zeros(0), fallback=5.0)
    assert (nothing, nothing.weight) == (5.0, 0.0)
    for empty in (nothing, 0.0):  # a loss that looked at no row may say 0
        assert of_the_step([{"x": empty}, {"x": mean(torch.tensor([1.0, 2.0]))}]) == {"x": 1.5}
    assert of_the_step([{"x": nothing}, {"x": nothing}]) == {"x": 5.0}
    assert of_the_step([{}, {"x": Count(2)}]) == {"x": 2.0}
    assert portion(torch.tensor(3), torch.tensor(4)) == 0.75
    assert portion(0, 0) == 0.0


@pytest.mark.parametrize("fact", [Count(3), Mean(0.5, 4)])
def test_a_fact_is_a_float_that_travels(fact):
    assert json.dumps({"x": fact}) == json.dumps({"x": float(fact)})
    back = pickle.loads(pickle.dumps(fact))
    assert type(back) is type(fact)
    assert (back, getattr(back, "weight", None)) == (fact, getattr(fact, "weight", None))
