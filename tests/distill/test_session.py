"""Training in this process: each method learns, resuming is exact, faults end as "failed" with a sentence."""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

import ctkd_core
from ctkd_core import methods
from ctkd_core.background import attempt
from ctkd_core.distill import evaluate, trainer, worker
from ctkd_core.distill import session as session_module
from ctkd_core.distill.records import RecordWriter
from ctkd_core.distill.training import processes
from ctkd_core.errors import PreflightError, RunError

TRAINING = [m.name for m in methods.training()]
# How the student came about matters to a method by what it reads: the text alone, logits, logits of one vocabulary,
# a map, hidden states, a module of its own.
TRANSPLANTED = ["sft", "uld", "kd", "xtoken-pkl", "dskd", "sedi"]


@pytest.mark.parametrize(
    ("student_model", "method"),
    [("scratch", name) for name in TRAINING] + [("transplant", name) for name in TRANSPLANTED],
)
def test_every_method_trains_and_the_student_gets_better(pair, store, method, student_model):
    row = methods.get(method)
    given = {"student": str(pair.teacher)} if row.same_tokenizer else {}
    if any(option.name == "scaling" for option in row.loss_options):
        # a loss that is scaled to the cross-entropy is twice that at every step and says nothing about the rest
        given["method_options"] = {"scaling": "fixed"}
    run = ctkd_core.distill(pair.config(method=method, student_model=student_model, steps=20, **given), store)
    status, frame = run.status(), run.metrics()
    assert (status.state, status.step, status.total_steps) == ("finished", 20, 20)
    train = frame[frame.kind == "train"]
    assert train.step.tolist() == list(range(1, 21))
    assert train.loss.tail(5).mean() < train.loss.head(5).mean()
    headline = run.summary()["metrics"]
    assert headline["bits_per_byte_after"] < headline["bits_per_byte_before"]
    assert headline["teacher_bits_per_byte"] > 0
    assert {s["step"] for s in run.samples()} == {0, 20}
    assert len(run.samples()) == 4


def test_rows_of_the_metrics_file_have_the_promised_keys(pair, store):
    run = ctkd_core.distill(pair.config(method="uld", steps=3, accumulation=2, eval_every=2), store)
    rows = run.metric_rows()
    train = [r for r in rows if r["kind"] == "train"]
    assert {"kind", "step", "time", "loss", "terms", "learning_rate", "tokens_per_second"} <= set(train[0])
    assert all(row["seconds"] > 0 and row["cpu_seconds"] > 0 for row in train)
    assert train[0]["terms"]["ce"] > 0
    assert sum(train[0]["by_kind"].values()) > 0
    assert sum(train[0]["by_class"].values()) == pytest.approx(sum(train[0]["by_kind"].values()))
    assert {"letters", "special"} <= set(train[0]["by_class"])
    assert [r["step"] for r in rows if r["kind"] == "eval"] == [0, 2, 3]
    first = next(r for r in rows if r["kind"] == "eval")
    assert {"bits_per_byte", "teacher_bits_per_byte", "held_out", "repetition"} <= set(first)
    assert set(first["bits_by_class"]) == set(first["teacher_bits_by_class"]) == set(first["bytes_by_class"])


@pytest.mark.parametrize("batch_size", [4, 16])
def test_the_last_step_of_an_epoch_may_have_fewer_batches(pair, store, monkeypatch, batch_size):
    """44 examples: 11 batches of 4 or 3 of 16, which four micro-batches a step don't divide."""
    seen: list[tuple[int, float]] = []
    note = trainer.DistillTrainer._note

    def noted(self, value, *rest):
        seen.append((self.state.global_step, value))
        note(self, value, *rest)

    monkeypatch.setattr(trainer.DistillTrainer, "_note", noted)
    config = pair.config(method="uld", steps=6, accumulation=4, batch_size=batch_size)
    run = ctkd_core.distill(config, store)
    rows = [r for r in run.metric_rows() if r["kind"] == "train"]
    assert [r["step"] for r in rows] == list(range(1, 7))
    for row in rows:
        mine = [value for step, value in seen if step == row["step"] - 1]
        assert 1 <= len(mine) <= 4
        assert row["loss"] == pytest.approx(sum(mine), rel=1e-5)  # parts of the step's loss
    assert len({sum(step == k for step, _ in seen) for k in range(6)}) > 1 or batch_size == 16


