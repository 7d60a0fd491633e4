"""The `trainer` table as it is read, without transformers."""

from __future__ import annotations

import pytest

from ctkd_core.distill.config import RunConfig, json_schema
from ctkd_core.distill.training.table import parse_table
from ctkd_core.errors import RunError


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("", {}),
        ("lr_scheduler_type: linear\nmax_grad_norm: 0.5", {"lr_scheduler_type": "linear", "max_grad_norm": 0.5}),
        ("lr_scheduler_type=linear\n\nwarmup_steps=5", {"lr_scheduler_type": "linear", "warmup_steps": 5}),
        ("lr_scheduler_kwargs: {min_lr: 0.1}", {"lr_scheduler_kwargs": {"min_lr": 0.1}}),
    ],
)
def test_lines_of_a_form(text, table):
    assert parse_table(text) == table


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"max_steps": 5}, "set steps instead"),
        ({"per_device_train_batch_size": 5}, "set batch_size instead"),
        ({"output_dir": "x"}, "set --runs-dir instead"),
        ({"push_to_hub": True}, "runs stay on this computer"),
        ({"warmup_steps": float("nan")}, "may hold numbers"),
        ({"x": object()}, "may hold numbers"),
        ([1], "must be a table"),
        ("just words", "must be a table"),
        ("a: [", "one `name: value` in a line"),
        ({"x": "y" * 30_000}, "at most 20,000"),
    ],
)
def test_what_is_refused(table, said):
    with pytest.raises(RunError, match=said):
        RunConfig(trainer=table)


def test_precision_has_one_owner():
    with pytest.raises(RunError, match="leave one of them out"):
        RunConfig(precision="bf16", trainer={"fp16": True})


def test_an_empty_table_leaves_a_config_as_it_was():
    assert "trainer" not in RunConfig().to_dict()
    assert RunConfig(trainer={"optim": "adafactor"}).fingerprint != RunConfig().fingerprint
    config = RunConfig(trainer={"optim": "adafactor"})
    assert RunConfig.from_dict(config.to_dict()) == config
    assert json_schema()["properties"]["trainer"]["type"] == "object"
