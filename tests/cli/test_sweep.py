"""`ctkd sweep`, `ctkd runs queue/compare/report`, `ctkd export`: words in, folders and JSON out; nothing is trained."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pandas as pd
import pytest

from ctkd_core.background.status import write_status
from ctkd_core.distill.checks import Check
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.further import as_recorded
from ctkd_core.distill.runs import RunStore
from ctkd_core.distill.sweeps import queue
from tests.distill.comparison.make import made
from tests.distill.kit import save_tokenizer
from tests.tiny import tiny_byte_level


@pytest.fixture
def store(tmp_path, monkeypatch) -> RunStore:
    monkeypatch.setattr(queue, "start_waiting", lambda root, besides=None: [])
    for name in ("preflight", "require"):
        monkeypatch.setattr(f"ctkd_core.distill.checks.{name}", lambda config, root: [])
    return RunStore(tmp_path / "runs")


@pytest.fixture
def where(store) -> list[str]:
    return ["--runs-dir", str(store.root), "--json"]


def test_a_sweep_by_flags(ctkd, store, where):
    words = ["--methods", "sft,uld", "--seeds", "0-1", "--set", "learning_rate=1e-4,2e-4", "steps=3", "--name", "mine"]
    code, out, _ = ctkd("sweep", *words, *where)
    found = json.loads(out)
    assert (code, found["total"], found["name"]) == (0, 8, "mine")
    assert found["states"] == {"queued": 8}
    assert found["seconds"][0] < found["seconds"][1]
    configs = [run.config for run in queue.waiting(store.root)]
    assert {c.learning_rate for c in configs} == {1e-4, 2e-4}
    assert {(c.steps, c.batch_size) for c in configs} == {(3, 6)}  # the quick preset


def test_a_sweep_by_file_with_flags_over_it(ctkd, store, where, tmp_path):
    file = tmp_path / "sweep.yaml"
    file.write_text("base: {preset: quick, steps: 7}\nmethods: [sft]\nseeds: [0, 1]\n")
    _, out, _ = ctkd("sweep", str(file), "--seeds", "5", "--dry-run", *where)
    assert json.loads(out)["runs_planned"] == ["sft, seed 5"]
    assert "1 run: " in ctkd("sweep", str(file), "--seeds", "5", "--dry-run")[1]
    assert store.list() == []
    _, out, _ = ctkd("sweep", str(file), *where)
    assert json.loads(out)["total"] == 2


def test_a_dry_run_says_what_the_checks_find_wrong_once_each(ctkd, store, where, monkeypatch):
    def preflight(config, root):
        fatal = config.method == "uld"
        cut = Check("length", config.max_length > 40, "All are cut\nby half\x1b[31m.", "Raise it.", fatal)
        return [Check("data", True, "44 examples."), Check("disk", False, "Little is free.", fatal=False), cut]

    monkeypatch.setattr("ctkd_core.distill.checks.preflight", preflight)
    words = ["--methods", "sft,uld", "--seeds", "0-2", "--set", "max_length=24,96", "--dry-run", *where[:2]]
    code, out, _ = ctkd("sweep", *words)
    assert code == 3
    assert out.count("warning  disk: Little is free.\n") == 1
    assert "refused  length: All are cut↵by half<U+001B>[31m. Raise it. In 3 of 12 runs, the first is 'uld, max" in out
    assert "44 examples" not in out
    found = ctkd.json("sweep", *words, code=3)["checks"]
    assert [(check["name"], check["fatal"], len(check["runs"])) for check in found] == [
        ("disk", False, 12),
        ("length", False, 3),
        ("length", True, 3),
    ]
    assert ctkd("sweep", *words, "--methods", "sft")[0] == 0, "warnings stop nothing"
    assert store.list() == []


def test_a_run_that_is_not_taken_over_as_its_data_changed_is_named(ctkd, store, where):
    made_first = json.loads(ctkd("sweep", "--methods", "sft", *where)[1])["runs"][0]
    run = store.get(made_first)
    (run.dir / "env.json").write_text(json.dumps({"data": {"source": "bundled", "fingerprint": "0" * 64}}))
    write_status(run.dir, replace(run.status(), state="finished"))
    code, out, err = ctkd("sweep", "--methods", "sft", "--reuse", "--dry-run", *where)
    assert (code, json.loads(out)["reused"]) == (0, [])
    assert f"The data of run {run.id} has changed since" in err
    assert "has changed" not in ctkd("sweep", "--methods", "sft", "--dry-run", *where)[2], "it isn't asked for"


def test_options_of_methods_with_a_hyphen(ctkd, store, where):
    values = ["--set", "xtoken-pkl.top-k=8,16", "--set", "batch-size=3"]
    code, out, _ = ctkd("sweep", "--methods", "sft,xtoken-pkl", *values, *where)
    assert (code, json.loads(out)["total"]) == (0, 3)
    configs = [run.config for run in queue.waiting(store.root)]
    assert {c.method_options["top_k"] for c in configs if c.method == "xtoken-pkl"} == {8, 16}
    assert {c.batch_size for c in configs} == {3}


def test_help_shows_what_the_default_action_takes(ctkd):
    code, out, _ = ctkd("sweep", "--help")
    assert code == 0
    assert "Without an ACTION, start is meant" in out
    for word in ("--methods", "--seeds", "--set", "--preset", "--dry-run", "FILE"):
        assert word in out
    assert "resume" in out, "the actions as before"


def test_a_sweep_is_found_by_its_name(ctkd, store, where):
    first = json.loads(ctkd("sweep", "--methods", "sft", "--name", "first look", *where)[1])["sweep_id"]
    ctkd("sweep", "--methods", "uld", *where)
    assert json.loads(ctkd("sweep", "show", "first look", *where)[1])["sweep_id"] == first


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "needs a FILE"),
        (["--seeds", "a"], "numbers and ranges"),
        (["--methods", "sft", "--seeds", ""], "--seeds names none"),
        (["--methods", ",", "--seeds", "0"], "--methods names none"),
        (["--set", "steps"], "NAME=VALUE"),
        (["--set", "batch-size=1,2", "--set", "batch_size=3"], "'batch_size' twice"),
        (["--set", "seed=1,2", "--seeds", "3,4"], "seeds twice"),
        (["--set", "method=sft,uld", "--methods", "sft"], "methods twice"),
        (["--set", "name=a,b"], "a name makes no other run"),
        (["--methods", "sftt"], "sftt"),
        (["--methods", "sft", "--baseline", "sftt"], "unknown method 'sftt'"),
        (["--methods", "sft", "--name", "latest"], "would mean the newest sweep"),
        (["--methods", "sft", "--set", "uld.temperature=1,2"], "no run that gets it has that method"),
        (["missing.yaml"], "no config file"),
    ],
)
def test_words_that_make_no_sweep(ctkd, where, words, sentence):
    code, out, _ = ctkd("sweep", *words, *where)
    assert code == 2
    assert sentence in json.loads(out)["error"]["message"]


def test_a_sweep_is_listed_shown_moved_cancelled_and_gone_on_with(ctkd, store, where):
    ctkd("sweep", "--methods", "sft", "--seeds", "0,1", *where)
    ctkd("sweep", "--methods", "uld", *where)
    rows = json.loads(ctkd("sweep", "ls", *where)[1])
    assert [row["total"] for row in rows] == [1, 2]
    assert json.loads(ctkd("sweep", "move", rows[0]["sweep_id"], "first", *where)[1])["queue"][0] == rows[0]["runs"][0]
    shown = json.loads(ctkd("sweep", "show", rows[0]["sweep_id"], *where)[1])
    assert [row["queue_place"] for row in shown["rows"]] == [1]
    cancelled = json.loads(ctkd("sweep", "cancel", "latest", *where)[1])
    assert cancelled["states"] == {"cancelled": 1}
    assert json.loads(ctkd("sweep", "resume", "latest", *where)[1])["queued"] == rows[0]["runs"]


def test_runs_that_were_only_asked_to_stop_are_told_apart(ctkd, store, where):
    ctkd("sweep", "--methods", "sft", "--seeds", "0,1,2", *where)
    first, second, _ = (run for run in queue.waiting(store.root))
    for run in (first, second):
        write_status(run.dir, replace(run.status(), state="running", pid=os.getpid(), pid_start="", detached=False))
    found = json.loads(ctkd("sweep", "cancel", "latest", *where)[1])
    assert (len(found["cancelled"]), found["asked"]) == (3, [first.id, second.id])
    write_status(second.dir, replace(second.status(), state="cancelled"))
    (second.dir / "control" / "cancel").unlink()
    out = ctkd("sweep", "cancel", "latest", *where[:2])[1]
    assert out.startswith("1 run asked to stop.\n") and "running, asked to stop" in out
    write_status(first.dir, replace(first.status(), state="cancelled"))
    ctkd("sweep", "resume", "latest", *where)
    write_status(first.dir, replace(first.status(), state="running", pid=os.getpid(), pid_start="", detached=False))
    assert ctkd("sweep", "cancel", "latest", *where[:2])[1].startswith("2 runs cancelled, 1 run asked to stop.\n")


def test_the_queue_is_shown_and_changed(ctkd, store, where):
    ctkd("sweep", "--methods", "sft", "--seeds", "0,1,2", *where)
    before = [row["run_id"] for row in json.loads(ctkd("runs", "queue", *where)[1])]
    after = [row["run_id"] for row in json.loads(ctkd("runs", "queue", before[2], "first", *where)[1])]
    assert after == [before[2], before[0], before[1]]
    assert ctkd("runs", "queue", before[2], *where)[0] == 2
    assert ctkd.json("runs", "show", before[0], *where[:2])["queue_behind"] == [before[2]]
    shown = ctkd("runs", "show", before[0], *where[:2])[1]
    assert f"Place 2 in the queue for cpu, behind run {before[2]}; nothing is under way" in shown, "nothing is started"


def test_runs_are_compared_with_statistics(ctkd, store, where, tmp_path):
    runs = [made(store, 2.0 - (m == "uld") + k, method=m, seed=k) for k in range(2) for m in ("sft", "uld")]
    file = tmp_path / "table.parquet"
    code, out, _ = ctkd("runs", "compare", *(r.id for r in runs), "--out", str(file), "--per-run", *where)
    found = json.loads(out)
    assert code == 0
    assert {"runs", "differences", "deltas"} <= set(found)  # as before
    best = found["statistics"]["kinds"][0]
    assert (best["label"], best["rank"], best["difference"]["mean"]) == ("ULD", 1, -1.0)
    assert pd.read_parquet(file)["run_id"].tolist() == [run.id for run in runs]
    code, out, _ = ctkd("runs", "compare", *(r.id for r in runs), "--out", str(file), *where)
    assert (code, "exists already" in out) == (2, True)
    _, text, _ = ctkd("runs", "compare", *(r.id for r in runs), "--runs-dir", str(store.root))
    assert "minus SFT" in text


def test_a_table_for_a_spreadsheet_has_no_formula(ctkd, store, where, tmp_path):
    runs = [made(store, name="=1+1", seed=k) for k in range(2)]
    file = tmp_path / "runs.csv"
    ctkd("runs", "compare", *(r.id for r in runs), "--out", str(file), "--per-run", *where)
    assert '"\'=1+1"' in file.read_text()


def test_reports_of_one_run_and_of_several(ctkd, store, where, tmp_path):
    runs = [made(store, method=m) for m in ("sft", "uld")]
    one, both = tmp_path / "one.html", tmp_path / "both.html"
    assert json.loads(ctkd("runs", "report", runs[0].id, "-o", str(one), *where)[1])["path"] == str(one)
    ctkd("runs", "report", *(r.id for r in runs), "-o", str(both), *where)
    assert "2 runs of 2 kinds" in both.read_text()
    assert ctkd("runs", "report", "-o", str(one), *where)[0] == 2


def test_a_run_is_exported(ctkd, store, where, tmp_path):
    for side, seed in (("student", 3), ("teacher", 1)):
        save_tokenizer(tiny_byte_level(300, seed), tmp_path / side)
    data = tmp_path / "data.jsonl"
    data.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "c", "completion": "d"}\n')
    sides = {side: str(tmp_path / side) for side in ("student", "teacher")}
    with as_recorded():  # an earlier version let options pass that have no effect
        idle = {"variant": "released", "method_options": {"pairing": "groups"}}
        run = store.create(RunConfig(method="uld", student_model="scratch", data=str(data), **idle, **sides))
    out = tmp_path / "out"
    code, text, _ = ctkd("export", run.id, "--to", "trl", "-o", str(out), "--no-student", *where)
    assert (code, json.loads(text)["target"]) == (0, "trl")
    assert (out / "train_trl.py").is_file()
    again = ("export", run.id, "--to", "trl", "-o", str(out), "--no-student", *where)
    assert (ctkd(*again)[0], ctkd(*again, "--force")[0]) == (2, 0)
    code, text, _ = ctkd("export", run.id, "--to", "nemo-rl", "-o", str(tmp_path / "b"), *where)
    assert (code, "no method 'uld'" in text) == (2, True)


def test_options_of_the_trainer(ctkd, store, where):
    values = ["--set", "trainer.optim=adamw_torch,sgd", "--set", "trainer.max-grad-norm=0.5"]
    code, out, _ = ctkd("sweep", "--methods", "sft", *values, *where)
    assert (code, json.loads(out)["total"]) == (0, 2)
    found = [run.config.trainer for run in queue.waiting(store.root)]
    assert found == [{"optim": name, "max_grad_norm": 0.5} for name in ("adamw_torch", "sgd")]