def test_sft_does_not_ask_the_teacher_while_it_trains(pair, store, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "ctkd_core.distill.trainer.DistillTrainer._ask_teacher",
        lambda self, batch: (asked.append(self._teacher), None),
    )
    ctkd_core.distill(pair.config(method="sft", steps=2), store)
    assert asked == [None, None]


def test_a_student_is_measured_once_before_its_first_step(pair, store, monkeypatch, tmp_path):
    """A run that begins with the same weights asks neither model and learns the same; other weights are asked."""
    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "home"))
    real, real_complete, asked = evaluate.token_bits, evaluate.complete, []

    def bits(model, *rest, **more):
        asked.append("bits")
        return real(model, *rest, **more)

    def complete(*rest):
        asked.append("texts")
        return real_complete(*rest)

    monkeypatch.setattr(evaluate, "token_bits", bits)
    monkeypatch.setattr(evaluate, "complete", complete)
    config = pair.config(method="sft", steps=2, sample_prompts=2, evaluations="classes,completions")

    def run(config):
        asked.clear()
        found = ctkd_core.distill(config, store)
        rows = [{k: v for k, v in row.items() if k != "time"} for row in found.metric_rows() if row["kind"] == "eval"]
        texts = [(row["step"], row["student"], row["teacher"]) for row in found.samples()]
        return rows, texts, sorted(asked)

    first = run(config)
    again = run(config.replace(name="again"))
    assert again[:2] == first[:2] and [row["step"] for row in again[0]] == [0, 2]
    assert first[2] == ["bits"] * 3 + ["texts"] * 6  # the teacher once, the student before and after
    assert again[2] == ["bits", "texts", "texts"]  # the trained student alone
    assert run(config.replace(seed=5))[2] == ["bits"] * 2 + ["texts"] * 4, "another student, the same teacher"


def test_what_the_loss_learns_is_trained_and_not_saved_with_the_student(pair, store):
    run = ctkd_core.distill(pair.config(method="sedi", steps=6, save_every=6), store)
    omega = [r["diagnostics"]["omega_mean"] for r in run.metric_rows() if r["kind"] == "train"]
    assert len(set(omega)) > 1
    from safetensors import safe_open

    with safe_open(run.dir / "checkpoints" / "student" / "model.safetensors", "pt") as file:
        assert not [k for k in file.keys() if "loss_state" in k]  # noqa: SIM118
    with safe_open(run.dir / "checkpoints" / "checkpoint-6" / "model.safetensors", "pt") as file:
        assert [k for k in file.keys() if "loss_state" in k]  # noqa: SIM118


def test_the_kept_student_opens_with_the_usual_tools(pair, store):
    run = ctkd_core.distill(pair.config(method="sft", steps=2), store)
    folder = run.dir / "checkpoints" / "student"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ours = ctkd_core.load_tokenizer(str(pair.student))
    assert tokenizer("the flag", add_special_tokens=False)["input_ids"] == ours.encode("the flag").ids.tolist()
    assert tokenizer.eos_token_id == ours.eos_id
    assert model(torch.tensor([[5, 6]])).logits.shape[-1] == ours.n_ids


def test_same_seed_same_curve_and_another_seed_another(pair, store):
    curves = [
        ctkd_core.distill(pair.config(method="sedi", steps=4, seed=s), store).metrics().loss.dropna().tolist()
        for s in (1, 1, 2)
    ]
    assert curves[0] == curves[1]
    assert curves[0] != curves[2]


def test_going_on_from_a_checkpoint_gives_the_curve_of_one_piece(pair, store):
    config = pair.config(method="sedi", steps=12, save_every=5)
    whole = ctkd_core.distill(config, store)
    parted = store.create(config)

    def stop_at_seven() -> bool:
        return any(r.get("step") == 6 for r in parted.metric_rows())

    assert worker.execute(parted, stop_at_seven) == attempt.CANCELLED
    assert parted.status().state == "cancelled"
    assert parted.checkpoints() == [5, 7]
    again = replace(parted.status(), state="queued", attempt=2, pid=None)
    (parted.dir / "status.json").write_text(json.dumps(again.to_dict()))
    assert worker.execute(parted, lambda: False) == attempt.FINISHED
    assert parted.status().state == "finished"
    one, two = (r.metrics().query("kind == 'train'") for r in (whole, parted))
    assert two.step.tolist() == list(range(1, 13))
    assert two.loss.tolist() == pytest.approx(one.loss.tolist(), rel=1e-5)
    evals = parted.metrics().query("kind == 'eval'")
    assert evals.step.tolist() == [0, 12]
    assert {s["step"] for s in parted.samples()} == {0, 12}


