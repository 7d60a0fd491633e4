"""Learning rates by the part that a loss learns."""

from __future__ import annotations

import pytest

from ctkd_core import methods
from ctkd_core.distill.config import RunConfig, json_schema
from ctkd_core.distill.state_rates import PARTS, rate_of
from ctkd_core.distill.sweeps.definition import SweepDefinition, plan
from ctkd_core.errors import RunError
from tests.losses.cases import METHODS, batch_of, extras, samples


def test_a_part_has_its_rate_or_that_of_all():
    config = RunConfig(state_learning_rate=0.01, state_learning_rates={"omega": "0.1", "projector": 0})
    assert config.state_learning_rates == {"omega": 0.1, "projector": 0.0}
    assert [rate_of(config, 0, part) for part in ("projection", "omega", "projector")] == [0.01, 0.1, 0.0]
    assert rate_of(RunConfig(), 0, "omega") == 0.0


def test_a_further_teacher_has_its_own():
    more = {"teacher": "smollm2", "method": "sedi"}
    teachers = [more, more | {"state_learning_rate": 0.5}]
    config = RunConfig(teachers=teachers, state_learning_rates={"omega": 0.1})
    assert [rate_of(config, number, "omega") for number in range(3)] == [0.1, 0.1, 0.5]
    assert "state_learning_rate" not in config.to_dict()["teachers"][0]  # as configs of before have it


@pytest.mark.parametrize(
    ("table", "said"), [({"omegas": 0.1}, "did you mean 'omega'"), ({"omega": 2}, "omega"), (0.1, "table of rates")]
)
def test_what_is_refused(table, said):
    with pytest.raises(RunError, match=said):
        RunConfig(state_learning_rates=table)


def test_a_config_without_the_table_is_as_it_was():
    assert "state_learning_rates" not in RunConfig().to_dict()
    config = RunConfig(state_learning_rates={"omega": 0.1})
    assert RunConfig.from_dict(config.to_dict()) == config
    assert set(json_schema()["properties"]["state_learning_rates"]["properties"]) == set(PARTS)


def test_a_sweep_varies_them():
    found = plan(SweepDefinition(methods=["sedi"], grid={"state_learning_rates.omega": [0.01, 0.1]}))
    assert [config.state_learning_rates for config in found] == [{"omega": 0.01}, {"omega": 0.1}]
    assert found[0].name == "sedi, omega 0.01, seed 0"


@pytest.mark.parametrize("method", [name for name in METHODS if methods.get(name).state])
def test_what_every_loss_learns_is_one_of_the_parts(method):
    state = extras(method, batch_of(samples())).get("state")
    if state is None:
        pytest.skip("it learns something with other options alone")
    assert getattr(state, "part", "projector") in PARTS
