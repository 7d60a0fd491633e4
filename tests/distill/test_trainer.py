"""What the Trainer is told: one step over several batches is one over a large batch; rates and the trainer table."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import ctkd_core
from ctkd_core.background import attempt
from ctkd_core.distill import worker

CHEAP = {"eval_samples": 0, "sample_prompts": 0, "save_student": False, "steps": 2}


def rows(pair, store, **changes):
    run = ctkd_core.distill(pair.config(**CHEAP | changes), store)
    return [row for row in run.metric_rows() if row["kind"] == "train"]


# All methods: tests/losses/engine/test_units.py. These count from the batch alone, from the logits, from both models.
@pytest.mark.parametrize("method", ["sft", "sedi", "dskd"])
def test_four_samples_are_two_times_two(pair, store, method):
    """The second loss follows from the gradient of the first step."""
    whole = rows(pair, store, method=method, batch_size=4)
    parts = rows(pair, store, method=method, batch_size=2, accumulation=2)
    assert [r["loss"] for r in parts] == pytest.approx([r["loss"] for r in whole], rel=1e-6)
    assert parts[1]["terms"] == pytest.approx(whole[1]["terms"], rel=1e-5, abs=1e-6)
    assert parts[1]["gradient_norm"] == pytest.approx(whole[1]["gradient_norm"], rel=1e-4)
    for figure in ("by_kind", "by_class", "diagnostics"):  # sums of all samples, counts, and shares of all rows
        assert parts[0][figure] == pytest.approx(whole[0][figure], rel=1e-5, abs=1e-6)


def test_older_versions_of_transformers_divide_no_loss_by_the_batches_either(pair, store, monkeypatch):
    from ctkd_core.distill.trainer import DistillTrainer

    unknown = property(lambda self: None, lambda self, value: None)  # they don't know the field
    monkeypatch.setattr(DistillTrainer, "loss_is_scaled_for_ga", unknown)
    found = []
    for sizes in ({"batch_size": 4}, {"batch_size": 2, "accumulation": 2}):
        run = store.create(pair.config(**CHEAP | sizes, method="sft"))
        assert worker.execute(run, lambda: False) == attempt.FINISHED
        found.append([row["gradient_norm"] for row in run.metric_rows() if row["kind"] == "train"])
    assert found[1] == pytest.approx(found[0], rel=1e-4)


def test_the_first_step_learns_unless_asked_otherwise(pair, store):
    given = {"method": "sft", "steps": 4, "warmup": 0.5}
    assert [r["learning_rate"] for r in rows(pair, store, **given)[:3]] == pytest.approx([0.005, 0.01, 0.01])
    zero = rows(pair, store, **given, warmup_from_zero=True)
    assert [r["learning_rate"] for r in zero[:3]] == pytest.approx([0.0, 0.005, 0.01])


def test_what_a_loss_learns_has_a_rate_of_its_own(pair, store):
    """One step of AdamW moves each omega by about its rate, whatever the gradient."""
    given = {"method": "sedi", "steps": 2, "warmup": 0.0, "trainer": {"lr_scheduler_type": "constant"}}
    moved = [
        abs(rows(pair, store, **given, state_learning_rate=rate)[1]["diagnostics"]["omega_mean"])
        for rate in (0.0, 0.01, 0.1)
    ]
    assert moved[0] == pytest.approx(moved[1], rel=1e-5)  # 0: the student's
    assert moved[2] == pytest.approx(10 * moved[1], rel=0.01)


def test_parts_that_losses_learn_have_rates_by_name(pair, store):
    """The part's rate comes before the one of all; a further teacher's own before both."""
    given = {"method": "sedi", "steps": 2, "warmup": 0.0, "trainer": {"lr_scheduler_type": "constant"}}

    def moved(name="omega_mean", **changes):
        return abs(rows(pair, store, **given | changes)[1]["diagnostics"][name])

    table = {"omega": 0.1, "projector": 1.0}
    first = moved(state_learning_rate=0.05)
    assert moved(state_learning_rate=0.05, state_learning_rates={"projection": 0.1}) == pytest.approx(first, rel=1e-5)
    assert moved(state_learning_rate=0.05, state_learning_rates=table) == pytest.approx(2 * first, rel=0.01)
    more = {"teacher": str(pair.teacher), "method": "sedi", "name": "more"}
    both = {"teachers": [more | {"state_learning_rate": 0.2}], "state_learning_rates": table}
    assert moved("more.omega_mean", **both) == pytest.approx(4 * first, rel=0.02)
    assert moved(f"{pair.teacher}.omega_mean", **both) == pytest.approx(2 * first, rel=0.02)


def test_the_trainer_table_reaches_transformers(pair, store):
    table = {"lr_scheduler_type": "linear", "max_grad_norm": 1e-9, "gradient_checkpointing": True}
    config = pair.config(**CHEAP, method="sft", warmup=0.0, trainer=table | {"report_to": "tensorboard"})
    run = ctkd_core.distill(config, store)
    assert run.config.trainer == config.trainer
    assert [row["learning_rate"] for row in run.metric_rows()] == pytest.approx([0.01, 0.005])
    (events,) = (run.dir / "tensorboard").glob("events*")
    written = events.read_bytes()
    assert b"train/loss" in written
    assert b"train/term_ce" in written


def test_a_resumed_run_keeps_the_rates(pair, store):
    given = {"method": "sedi", "steps": 4, "state_learning_rate": 0.1, "save_every": 1}
    whole = rows(pair, store, **given)
    run = store.create(pair.config(**CHEAP | given))
    assert worker.execute(run, lambda: any(r.get("step") == 2 for r in run.metric_rows())) == attempt.CANCELLED
    again = replace(run.status(), state="queued", attempt=2, pid=None)
    (run.dir / "status.json").write_text(json.dumps(again.to_dict()))
    assert worker.execute(run, lambda: False) == attempt.FINISHED
    mine = [r for r in run.metric_rows() if r["kind"] == "train"]
    assert [r["loss"] for r in mine] == pytest.approx([r["loss"] for r in whole], rel=1e-5)
