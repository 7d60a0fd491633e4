"""A sweep's definition: what it comes to, and what it refuses."""

from __future__ import annotations

import pytest

from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.sweeps.definition import (
    SweepDefinition,
    duration,
    json_schema,
    plan,
    refuse_dropped,
    result_fingerprint,
    values_of,
)
from ctkd_core.errors import RunError


def test_every_combination_is_a_run_and_seeds_change_slowest():
    found = plan(SweepDefinition(methods=["sft", "uld"], seeds=[3, 4], grid={"learning_rate": [1e-4, 2e-4]}))
    keys = [(c.seed, c.learning_rate, c.method) for c in found]
    assert keys == [(s, lr, m) for s in (3, 4) for lr in (1e-4, 2e-4) for m in ("sft", "uld")]
    assert found[0].name == "sft, learning_rate 0.0001, seed 3"


def test_an_option_of_one_method_leaves_the_others_alone():
    found = plan(SweepDefinition(methods=["sft", "uld"], seeds=[0], grid={"uld.temperature": ["1.0", "2.0"]}))
    assert [(c.method, c.method_options.get("temperature")) for c in found] == [
        ("sft", None),
        ("uld", 1.0),
        ("uld", 2.0),
    ]


def test_an_option_may_stand_before_the_one_that_gives_it_effect():
    (found,) = plan(SweepDefinition(methods=["gold"], grid={"gold.matched_weight": [0.3], "gold.weights": ["fixed"]}))
    assert (found.method_options["matched_weight"], found.method_options["weights"]) == (0.3, "fixed")


def test_listed_changes_and_whole_tables():
    runs = [{"method": "uld", "method_options": {"temperature": 3.0}}, {"method": "sedi", "align_options.unit": "char"}]
    first, second = plan(SweepDefinition(base={"steps": 5}, runs=runs))
    assert (first.method, first.method_options["temperature"], first.steps) == ("uld", 3.0, 5)
    assert (second.method, second.align_options["unit"]) == ("sedi", "char")
    assert first.name == "uld, temperature 3, seed 0"


def test_options_of_the_trainer_are_varied_too():
    base = {"trainer": {"max_grad_norm": 0.5}}
    found = plan(SweepDefinition(base=base, methods=["sft"], grid={"trainer.optim": ["adamw_torch", "sgd"]}))
    assert [config.trainer for config in found] == [
        base["trainer"] | {"optim": name} for name in ("adamw_torch", "sgd")
    ]
    assert found[1].name == "sft, optim sgd, seed 0"
    listed = SweepDefinition(base=base, runs=[{"trainer": {"max_grad_norm": 2.0}}, {"trainer": {"optim": "sgd"}}])
    assert [c.trainer for c in plan(listed)] == [{"max_grad_norm": 2.0}, {"max_grad_norm": 0.5, "optim": "sgd"}]
    assert [c.name for c in plan(listed)] == ["sedi, max_grad_norm 2, seed 0", "sedi, optim sgd, seed 0"]


def test_a_name_has_the_method_what_varies_and_the_seed():
    shared = {"steps": [5], "data": ["/" + "long/" * 40], "max_length": [32]}
    definition = SweepDefinition(methods=["sft", "uld"], seeds=[0, 1], grid=shared | {"learning_rate": [1e-4, 2e-4]})
    names = [config.name for config in plan(definition)]
    assert names[:2] == ["sft, learning_rate 0.0001, seed 0", "uld, learning_rate 0.0001, seed 0"]
    assert len(set(names)) == len(names) == 8


def test_names_of_long_values_differ_and_keep_their_seed():
    paths = [f"/{'folder/' * 30}{name}.jsonl" for name in ("first", "second")]
    names = [c.name for c in plan(SweepDefinition(seeds=[0, 12], grid={"data": paths, "learning_rate": [1e-4, 2e-4]}))]
    assert len(set(names)) == 8 and max(map(len, names)) < 100
    assert "first.jsonl, learning_rate 0.0001" in names[0] and names[-1].endswith(", seed 12")
    middle = [f"/{'a' * 60}{name}{'z' * 60}" for name in ("1", "2")]
    names = [c.name for c in plan(SweepDefinition(methods=["sft"], seeds=[0, 1], grid={"data": middle}))]
    endings = [name.rpartition(" ")[0].rpartition("(")[2] + name.rpartition(" ")[2] for name in names]
    assert endings == ["1), seed0", "2), seed0", "1), seed1", "2), seed1"]


def test_names_show_where_long_values_and_close_numbers_differ():
    paths = [f"/data/of/mine/{name}-texts/{'folder/' * 12}part-1.jsonl" for name in ("english", "german")]
    names = [c.name for c in plan(SweepDefinition(methods=["sft"], grid={"data": paths, "steps": [4, 5]}))]
    assert names[::2] == ["sft, data …english…, steps 4, seed 0", "sft, data …german…, steps 4, seed 0"]
    close = {"learning_rate": [0.0001234567, 0.0001234568]}
    names = [c.name for c in plan(SweepDefinition(methods=["sft"], grid=close))]
    assert names == [f"sft, learning_rate 0.000123456{k}, seed 0" for k in (7, 8)]


def test_seeds_may_stand_in_the_grid():
    assert [c.name for c in plan(SweepDefinition(grid={"seed": [3, 4]}))] == ["sedi, seed 3", "sedi, seed 4"]


