"""`ctkd distill` and `ctkd runs`: config from flags, exit codes, what the store's folders become on the terminal."""

from __future__ import annotations

import json
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ctkd_core.background.status import write_status
from ctkd_core.cli.command import load
from ctkd_core.cli.distill import build_config
from ctkd_core.cli.main import main
from ctkd_core.distill.config import PRESETS, RUN_OPTIONS, RunConfig
from ctkd_core.distill.runs import Run, RunStore
from ctkd_core.distill.status import RunStatus
from ctkd_core.distill.stopping import AT_ONCE
from ctkd_core.distill.sweeps.queue import enqueue
from ctkd_core.errors import CtkdError, PreflightError, RunError
from tests.cli.test_main import Ctkd

KEYS = {"run_id", "run_dir", "status", "steps", "method", "student", "teacher", "metrics"}
METRICS = {"loss_first", "loss_last", "bits_per_byte_before", "bits_per_byte_after"}
ROWS = [
    {"kind": "eval", "step": 0, "time": 1.0, "bits_per_byte": 2.5, "teacher_bits_per_byte": 0.9},
    {"kind": "train", "step": 1, "time": 2.0, "loss": 5.0, "terms": {"ce": 4.0, "kl": 1.0}, "tokens_per_second": 99.0},
    {"kind": "train", "step": 2, "time": 3.0, "loss": 4.0, "terms": {"ce": 3.5, "kl": 0.5}},
    {"kind": "eval", "step": 2, "time": 4.0, "bits_per_byte": 2.0, "held_out": 24, "held_out_bytes": 1200},
]


def past_run(store: RunStore, state: str = "finished", **changes: Any) -> Run:
    """A run as a worker would have left it."""
    run = store.create(PRESETS["quick"].replace(**changes))
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    (run.dir / "metrics.jsonl").write_text(lines)
    (run.dir / "log.txt").write_text("first line\nlast \x1b[31mline\n")
    now = time.time()
    write_status(run.dir, RunStatus(state=state, step=2, total_steps=2, created=now, started=now - 5, ended=now))
    return run


def config(*words: str) -> RunConfig:
    flags = load("distill").make_context("ctkd distill", list(words)).params
    return build_config(flags["config"], flags["preset"], flags["option"], flags)


def test_every_run_option_has_a_flag(ctkd: Ctkd) -> None:
    _, helped, _ = ctkd("distill", "--help")
    flags = {"student": "-s", "teacher": "-t", "method": "-m", "student_model": "--student"}
    for option in RUN_OPTIONS:
        assert flags.get(option.name, "--" + option.name.replace("_", "-")) in helped


def test_presets_and_flags() -> None:
    assert config() == PRESETS["quick"]
    assert config("--preset", "standard") == PRESETS["standard"]
    changed = config("--steps", "7", "--seed", "3", "-s", "qwen", "-o", "top_k=5", "-o", "unit=char")
    assert (changed.steps, changed.seed, changed.student) == (7, 3, "qwen")
    assert changed.method_options["top_k"] == 5
    assert changed.align_options["unit"] == "char"


def test_options_of_the_trainer() -> None:
    found = build_config(None, None, None, {}, ["lr_scheduler_type=linear", "max_grad_norm=0.5", "tf32=false"])
    assert found.trainer == {"lr_scheduler_type": "linear", "max_grad_norm": 0.5, "tf32": False}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("warmup_step=3", "did you mean 'warmup_steps'"),
        ("max_grad_norm=much", "invalid float value"),
        ("max_steps=3", "set steps instead"),
        ("linear", "takes name=value"),
    ],
)
def test_bad_options_of_the_trainer(word: str, expected: str) -> None:
    with pytest.raises(RunError, match=expected):
        build_config(None, None, None, {}, [word])


def test_another_method_starts_from_its_own_defaults() -> None:
    changed = config("-m", "uld")
    own = {"ce_weight": 0.5, "temperature": 1.0, "teacher_temperature": None, "pairing": "positional", "top_k": 0}
    assert changed.method_options == own