@pytest.mark.parametrize(
    ("while_doing", "step"), [("at step 4.", 4), ("Measuring the trained", 12), ("at step 12.", 12)]
)
def test_stopped_while_it_measures_a_run_keeps_its_step(pair, store, while_doing, step):
    config = pair.config(method="sft", eval_every=4)
    run = store.create(config)
    assert worker.execute(run, lambda: while_doing in run.status().message) == attempt.CANCELLED
    assert run.checkpoints() == [step]
    assert run.status().message.endswith(f"the checkpoint of step {step} is kept, and resume goes on from there.")
    assert worker.execute(run.queue_again(), lambda: False) == attempt.FINISHED
    rows = run.metric_rows()
    assert [row["step"] for row in rows if row["kind"] == "train"] == list(range(1, 13))
    assert rows[-1]["kind"] == "eval" and rows[-1]["step"] == 12


def test_a_run_does_not_go_on_with_other_data(pair, store, tmp_path):
    own = tmp_path / "own.jsonl"
    own.write_bytes(content := pair.data.read_bytes())
    run = store.create(pair.config(method="sft", data=str(own), steps=4, eval_samples=0, sample_prompts=0))
    assert worker.execute(run, lambda: any(r.get("step") == 2 for r in run.metric_rows())) == attempt.CANCELLED
    kept, began = run.checkpoints(), run.environment["data"]
    own.write_bytes(content + content.splitlines(keepends=True)[0])
    for _ in range(2):
        assert worker.execute(run.queue_again(), lambda: False) == attempt.FAILED
        assert "own.jsonl' isn't what it was when the run began" in run.status().message
    assert (run.checkpoints(), run.environment["data"]) == (kept, began)
    own.write_bytes(content)
    assert worker.execute(run.queue_again(), lambda: False) == attempt.FINISHED


def test_a_run_does_not_go_on_with_another_teacher(pair, store, tmp_path):
    own = shutil.copytree(pair.teacher, tmp_path / "own")
    run = store.create(pair.config(teacher=str(own), teacher_path="", steps=4, eval_samples=0, sample_prompts=0))
    assert worker.execute(run, lambda: any(r.get("step") == 2 for r in run.metric_rows())) == attempt.CANCELLED
    weights = own / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-4] + b"\0\0\0\0")
    for _ in range(2):
        assert worker.execute(run.queue_again(), lambda: False) == attempt.FAILED
        assert "own' aren't what they were when the run began" in run.status().message
    weights.write_bytes(content)
    assert worker.execute(run.queue_again(), lambda: False) == attempt.FINISHED


def test_stopped_while_it_measures_a_run_without_its_other_processes_is_cancelled(pair, store, monkeypatch):
    def gathered(value):
        if value == "stopped":
            raise RuntimeError("[gloo] Connection closed by peer [127.0.0.1]:1234")
        return [value]

    monkeypatch.setattr(processes, "gathered", gathered)
    run = store.create(pair.config(method="sft", steps=2))
    assert worker.execute(run, lambda: "Measuring the trained" in run.status().message) == attempt.CANCELLED
    assert run.checkpoints() == [], "all processes write one together"


def test_the_log_says_what_is_done_before_the_first_step(pair, store, capsys):
    ctkd_core.distill(pair.config(method="sft", steps=1), store)
    said = [line.partition(" ")[2] for line in capsys.readouterr().out.splitlines()]
    order = ["Loading tokenizers and data.", "Aligning 44 samples.", "Loading the teacher.", "Making the student."]
    assert [line for line in said if line in order] == order
    assert not any("0 of" in line for line in said)


