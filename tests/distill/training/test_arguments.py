"""What transformers says of a `trainer` table."""

from __future__ import annotations

import importlib.util
import os

import pytest

from ctkd_core.distill import checks
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.training.arguments import check_table, checked, training_arguments
from ctkd_core.errors import RunError


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"warmup_step": 5}, "did you mean 'warmup_steps'"),
        ({"max_grad_norm": "much"}, "max_grad_norm.*invalid float value: 'much'"),
        ({"optim": "adamm"}, "adamm"),
        ({"lr_scheduler_type": "cosy"}, "cosy"),
    ],
)
def test_unknown_names_and_values(table, said):
    with pytest.raises(RunError, match=said):
        check_table(table)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"warmup_steps": 5}, "set warmup instead"),
        ({"warmup_ratio": 0.1}, "set warmup instead"),
        ({"train_sampling_strategy": "group_by_length"}, "leave it out"),
        ({"lr_scheduler_type": "warmup_stable_decay"}, "needs num_decay_steps; set them in lr_scheduler_kwargs"),
        ({"lr_scheduler_type": "cosine_with_min_lr"}, "cosine_with_min_lr.*can't be made.*min_lr"),
        ({"lr_scheduler_type": "linear", "lr_scheduler_kwargs": {"power": 2}}, "linear.*power"),
        ({"optim_args": "nonsense"}, "optim_args takes name=value"),
        ({"optim_args": "momentum=0.9,", "optim": "sgd"}, "optim_args takes name=value"),
        ({"optim_args": {"momentum": 0.9}, "optim": "sgd"}, "optim_args takes name=value"),
        ({"optim_args": "momentum=0.9"}, "doesn't read 'momentum' of optim_args"),
        ({"optim_args": "momentum=0.9,momentun=0.9", "optim": "sgd"}, "doesn't read 'momentun' of optim_args"),
        ({"optim_args": "momentum=-1", "optim": "sgd"}, "Invalid momentum value"),
        ({"optim_args": "momentum=much", "optim": "sgd"}, "much"),
        ({"adam_epsilon": -1}, "Invalid epsilon value: -1.*adam_epsilon"),
        ({"adam_beta2": 1.5}, "Invalid beta parameter"),
        ({"dataloader_persistent_workers": True}, "needs dataloader_num_workers"),
        ({"dataloader_num_workers": 100_000_000}, "100,000,000 would start as many processes; give at most"),
    ],
)
def test_what_would_end_the_run_once_models_are_loaded(table, said):
    config = RunConfig(trainer=table)  # runs of earlier versions have such configs
    with pytest.raises(RunError, match=said):
        check_table(config.trainer)
    assert not checks._trainer(config).ok


@pytest.mark.parametrize(
    ("table", "package"), [({"optim": "adamw_8bit"}, "bitsandbytes"), ({"use_liger_kernel": True}, "liger-kernel")]
)
def test_packages_that_are_not_there(table, package):
    if importlib.util.find_spec(package.replace("-", "_")) is not None:
        pytest.skip(f"{package} is there")
    with pytest.raises(RunError, match=rf"(?s){package}.*install it"):
        check_table(table)


@pytest.mark.parametrize(
    "table",
    [
        {"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": {"num_decay_steps": 3}},
        {"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"power": 2.0}},
        {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": 0.1}},
        {"optim": "adafactor", "train_sampling_strategy": "sequential"},
        {"optim": "sgd", "optim_args": "momentum=0.9, nesterov=true"},
        {"optim": "rmsprop", "optim_args": "alpha=0.99,centered=false"},  # both at their defaults
        {"optim": "adamw_torch", "adam_epsilon": 1e-6},
    ],
)
def test_what_a_trainer_can_start_with(table):
    check_table(table)


def test_values_get_the_type_that_transformers_gives_them():
    found = checked({"max_grad_norm": "0.5", "adam_beta1": "8e-1", "torch_compile": "false", "use_cache": True})
    assert found == {"max_grad_norm": 0.5, "adam_beta1": 0.8, "torch_compile": False, "use_cache": True}


def test_the_table_lies_over_what_the_run_says(tmp_path):
    config = RunConfig(steps=10, trainer={"warmup_steps": 3, "bf16": True, "lr_scheduler_kwargs": {"num_cycles": 1}})
    found = training_arguments(config, tmp_path, "cpu")
    assert (found.max_steps, found.get_warmup_steps(10), found.bf16) == (10, 3, True)
    assert found.lr_scheduler_kwargs == {"num_cycles": 1}
    assert training_arguments(RunConfig(precision="fp16"), tmp_path, "cpu").fp16


def test_the_list_of_checks_names_a_package_that_is_missing():
    good = checks._trainer(RunConfig(trainer={"optim": "adafactor"}))
    assert good.ok, good.detail
    bad = checks._trainer(RunConfig(trainer={"report_to": "swanlab"}))
    assert not bad.ok
    assert "swanlab" in bad.detail


def test_asking_leaves_no_trace_in_the_environment(monkeypatch):
    monkeypatch.delenv("FSDP_CPU_RAM_EFFICIENT_LOADING", raising=False)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")

    def theirs() -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if name.startswith(("ACCELERATE_", "FSDP_"))}

    before = theirs()
    check_table({"fsdp": "full_shard", "fsdp_config": {"cpu_ram_efficient_loading": True}})
    assert theirs() == before


def test_a_scheduler_that_the_runs_rate_does_not_allow_is_refused():
    table = {"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"lr_end": 1e-3}}
    check_table(table, learning_rate=1e-2)
    with pytest.raises(RunError, match=r"polynomial.*lr_end"):
        check_table(table, learning_rate=2e-4)