@pytest.mark.parametrize("kind", ["json", "yaml"])
def test_config_file_and_overrides(tmp_path: Path, kind: str) -> None:
    import yaml

    path = tmp_path / f"run.{kind}"
    data = {"method": "uld", "steps": 9, "method_options": {"temperature": 2.0}}
    path.write_text(json.dumps(data) if kind == "json" else yaml.safe_dump(data))
    found = config(str(path), "--steps", "11")
    assert (found.method, found.steps, found.method_options["temperature"]) == ("uld", 11, 2.0)
    assert config(str(path), "-o", "temperature=3").method_options["temperature"] == 3.0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--preset", "quik"], "did you mean 'quick'?"),
        (["-m", "sedo"], "did you mean 'sedi'"),
        (["-m", "gold-greedy"], "has no loss"),
        (["--steps", "0"], "'steps' takes a whole number"),
        (["--steps", "many"], "'steps' takes a whole number"),
        (["-o", "topk=3"], "did you mean 'top_k'?"),
        (["-o", "top_k=0"], "'top_k' takes a whole number"),
        (["-m", "sft", "-o", "top_k=3"], "unknown option of method 'sft'"),
        (["--student", "scrach"], "did you mean 'scratch'?"),
        (["--student", "deepseek"], "'deepseek' is a tokenizer: that is the option student (-s)"),
        (["--stpes", "3"], "did you mean '--steps'"),
        (["nothing.yaml"], "no config file 'nothing.yaml'"),
        (["--device", "gpu"], "device 'gpu'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_configs(ctkd: Ctkd, store: RunStore, words: list[str], expected: str) -> None:
    message = ctkd.error("distill", *words, "--runs-dir", str(store.root))
    assert expected in message
    assert not store.list(), "nothing was created"


def test_config_file_that_is_no_table(ctkd: Ctkd, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    for content in ("- a list", "{: broken", "steps: [1", "!!python/object/apply:os.system ['true']"):
        path.write_text(content)
        assert "run.yaml" in ctkd.error("distill", str(path))
    path.write_text("# nothing yet\n")
    assert "'run.yaml' is empty; write lines such as" in ctkd.error("distill", str(path))


def test_preflight_failure_is_exit_code_3(ctkd: Ctkd, store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise PreflightError("memory: 1 GB is free, 3 GB are needed (lower batch_size).")

    monkeypatch.setattr("ctkd_core.distill.checks.require", refuse)
    assert "lower batch_size" in ctkd.error("distill", "--runs-dir", str(store.root), code=3)
    assert not store.list()


def test_missing_data_fails_before_anything_is_written(ctkd: Ctkd, store: RunStore) -> None:
    message = ctkd.error("distill", "--data", "no-such.jsonl", "--runs-dir", str(store.root), code=3)
    assert "no-such.jsonl" in message
    assert not store.list()


def test_distill_follows_a_run_to_its_end(ctkd: Ctkd, store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    from ctkd_core.distill.checks import Check

    checks = [Check("data", True, "44 examples."), Check("length", False, "3 are cut\x1b[31m.", fatal=False)]
    monkeypatch.setattr("ctkd_core.distill.checks.require", lambda *args: checks)
    for state, code in (("finished", 0), ("failed", 4), ("lost", 4), ("cancelled", 130)):

        def launch(self: RunStore, run: Run, state: str = state) -> Run:
            (run.dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
            (run.dir / "log.txt").write_text("why it ended\n")
            write_status(run.dir, RunStatus(state=state, step=2, total_steps=2, message="said so", warnings=("3 cut",)))
            return run

        monkeypatch.setattr(RunStore, "launch", launch)
        data = ctkd.json("distill", "--steps", "2", "--runs-dir", str(store.root), code=code)
        assert set(data) >= KEYS
        assert set(data["metrics"]) >= METRICS
        assert data["status"] == state
        assert data["warnings"] == ["3 cut"]
        assert data["metrics"]["bits_per_byte_after"] == 2.0
        assert Path(data["run_dir"]) == store.root / data["run_id"]
        _, out, err = ctkd("distill", "--steps", "2", "--runs-dir", str(store.root))
        assert "step 2/2  loss 4.0000" in err
        assert "warning: length: 3 are cut<U+001B>[31m." in err and "44 examples" not in err
        assert "3 cut" in out
        assert "2.0000 bits per byte" in err
        assert "5 -> 4" in out
        assert ("why it ended" in err) == (code == 4)


def test_interrupt_cancels_the_run(ctkd: Ctkd, store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    from ctkd_core.cli import progress

    real, calls = progress.follow, []

    def follow(run: Run, offset: int = 0) -> RunStatus:
        calls.append(run)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return real(run, offset)

    monkeypatch.setattr("ctkd_core.distill.checks.require", lambda *args: [])
    monkeypatch.setattr(RunStore, "launch", lambda self, run: run)
    monkeypatch.setattr(progress, "follow", follow)
    data = ctkd.json("distill", "--runs-dir", str(store.root), code=130)
    assert data["status"] == "cancelled"
    assert len(calls) == 2


def test_interrupt_cancels_a_run_that_is_being_started(
    ctkd: Ctkd, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def launch(self: RunStore, run: Run) -> Run:
        raise KeyboardInterrupt

    monkeypatch.setattr("ctkd_core.distill.checks.require", lambda *args: [])
    monkeypatch.setattr(RunStore, "launch", launch)
    assert ctkd.json("distill", "--runs-dir", str(store.root), code=130)["status"] == "cancelled"


@pytest.mark.parametrize(
    ("state", "process"), [("running", {"pid": 1, "host": "far-away"}), ("failed", {"pid": 2**22 - 1})]
)
def test_interrupt_before_a_run_goes_on_leaves_it_as_it_was(
    ctkd: Ctkd, store: RunStore, monkeypatch: pytest.MonkeyPatch, state: str, process: dict[str, Any]
) -> None:
    def watched(self: Run) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ctkd_core.background.status.STALE_SECONDS", 1e9)
    run = store.create(PRESETS["quick"])
    write_status(run.dir, replace(run.status(), state=state, step=2, heartbeat=time.time(), **process))
    before = run.status()
    monkeypatch.setattr(Run, "_silent_elsewhere", watched)
    code, _, err = ctkd("runs", "resume", run.id, "--runs-dir", str(store.root))
    assert (code, err.splitlines()[-1]) == (130, "ctkd: cancelled.")
    assert run.status() == before and not run.summary()["asked_to_stop"]


def test_interrupt_ends_the_watching_and_not_the_run(
    ctkd: Ctkd, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(run: Run, offset: int = 0) -> RunStatus:
        raise KeyboardInterrupt

    run = store.create(PRESETS["quick"])
    monkeypatch.setattr("ctkd_core.cli.progress.follow", interrupted)
    code, out, err = ctkd("runs", "watch", run.id, "--runs-dir", str(store.root))
    assert (code, f"the run goes on; `ctkd runs cancel {run.dir}`" in err, "queued" in out) == (130, True, True)
    assert "cancelled" not in err + out


def test_runs_ls(ctkd: Ctkd, store: RunStore) -> None:
    at = ["--runs-dir", str(store.root)]
    assert ctkd.json("runs", "ls", *at) == []
    assert "ctkd distill" in ctkd("runs", "ls", *at)[1]
    old, new = past_run(store), past_run(store, "cancelled", method="sft")
    rows = ctkd.json("runs", "ls", *at)
    assert [row["run_id"] for row in rows] == sorted([old.id, new.id], reverse=True)
    for row in rows:
        assert row.keys() >= {"run_id", "status", "step", "method", "student", "teacher", "metrics"}
    _, out, _ = ctkd("runs", "ls", *at)
    assert old.id in out
    assert "cancelled" in out


def test_runs_ls_has_names_where_there_are_any(ctkd: Ctkd, store: RunStore) -> None:
    at = ["--runs-dir", str(store.root)]
    past_run(store, name="")
    assert "name" not in ctkd("runs", "ls", *at)[1].splitlines()[0].split()
    run = past_run(store, name="first look")
    _, out, _ = ctkd("runs", "ls", *at)
    assert out.splitlines()[0].split()[:3] == ["run", "name", "status"]
    (line,) = [line for line in out.splitlines() if line.startswith(run.id)]
    assert "first look" in line
    past_run(store, name="x" * 200)
    assert "x" * 80 not in ctkd("runs", "ls", *at)[1] and "x" * 79 + "…" in ctkd("runs", "ls", *at)[1]
    assert ctkd.json("runs", "ls", *at)[0]["name"] == "x" * 200


def test_a_run_is_found_by_its_name(ctkd: Ctkd, store: RunStore) -> None:
    at = ["--runs-dir", str(store.root)]
    run, other = past_run(store, name="first look"), past_run(store, name="second", seed=5)
    assert ctkd.json("runs", "show", "first look", *at)["run_id"] == run.id
    compared = ctkd.json("runs", "compare", "second", "first look", *at)
    assert [row["run_id"] for row in compared["runs"]] == [other.id, run.id]
    assert "'second'" in ctkd.error("runs", "show", "secnod", *at)
    past_run(store, name="second")
    assert other.id in ctkd.error("runs", "rm", "second", *at)
    assert ctkd.json("runs", "rm", "first look", *at) == {"removed": [run.id]}


def test_latest_is_a_run_that_the_command_can_use(ctkd: Ctkd, store: RunStore) -> None:
    at = ["--runs-dir", str(store.root)]
    done, stopped = past_run(store), past_run(store, "cancelled")
    waiting = store.create(PRESETS["quick"])
    assert ctkd.json("runs", "show", "latest", *at)["run_id"] == stopped.id
    assert f"latest: run {stopped.id}" in ctkd("runs", "show", "latest", *at)[2]
    assert f"run '{done.id}' has no student to evaluate" in ctkd("evaluate", "latest", *at)[2]
    assert ctkd("runs", "cancel", "latest", *at)[0] == 2, "it was made and doesn't wait"
    enqueue(waiting)
    assert ctkd.json("runs", "cancel", "latest", *at)["run_id"] == waiting.id


def test_where_the_student_is_stands_at_the_end(ctkd: Ctkd, store: RunStore) -> None:
    at = ["--runs-dir", str(store.root)]
    run, kept = past_run(store), past_run(store, save_student=True)
    folder = kept.dir / "checkpoints" / "student"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    _, out, _ = ctkd("runs", "watch", run.id, *at)
    assert "no student kept (save_student is false); keep one with --save-student true" in out
    assert str(folder) in ctkd("runs", "show", kept.id, *at)[1]
    assert ctkd.json("runs", "show", kept.id, *at)["student_dir"] == str(folder)
    assert "keep one with --save-student true" in ctkd.error("evaluate", run.id, *at)


def test_one_damaged_folder_does_not_hide_the_others(ctkd: Ctkd, store: RunStore) -> None:
    good, bad = past_run(store), past_run(store)
    (bad.dir / "config.json").chmod(0o644)
    (bad.dir / "config.json").write_text("{")
    rows = {row["run_id"]: row for row in ctkd.json("runs", "ls", "--runs-dir", str(store.root))}
    assert rows[good.id]["status"] == "finished"
    assert rows[bad.id]["status"] == "damaged"
    assert "config.json" in rows[bad.id]["message"]


def test_runs_show_and_watch(ctkd: Ctkd, store: RunStore) -> None:
    run = past_run(store)
    at = ["--runs-dir", str(store.root)]
    data = ctkd.json("runs", "show", run.id, *at)
    assert set(data) >= KEYS | {"config", "samples", "log"}
    assert data["config"]["steps"] == PRESETS["quick"].steps
    assert ctkd.json("runs", "show", "latest", *at)["run_id"] == run.id
    code, out, _ = ctkd("runs", "show", run.id, *at)
    assert code == 0
    assert data["metrics"]["held_out"] == 24 and "24 samples, 1,200 bytes" in out
    assert "\x1b" not in out, "a log can hold anything"
    assert "first line" in out
    assert re.search(rf"lora_alpha\W+{run.config.lora_alpha:g}\b", out) and "lora_alpha" not in data["config"]
    assert ctkd.json("runs", "watch", run.id, *at)["status"] == "finished"


def test_watching_a_failed_run_ends_with_4(ctkd: Ctkd, store: RunStore) -> None:
    run = past_run(store, "failed")
    assert ctkd.json("runs", "watch", run.id, "--runs-dir", str(store.root), code=4)["status"] == "failed"


def test_the_figures_that_were_asked_for_are_shown(ctkd: Ctkd, store: RunStore) -> None:
    run, at = past_run(store), ["--runs-dir", str(store.root)]
    asked: dict[str, Any] = {"agreement": {"top1": 0.25, "boundaries": 9}, "teacher_arithmetic": {"1": 1.0, "2": 0.5}}
    asked |= {"arithmetic": {"1": 0.5, "2": 0.0}, "arithmetic_counts": {"1": 30, "2": 10}}
    asked |= {"completions": {"rouge_l": 0.5, "texts": 6}, "exposure": {"16": 3.0}, "exposure_texts": 1}
    asked |= {"bits_by_domain": {f"d{k}\x1b": 2.0 for k in range(14)}}
    later = asked | {"agreement": {"top1": 0.75, "boundaries": 9}, "arithmetic": {"1": 1.0, "2": 0.0}}
    rows = [ROWS[0] | asked, *ROWS[1:3], ROWS[3] | later]
    (run.dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for action in ("show", "watch"):
        found = ctkd.json("runs", action, run.id, *at)["figures"]
        assert found["agreement.top1"] == {"before": 0.25, "after": 0.75, "teacher": None}
        assert found["arithmetic"] == {"before": 0.375, "after": 0.75, "teacher": 0.875, "count": 40}
        assert (found["arithmetic.2"]["count"], found["completions.rouge_l"]["count"]) == (10, 6)
        assert found["exposure.16"]["count"] == 1
        assert "agreement.boundaries" not in found and len(found) == 1 + 3 + 14 + 2
    _, out, _ = ctkd("runs", "show", run.id, *at)
    assert "same first choice of token" in out and "0.25 -> 0.75" in out
    assert "0.375 -> 0.75 (teacher 0.875); of 40 exercises" in out
    assert "0.5 -> 0.5; of 6 completions" in out and "16 3 -> 3; of 1 prompt" in out
    assert "d0<U+001B> 2 -> 2, d1<U+001B> 2 -> 2" in out and ", 2 more" in out
    (run.dir / "metrics.jsonl").write_text("")
    assert ctkd.json("runs", "show", run.id, *at)["figures"] == {}


def test_runs_cancel(ctkd: Ctkd, store: RunStore) -> None:
    at = ["--runs-dir", str(store.root)]
    waiting = store.create(PRESETS["quick"])
    found = ctkd.json("runs", "cancel", waiting.id, *at)
    assert (found["status"], found["asked_to_stop"]) == ("cancelled", False)
    assert "nothing to cancel" in ctkd.error("runs", "cancel", waiting.id, *at)


@pytest.mark.parametrize("words", [[], ["--now"]])
def test_a_run_on_another_computer_is_asked_and_that_is_said(
    ctkd: Ctkd, store: RunStore, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setattr("ctkd_core.background.status.STALE_SECONDS", 1e9)  # however long the commands take here
    run = store.create(PRESETS["quick"])
    there = {"pid": 1, "pid_start": "1", "host": "far\x1b-away", "heartbeat": time.time()}
    write_status(run.dir, replace(run.status(), state="running", step=2, **there))
    at = ["--runs-dir", str(store.root)]
    assert ctkd.json("runs", "show", run.id, *at)["asked_to_stop"] is False
    code, out, err = ctkd("runs", "cancel", run.id, *words, *at)
    assert (code, (run.dir / "control" / "cancel").is_file()) == (0, True)
    assert "running, asked to stop" in out and "running, asked to stop" in ctkd("runs", "ls", *at)[1]
    assert ctkd.json("runs", "show", run.id, *at)["asked_to_stop"] is True
    assert "stops behind its step there" in err and "away" in err and "\x1b" not in err
    assert ("can't be ended from here" in err) is bool(words)


def test_a_name_with_a_slash_is_found_where_no_folder_is(
    ctkd: Ctkd, store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ["--runs-dir", str(store.root)]
    monkeypatch.chdir(tmp_path)
    run, other = past_run(store, name="a/b"), past_run(RunStore(tmp_path / "others"))
    assert ctkd.json("runs", "show", "a/b", *at)["run_id"] == run.id
    assert "there is no folder 'a/c'" in ctkd.error("runs", "show", "a/c", *at)
    (tmp_path / "a").mkdir()
    other.dir.rename(tmp_path / "a" / "b")
    assert ctkd.json("runs", "show", "a/b", *at)["run_id"] == "b", "a folder comes first"
    assert ctkd.json("runs", "rm", "a/b", *at) == {"removed": [run.id]}, "no folder is removed"
    assert (tmp_path / "a" / "b").is_dir()


def test_an_empty_place_is_not_the_current_folder(ctkd: Ctkd) -> None:
    for words in (["runs", "ls"], ["sweep", "ls"], ["distill", "--dry-run"]):
        assert "'' can't be a path" in ctkd.error(*words, "--runs-dir", "")


@pytest.mark.parametrize("place", ["~nosuchuser9/x", "/" + "x" * 5000])
def test_places_that_cannot_be_are_one_sentence(ctkd: Ctkd, store: RunStore, place: str) -> None:
    for words in (["show", place], ["show", "a", "--runs-dir", place], ["ls", "--runs-dir", place]):
        said = ctkd.error("runs", *words)
        assert len(said) < 400 and ("no home folder" in said or "x" * 50 in said)


def test_several_runs_are_cancelled_together_or_none(ctkd: Ctkd, store: RunStore) -> None:
    at = ["--runs-dir", str(store.root)]
    one, two, ended = store.create(PRESETS["quick"]), store.create(PRESETS["quick"]), past_run(store)
    assert "nothing to cancel" in ctkd.error("runs", "cancel", one.id, ended.id, *at)
    assert one.status().state == "queued"
    found = ctkd.json("runs", "cancel", one.id, two.id, one.id, *at)
    assert [(row["run_id"], row["status"]) for row in found] == [(one.id, "cancelled"), (two.id, "cancelled")]


def test_a_resumed_run_tells_its_old_rows_no_second_time(
    ctkd: Ctkd, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = past_run(store, "cancelled")

    def resume(self: Run) -> Run:
        with (self.dir / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"kind": "eval", "step": 9, "bits_per_byte": 1.5}) + "\n")
        write_status(self.dir, replace(self.status(), state="finished"))
        return self

    monkeypatch.setattr(Run, "resume", resume)
    _, _, err = ctkd("runs", "resume", run.id, "--runs-dir", str(store.root))
    assert "step 9  1.5000 bits per byte" in err and "2.0000 bits per byte" not in err and "loss 4.0000" not in err


def test_runs_resume_of_a_finished_run(ctkd: Ctkd, store: RunStore) -> None:
    run = past_run(store)
    assert "is finished" in ctkd.error("runs", "resume", run.id, "--runs-dir", str(store.root))


def test_runs_compare(ctkd: Ctkd, store: RunStore) -> None:
    at = ["--runs-dir", str(store.root)]
    a, b = past_run(store), past_run(store, seed=5)
    data = ctkd.json("runs", "compare", a.id, b.id, *at)
    assert [row["run_id"] for row in data["runs"]] == [a.id, b.id]
    assert data["differences"] == {"seed": [0, 5]}
    assert data["deltas"][b.id] == 0
    _, out, _ = ctkd("runs", "compare", a.id, b.id, *at)
    assert "seed" in out
    for run, share in ((a, 0.25), (b, 0.75)):
        row = ROWS[3] | {"arithmetic": {"1": share}, "arithmetic_counts": {"1": 4}, "repetition": share}
        (run.dir / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in (*ROWS[:3], row)))
    _, out, _ = ctkd("runs", "compare", a.id, b.id, "--figure", "arithmetic", *at)
    assert all(re.search(rf"{name}\W+0.25\W+0.75", out) for name in ("arithmetic", "repetition")), out
    assert "at least two" in ctkd.error("runs", "compare", a.id, *at)
    assert "at least two" in ctkd.error("runs", "compare", a.id, a.id, *at)


def test_a_run_is_named_by_its_folder_wherever_it_lies(
    ctkd: Ctkd, store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ["--runs-dir", str(store.root)]
    mine, other = past_run(store), past_run(RunStore(tmp_path / "copied" / "runs"), seed=5)
    data = ctkd.json("runs", "compare", mine.id, str(other.dir), *at)
    assert [row["run_id"] for row in data["runs"]] == [mine.id, other.id]
    assert data["differences"] == {"seed": [0, 5]}
    monkeypatch.chdir(other.dir)
    for place in (".", "../" + other.id, f"{other.dir}/"):
        assert ctkd.json("runs", "show", place, *at)["run_id"] == other.id
    assert "isn't a run" in ctkd.error("runs", "show", str(tmp_path), *at)
    assert "no folder" in ctkd.error("runs", "show", str(tmp_path / "none"), *at)
    link = tmp_path / other.id
    link.symlink_to(other.dir)
    assert ctkd.json("runs", "show", str(link), *at)["run_id"] == other.id


@pytest.mark.parametrize("action", ["rm", "archive", "unarchive"])
def test_no_folder_is_removed_or_archived(ctkd: Ctkd, store: RunStore, tmp_path: Path, action: str) -> None:
    """Many a folder has a config.json: one of a model, say."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    run = past_run(store)
    for name in (str(model), str(run.dir), "."):
        assert "takes ids" in ctkd.error("runs", action, name, "--runs-dir", str(store.root))
    assert model.is_dir() and run.dir.is_dir() and not run.archived


def test_what_a_file_brought_is_only_read(ctkd: Ctkd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "disk")
    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "home"))
    opened = RunStore(tmp_path / "home" / "views" / "runs" / "0123456789")
    run = past_run(opened, "failed")
    assert ctkd.json("runs", "show", str(run.dir))["run_id"] == run.id
    for action in ("cancel", "resume"):
        assert "came with a view" in ctkd.error("runs", action, str(run.dir))
    for action in ("archive", "rm"):
        assert "came with a view" in ctkd.error("runs", action, run.id, "--runs-dir", str(opened.root))
    assert run.dir.is_dir()


def test_of_two_copies_of_a_run_the_first_one_named_counts(ctkd: Ctkd, store: RunStore, tmp_path: Path) -> None:
    at = ["--runs-dir", str(store.root)]
    a, b = past_run(store), past_run(store, seed=5)
    copied = tmp_path / "copied" / a.id
    shutil.copytree(a.dir, copied)
    (copied / "metrics.jsonl").write_text("")
    data = ctkd.json("runs", "compare", a.id, str(copied), b.id, *at)
    assert [row["run_id"] for row in data["runs"]] == [a.id, b.id]
    assert data["runs"][0]["metrics"]["loss_last"] is not None


def test_runs_rm(ctkd: Ctkd, store: RunStore) -> None:
    at = ["--runs-dir", str(store.root)]
    a, b = past_run(store), past_run(store)
    assert "no-such" in ctkd.error("runs", "rm", a.id, "no-such", *at)
    assert len(store.list()) == 2, "nothing goes when one name is wrong"
    assert ctkd.json("runs", "rm", a.id, b.id, *at) == {"removed": [a.id, b.id]}
    assert store.list() == []


@pytest.mark.parametrize("action", ["show", "watch", "cancel", "resume", "export", "rm"])
def test_unknown_run(ctkd: Ctkd, store: RunStore, action: str) -> None:
    run = past_run(store)
    wrong = run.id[:-1] + ("a" if run.id[-1] != "a" else "b")
    message = ctkd.error("runs", action, wrong, "--runs-dir", str(store.root))
    assert run.id in message


def test_latest_without_runs(ctkd: Ctkd, store: RunStore) -> None:
    assert "no runs yet" in ctkd.error("runs", "show", "latest", "--runs-dir", str(store.root))


def test_detached_run_is_found_followed_and_cancelled(
    store: RunStore, ctkd: Ctkd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real worker: started, seen by another command, cancelled."""
    at = ["--runs-dir", str(store.root)]
    started = ctkd.json("distill", "--steps", "1000", "--student", "scratch", "--eval-samples", "0", "--detach", *at)
    assert set(started) >= KEYS
    assert Path(started["run_dir"]).is_dir()
    try:
        seen = ctkd.json("runs", "show", started["run_id"], *at)
        assert seen["status"] in {"queued", "starting", "running"}
        code, _, err = ctkd("runs", "rm", started["run_id"], *at)  # its state may change any moment
        assert code == 2
        assert "cancel it" in err
    finally:
        main(["runs", "cancel", started["run_id"], *at])
    assert ctkd.json("runs", "show", started["run_id"], *at)["status"] == "cancelled"


@pytest.mark.parametrize(("words", "graces"), [([], [None, AT_ONCE]), (["--now"], [AT_ONCE])])
def test_cancelling_waits_until_somebody_has_no_time(
    ctkd: Ctkd, store: RunStore, monkeypatch: pytest.MonkeyPatch, words: list[str], graces: list[float | None]
) -> None:
    asked: list[float | None] = []

    def cancel(run: Run, grace: float | None = None) -> None:
        asked.append(grace)
        if grace is None:
            raise KeyboardInterrupt
        ended = {"state": "cancelled", "step": 2, "last_checkpoint": 2}
        write_status(run.dir, replace(run.status(), **ended))

    monkeypatch.setattr(Run, "cancel", cancel)
    run = store.create(config("-m", "sft"))
    code, out, _ = ctkd("runs", "cancel", run.id, *words, "--runs-dir", str(store.root))
    assert (code, asked) == (0, graces)
    assert f"ctkd runs resume {run.dir}" in out, "it doesn't lie where runs are by default"
    assert ctkd.json("runs", "show", run.id, "--runs-dir", str(store.root))["last_checkpoint"] == 2


def test_errors_are_ctkd_errors() -> None:
    with pytest.raises(CtkdError):
        config("--seed", "-1")