def test_a_checkpoint_without_tied_weights_is_whole(pair, store, monkeypatch):
    """The head is the embeddings' own matrix, and lies in no checkpoint; one that lacks anything else is refused."""
    from transformers import trainer as theirs

    said: list[str] = []
    monkeypatch.setattr(theirs.logger, "warning", lambda text, *_, **__: said.append(text))
    run = store.create(pair.config(method="sft", student_model="transplant", steps=4))
    assert worker.execute(run, lambda: any(r.get("step") == 1 for r in run.metric_rows())) == attempt.CANCELLED
    load, made = trainer.DistillTrainer._issue_warnings_after_load, []

    def seen(self, result):
        made.append((self, result))
        load(self, result)

    monkeypatch.setattr(trainer.DistillTrainer, "_issue_warnings_after_load", seen)
    assert worker.execute(run.queue_again(), lambda: False) == attempt.FINISHED
    ((whole, result),) = made
    assert result.missing_keys == ["lm_head.weight"]
    assert not [text for text in said if "missing keys" in text]
    with pytest.raises(RunError, match=r"the checkpoint lacks 'model\.norm\.weight', so"):
        load(whole, result._replace(missing_keys=["lm_head.weight", "model.norm.weight"]))


@pytest.mark.parametrize("family", ["gpt_neox", "mixtral"])
def test_weights_that_files_name_otherwise_than_the_model_are_in_its_checkpoints(pair, store, tmp_path, family):
    sizes = {"vocab_size": 400, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "num_local_experts": 2}
    AutoModelForCausalLM.from_config(
        AutoConfig.for_model(family, **sizes, **heads, tie_word_embeddings=False)
    ).save_pretrained(tmp_path / "body")
    given = {"student_model": "pretrained", "student_path": str(tmp_path / "body"), "eval_samples": 0}
    config = pair.config(method="sft", steps=4, sample_prompts=0, **given)
    whole, parted = ctkd_core.distill(config, store), store.create(config)
    assert worker.execute(parted, lambda: any(r.get("step") == 2 for r in parted.metric_rows())) == attempt.CANCELLED
    assert worker.execute(parted.queue_again(), lambda: False) == attempt.FINISHED
    one, two = (r.metrics().query("kind == 'train'").loss.tolist() for r in (whole, parted))
    assert two == pytest.approx(one, rel=1e-5)
    kept = [load_file(r.dir / "checkpoints" / "student" / "model.safetensors") for r in (whole, parted)]
    torch.testing.assert_close(*kept)
    assert set(kept[0]) == set(load_file(tmp_path / "body" / "model.safetensors")), "named as published files are"


@pytest.mark.parametrize("broken", ["metrics", "samples"])
def test_a_full_disk_fails_the_run_and_keeps_what_was_written(pair, store, monkeypatch, broken):
    write = RecordWriter.write

    def full(self, row):
        if self._path.stem == broken and row.get("step", 0) >= 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, row)

    monkeypatch.setattr(RecordWriter, "write", full)
    run = store.create(pair.config(method="sft", steps=8))
    assert worker.execute(run, lambda: False) == attempt.FAILED
    status = run.status()
    assert status.state == "failed"
    assert "The disk is full" in status.message
    assert "resume the run" in status.message
    assert run.metrics().query("kind == 'train'").step.tolist()[:2] == [1, 2]


def test_no_room_for_a_checkpoint_is_said_before_writing_one(pair, store, monkeypatch):
    monkeypatch.setattr("ctkd_core.distill.trainer.FREE_BYTES", 10**18)
    run = store.create(pair.config(method="sft", steps=4, save_every=2))
    assert worker.execute(run, lambda: False) == attempt.FAILED
    assert "no room for a checkpoint" in run.status().message
    assert run.checkpoints() == []
    assert run.status().step == 2


def test_a_loss_that_breaks_down_names_the_last_good_step(pair, store, monkeypatch):
    from ctkd_core.distill import trainer

    calls = []

    def broken(*args, **kwargs):
        calls.append(1)
        out = real(*args, **kwargs)
        return replace(out, loss=out.loss * float("nan")) if len(calls) == 3 else out

    real = trainer.method_loss
    monkeypatch.setattr(trainer, "method_loss", broken)
    run = store.create(pair.config(method="sft", steps=6))
    assert worker.execute(run, lambda: False) == attempt.FAILED
    message = run.status().message
    assert "the loss became nan" in message
    assert "last good step is 2" in message
    assert "Question" in message