def test_values_of_a_text():
    assert values_of("learning_rate", "1e-4, 2e-4") == ["1e-4", "2e-4"]
    assert values_of("trainer.max_grad_norm", "0.5, 1") == [0.5, 1]
    assert values_of("trainer.gradient_checkpointing", "true,false") == [True, False]
    with pytest.raises(RunError, match="write the sweep as a file"):
        values_of("trainer.lr_scheduler_kwargs", "{a: 1, b: 2}")


def test_equal_runs_are_one():
    assert len(plan(SweepDefinition(methods=["sft"], seeds=[1, 1], runs=[{"steps": 3}, {"steps": 3}]))) == 1


def test_an_empty_sweep_is_the_base():
    assert [c.replace(name="") for c in plan(SweepDefinition())] == [RunConfig()]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"metods": ["sft"]}, "metods"),
        ({"methods": "sft"}, "lists"),
        ({"methods": ["sftt"]}, "sftt"),
        ({"grid": {"learning_rate": 1e-4}}, "must be a list of values"),
        ({"grid": {"learning_rat": [1e-4]}}, "learning_rat"),
        ({"grid": {"uld.temperatur": [1.0]}}, "temperatur"),
        ({"grid": {"trainer.max_steps": [3]}}, "set steps instead"),
        ({"runs": [{"trainer": "sgd"}]}, "must be a table"),
        ({"grid": {"learning_rate": [7.0]}}, "learning_rate"),
        ({"seeds": [0.5]}, "seeds"),
        ({"base": {"steps": "many"}}, "steps"),
        ({"name": "a\udcff"}, "isn't valid Unicode"),
        ({"grid": {"data": ["a\udcff"]}}, "isn't valid Unicode"),
        ({"seeds": list(range(50)), "grid": {"learning_rate": [0.1] * 50}}, "2,500 runs"),
    ],
)
def test_what_no_run_could_be_told_is_refused(given, sentence):
    with pytest.raises(RunError, match=sentence):
        plan(SweepDefinition(**given))


def test_options_of_a_method_that_no_run_has_are_refused():
    option = {"uld.temperature": [1.0, 2.0]}
    for given in (
        {"methods": ["sft"], "grid": option},
        {"base": {"method": "sft"}, "runs": [{"uld.temperature": 2.0}]},
        {"methods": ["sft"], "runs": [{"steps": 3}, {"uld.temperature": 2.0}]},
        {"base": {"method": "uld"}, "grid": {"method": ["sft"]} | option},
        {"runs": [{"method": "sft", "uld.temperature": 2.0}, {"method": "uld"}]},
        {"methods": ["sft"], "runs": [{"method": "uld", "uld.temperature": 2.0}, {"uld.temperature": 1.0}]},
    ):
        with pytest.raises(RunError, match=r"'uld\.temperature' is an option of method 'uld', and"):
            refuse_dropped(SweepDefinition(**given))
    for given in (
        {"methods": ["sft", "uld"], "grid": option},
        {"base": {"method": "uld"}, "grid": option},
        {"grid": {"method": ["sft", "uld"]} | option},
        {"runs": [{"method": "uld"}, {"method": "sft"}], "grid": option},
        {"methods": ["sft"], "runs": [{"method": "uld", "uld.temperature": 2.0}, {"steps": 3}]},
    ):
        refuse_dropped(SweepDefinition(**given))


def test_a_file_in_yaml(tmp_path):
    file = tmp_path / "sweep.yaml"
    file.write_text("name: two\nbase: {preset: quick, steps: 7}\nmethods: [sft]\nseeds: [0, 1]\n")
    found = SweepDefinition.from_file(file)
    assert SweepDefinition(**found.to_dict()) == found
    assert [(c.steps, c.batch_size, c.seed) for c in plan(found)] == [(7, 6, 0), (7, 6, 1)]
    file.write_text("steps: 7\n")
    with pytest.raises(RunError, match="steps"):
        SweepDefinition.from_file(file)


def test_the_name_alone_is_no_other_run():
    assert result_fingerprint(RunConfig(name="a")) == result_fingerprint(RunConfig(name="b"))
    assert result_fingerprint(RunConfig(seed=1)) != result_fingerprint(RunConfig(seed=2))


def test_which_server_writes_the_students_text_is_no_other_run():
    learns = {"student_model": "pretrained", "student_path": "gpt2", "lora_rank": 2, "on_policy_share": 0.5}
    alone = RunConfig(method="gold", **learns)
    one, other = (
        alone.replace(on_policy_server=f"http://localhost:{port}/v1", on_policy_server_model=name)
        for port, name in ((8000, "a"), (8001, "b"))
    )
    assert result_fingerprint(one) == result_fingerprint(other) != result_fingerprint(alone)


def test_the_time_is_that_of_all_runs():
    one, two = (duration(plan(SweepDefinition(methods=["sft"], seeds=list(range(n))))) for n in (1, 2))
    assert 0 < one[0] < one[1]
    assert two == pytest.approx((2 * one[0], 2 * one[1]))


def test_the_schema_names_every_key():
    assert set(json_schema()["properties"]) == {"name", "base", "methods", "seeds", "grid", "runs", "baseline", "reuse"}