def test_memory_errors_say_what_to_make_smaller(pair, store, monkeypatch):
    def hungry(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes. out of memory")

    monkeypatch.setattr(session_module, "_fit", hungry)
    run = store.create(pair.config(method="sft"))
    with pytest.raises(RunError, match="halve batch_size"):
        worker.run_here(run)


def test_a_bad_config_is_refused_before_anything_is_written(pair, store):
    with pytest.raises(PreflightError, match="isn't there"):
        ctkd_core.distill(pair.config(data="nothing.jsonl"), store)
    assert store.list() == []


def test_the_environment_is_on_record(pair, store):
    run = ctkd_core.distill(pair.config(method="sft", steps=1, eval_samples=0, sample_prompts=0), store)
    found = run.environment
    assert found["packages"]["torch"] == torch.__version__.partition("+")[0] or found["packages"]["torch"]
    assert found["tokenizers"]["student"]["fingerprint"] == ctkd_core.load_tokenizer(str(pair.student)).fingerprint
    assert found["config_fingerprint"] == run.config.fingerprint
    assert found["device"] == "cpu"
    assert len(found["data"]["fingerprint"]) == 64


def test_too_short_a_length_is_explained(pair, store):
    with pytest.raises(RunError, match="cuts every sample before its response"):
        ctkd_core.distill(pair.config(method="sft", max_length=8, eval_samples=0, sample_prompts=0), store)


def test_evaluations_that_found_nothing_are_warned_about_once(pair, store):
    run = ctkd_core.distill(pair.config(method="sft", steps=1, evaluations="classes,arithmetic"), store)
    told = "arithmetic: none of the 3 held-out samples is an exercise."
    assert run.status().warnings == (told,)
    assert run.summary()["warnings"] == [told]


def test_an_evaluation_that_only_measuring_shows_to_be_empty_is_warned_about(pair, store, monkeypatch):
    monkeypatch.setattr("ctkd_core.distill.evaluation.evaluator.excess_errors", lambda *_: {})
    config = pair.config(method="sft", steps=1, evaluations="exposure", eval_samples=4)
    (said,) = ctkd_core.distill(config, store).status().warnings
    assert said.startswith("exposure: no figure: it takes 4 texts")


def test_an_end_that_the_model_never_writes_is_warned_about_before_the_first_step(pair, store, monkeypatch):
    run = ctkd_core.distill(pair.config(method="sft", steps=1), store)
    assert run.status().warnings == ()
    monkeypatch.setattr(session_module, "NEVER_DRAWN", 0.0)
    run = store.create(pair.config(method="sft", steps=1))
    assert worker.execute(run, lambda: False) == attempt.FINISHED
    (said,) = run.status().warnings
    assert said.startswith("behind whole answers the teacher gives <eos>")
    assert "a log-probability of -" in said


def test_an_end_that_another_one_beats_by_far_is_warned_about(pair, store, monkeypatch):
    found = session_module.evaluate.AnswerEnd(-9.9, 0, -1.3)
    monkeypatch.setattr(session_module.evaluate, "answer_end", lambda *_: found)
    run = ctkd_core.distill(pair.config(method="sft", steps=1), store)
    (said,) = run.status().warnings
    assert "a log-probability of -9.9 at best (<bos> gets -1.3)" in said
    monkeypatch.setattr(session_module.evaluate, "answer_end", lambda *_: replace(found, other_given=-8.0))
    assert ctkd_core.distill(pair.config(method="sft", steps=1), store).status().warnings == ()


def test_half_precision_on_a_cpu_is_refused_and_an_earlier_run_goes_on_with_a_warning(pair, store, monkeypatch):
    given = {"precision": "fp16", "steps": 3, "save_every": 1, "eval_samples": 0, "sample_prompts": 0}
    refused = store.create(pair.config(**given))
    monkeypatch.setattr("ctkd_core.distill.models.students.build_student", None)  # no model is loaded
    assert worker.execute(refused, lambda: False) == attempt.FAILED
    assert "fp32" in refused.status().message
    monkeypatch.undo()
    monkeypatch.setattr(session_module, "ignored_precision", lambda *_: "")  # as before it was looked at
    run = store.create(pair.config(**given, save_student=False))
    assert worker.execute(run, lambda: any(r.get("step") == 1 for r in run.metric_rows())) == attempt.CANCELLED
    monkeypatch.undo()
    assert worker.execute(run.queue_again(), lambda: False) == attempt.FINISHED
    assert [said for said in run.status().warnings if "fp32" in said]
