"""Damaged runs: whatever lies in a run's folder, it is one row that says so, and hides no other run."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from ctkd_core.background.status import cancel_asked, write_status
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.records import RecordWriter
from ctkd_core.distill.runs import Run, RunStore
from ctkd_core.distill.status import RunStatus
from ctkd_core.distill.sweeps import membership, queue
from ctkd_core.errors import RunError
from ctkd_core.files import to_json

DAMAGES = 2000
SWEEP = "20260101-000000-000-sweep"
FILES = (
    *("status.json", "config.json", "metrics.jsonl", "samples.jsonl", "env.json", "log.txt", "sweep.json"),
    *("control/launch.json", "control/place", "control/cancel"),
)
READ_BY_LISTS = {"status.json", "config.json"}
ROWS = [
    {"kind": "eval", "step": 0, "time": 1.0, "bits_per_byte": 2.5, "teacher_bits_per_byte": 0.9},
    *({"kind": "train", "step": k, "time": 1.0 + k, "loss": 5 - k / 10, "terms": {"ce": 1.0}} for k in range(1, 6)),
    {"kind": "eval", "step": 5, "time": 20.0, "bits_per_byte": 1.75},
]
SAMPLE = {"step": 5, "index": 0, "prompt": "2 + 2?", "reference": "4", "teacher": "four", "student": "5"}


def made(store: RunStore, state: str = "finished", sweep: str = "") -> Run:
    """A run as a worker of today would leave it, with all files that may be there if a sweep made it."""
    run = store.create(RunConfig(steps=5, method="sft"))
    if sweep:
        membership.join(run.dir, sweep)
        membership.put(run.dir, 1.5)
        (run.dir / "control" / "cancel").write_text("asked for attempt 1")
    for row in ROWS:
        size = RecordWriter(run.dir / "metrics.jsonl").write(row)
    RecordWriter(run.dir / "samples.jsonl").write(SAMPLE)
    (run.dir / "log.txt").write_text("first line\nlast line\n")
    (run.dir / "env.json").write_text('{"device": "cpu"}')
    (run.dir / "control" / "launch.json").write_text('{"pid": 4194300, "pid_start": "boot x 1", "attempt": 1}')
    from ctkd_core.distill.headline import HeadlineKeeper

    kept = HeadlineKeeper(ROWS).headline(size)
    times = {"created": 1.0, "started": 2.0, "ended": 30.0}
    write_status(run.dir, RunStatus(state=state, step=5, total_steps=5, headline=kept, **times))
    return run


def any_json(rng: random.Random, depth: int = 3) -> object:
    """JSON of any type."""
    kind = rng.randrange(9 if depth else 7)
    if kind == 7:
        return [any_json(rng, depth - 1) for _ in range(rng.randrange(4))]
    if kind == 8:
        return {rng.choice(["state", "step", "pid", "x", "kind", ""]): any_json(rng, depth - 1) for _ in range(3)}
    numbers = [0, -1, 7, 2**31, 2**63, 10**400, 1e308, -0.5, float("nan"), float("inf")]
    words = ["", "running", "finished", "\ud800", "\x00", "é🦙", "x" * 3000, "1e999"]
    return [None, True, False, rng.choice(numbers), rng.choice(numbers), rng.choice(words), rng.choice(words)][kind]


def one_field_changed(rng: random.Random, data: bytes) -> bytes:
    """The first JSON object of the file with one value of another type, or one key gone."""
    line, _, rest = data.partition(b"\n") if data.count(b"\n{") else (data, b"", b"")
    try:
        table = json.loads(line)
    except ValueError:
        return b"["
    key = rng.choice(list(table) or ["x"])
    if rng.random() < 0.2:
        table.pop(key, None)
    else:
        table[key] = any_json(rng)
    return json.dumps(table).encode() + b"\n" + rest


def damage(path: Path, rng: random.Random) -> None:
    """Damage one file in one of the ways in which files get damaged."""
    data = path.read_bytes()
    how = rng.randrange(10)
    path.unlink()
    if how == 0:
        path.write_text(json.dumps(any_json(rng)))
    elif how == 1:
        path.write_bytes(one_field_changed(rng, data))
    elif how == 2:
        path.write_bytes(data[: rng.randrange(len(data))])
    elif how == 3:
        path.write_bytes(rng.randbytes(rng.randrange(1, 300)))
    elif how == 4:
        path.write_bytes(b"[" * rng.choice([10, 100_000]))
    elif how == 5:
        path.mkdir()
        (path / "inside").write_text("x")
    elif how == 6:
        path.symlink_to(path.name)
    elif how == 7:
        path.write_bytes(data)
        path.chmod(0)
    elif how == 8:
        os.mkfifo(path)  # who opens it waits for ever
    else:
        changed = bytearray(data)
        for _ in range(rng.randrange(1, 6)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        path.write_bytes(changed)


def restore(path: Path, whole: Path) -> None:
    """Put a file back as it was; a list may have kept figures in the status meanwhile."""
    for there, kept in ((path, whole), (path.parent / "status.json", whole.parent / "status.json")):
        if there.is_dir():
            shutil.rmtree(there)
        else:
            there.unlink(missing_ok=True)
        if kept.exists():
            shutil.copy2(kept, there)


def looked_at(run: Run, damaged: str) -> None:
    """Everything that pages and the command line read of this file; only RunError may come of it."""
    reads = {
        "status.json": (run.status, lambda: run.archived),
        "config.json": (lambda: run.config,),
        "metrics.jsonl": (run.metrics, run.metric_rows, run.read_metrics),
        "samples.jsonl": (run.samples,),
        "log.txt": (lambda: run.log_tail(5),),
        "env.json": (lambda: run.environment,),
        "sweep.json": (lambda: membership.sweep_of(run.dir),),
        "control/launch.json": (run.status,),
        "control/place": (lambda: membership.place_of(run.dir), lambda: queue.waiting(run.dir.parent)),
        "control/cancel": (lambda: cancel_asked(run.dir, 1),),
    }
    for read in reads[damaged]:
        try:
            found = read()
        except RunError as fault:
            assert run.id in str(fault)
        else:
            if isinstance(found, (list, dict)):
                to_json(found)


@pytest.mark.timeout(3000)
def test_two_thousand_damages_hide_no_run_and_stop_no_list(tmp_path):
    rng = random.Random(20261128)
    store = RunStore(tmp_path / "runs")
    good, bad = made(store), made(store, sweep=SWEEP)
    expected = good.summary()
    whole = tmp_path / "whole"
    shutil.copytree(bad.dir, whole)
    said = 0
    for number in range(DAMAGES):
        name = rng.choice(FILES)
        damage(bad.dir / name, rng)
        rows = {run.id: Run(run.dir).summary(curve=True) for run in store.list()}
        assert set(rows) == {good.id, bad.id}, f"damage {number} of {name}"
        assert {k: v for k, v in rows[good.id].items() if k != "losses"} == expected
        row = rows[bad.id]
        to_json(row)
        assert row["status"] in ("finished", "damaged", "running", "queued", "starting", "failed", "cancelled", "lost")
        if row["status"] == "damaged":
            said += 1
            assert row["message"].startswith("damaged: ") and (name.split("/")[-1] in row["message"]), row["message"]
        elif name == "config.json":
            assert row["steps"] == 5, "a config that still fits its fingerprint says what it said"
        assert row["sweep"] == SWEEP or name == "sweep.json"
        if name == "sweep.json" and row["status"] != "damaged":
            assert isinstance(row["sweep"], str), "another word may be one"
        looked_at(Run(bad.dir), name)
        restore(bad.dir / name, whole / name)
    assert said > DAMAGES / 5, "damages that lists can see were seen"


@pytest.mark.parametrize("name", ["status.json", "config.json", "metrics.jsonl"])
@pytest.mark.parametrize("how", ["folder", "loop", "pipe", "gone"])
def test_a_damaged_run_says_what_and_where(tmp_path, name, how):
    store = RunStore(tmp_path / "runs")
    made(store)
    run = made(store)
    path = run.dir / name
    path.unlink()
    {"folder": path.mkdir, "loop": lambda: path.symlink_to(name), "pipe": lambda: os.mkfifo(path), "gone": str}[how]()
    row = next(r for r in (run.summary() for run in store.list()) if r["run_id"] == run.id)
    if (name, how) == ("metrics.jsonl", "gone"):
        assert row["status"] == "finished", "its figures lie in the status"
        return
    assert row["status"] == "damaged"
    assert row["message"].startswith("damaged: ") and name in row["message"]
    assert len(store.list()) == 2
    store.archive(run.id)
    assert len(store.list()) == 1
    store.remove(run.id)
    assert len(store.list(archived=True)) == 1


def test_a_run_whose_folder_is_no_folder_is_one_row_too(tmp_path):
    store = RunStore(tmp_path / "runs")
    good = made(store)
    (store.root / "20260101-000000-000-aaaaa").write_text("a file")
    (store.root / "20260101-000000-000-bbbbb").symlink_to("20260101-000000-000-bbbbb")
    rows = [run.summary() for run in store.list()]
    assert [row["status"] for row in rows] == ["finished", "damaged", "damaged"]
    for row in rows[1:]:
        store.remove(row["run_id"])
    assert [run.id for run in store.list()] == [good.id]


@contextmanager
def opened_files(under: Path):
    """Names of the files under a folder that are opened meanwhile."""
    names: list[str] = []

    def hook(event: str, arguments: tuple) -> None:
        if watching and event == "open" and str(arguments[0]).startswith(str(under)):
            names.append(Path(str(arguments[0])).name)

    watching = [True]
    sys.addaudithook(hook)  # can't be taken away again
    yield names
    watching.clear()


def test_a_list_opens_two_small_files_a_run(tmp_path):
    store = RunStore(tmp_path / "runs")
    for _ in range(5):
        made(store)
    with opened_files(store.root) as names:
        rows = [run.summary(curve=True) for run in store.list(archived=True)]
    assert sorted(names) == ["config.json"] * 5 + ["status.json"] * 5
    assert rows[0]["metrics"]["bits_per_byte_after"] == 1.75
    assert rows[0]["losses"] == [4.9, 4.8, 4.7, 4.6, 4.5]


def test_a_list_opens_a_third_small_file_of_a_run_that_a_sweep_made(tmp_path):
    store = RunStore(tmp_path / "runs")
    made(store)
    run = made(store, sweep=SWEEP)
    with opened_files(store.root) as names:
        rows = [run.summary(curve=True) for run in store.list()]
    assert sorted(names) == ["config.json"] * 2 + ["status.json"] * 2 + ["sweep.json"]
    assert [row["sweep"] for row in rows] == [SWEEP, None]
    assert rows[0]["run_id"] == run.id


@pytest.mark.parametrize("content", ["{", "[]", '{"sweep": 3}', "{}", ""])
def test_a_run_whose_sweep_cannot_be_read_says_so(tmp_path, content):
    store = RunStore(tmp_path / "runs")
    run, waits = made(store, sweep=SWEEP), made(store, "queued", sweep=SWEEP)
    (waits.dir / "control" / "launch.json").unlink()
    for one in (run, waits):
        (one.dir / "sweep.json").write_text(content)
    row = run.summary()
    assert (row["status"], row["sweep"]) == ("damaged", None)
    assert row["message"].startswith("damaged: sweep.json (") and str(run.dir) in row["message"]
    assert row["metrics"]["bits_per_byte_after"] == 1.75, "its figures are sound"
    row = waits.summary()
    assert (row["status"], row["sweep"]) == ("queued", None)
    assert any("sweep.json" in warning for warning in row["warnings"])


def test_figures_of_an_older_run_are_derived_once(tmp_path):
    store = RunStore(tmp_path / "runs")
    run = made(store)
    written = json.loads((run.dir / "status.json").read_text())
    del written["headline"]  # as older versions wrote it
    (run.dir / "status.json").write_text(json.dumps(written))
    with opened_files(store.root) as names:
        first = run.summary()
    assert "metrics.jsonl" in names
    with opened_files(store.root) as names:
        again = Run(run.dir).summary()
    assert sorted(names) == ["config.json", "status.json"]
    assert first == again
    assert first["metrics"]["loss_last"] == 4.5
    RecordWriter(run.dir / "metrics.jsonl").write({"kind": "eval", "step": 5, "bits_per_byte": 1.5})
    assert Run(run.dir).summary()["metrics"]["bits_per_byte_after"] == 1.5, "rows that came later are seen"


def test_a_store_that_cannot_be_written_lists_older_runs_too(tmp_path, monkeypatch):
    store = RunStore(tmp_path / "runs")
    run = made(store)
    write_status(run.dir, RunStatus(state="finished", step=5, total_steps=5))

    def refused(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("ctkd_core.distill.runs.write_status", refused)
    assert run.summary()["metrics"]["loss_first"] == 4.9
    with opened_files(store.root) as names:
        assert run.summary()["metrics"]["loss_first"] == 4.9
    assert "metrics.jsonl" not in names, "derived once in this process"


def test_rows_that_hold_no_figures_are_passed_over_and_said_to_be_damage(tmp_path):
    run = made(RunStore(tmp_path / "runs"))
    with (run.dir / "metrics.jsonl").open("a") as file:
        for row in (
            {"kind": "train", "step": 6, "loss": [1]},
            {"kind": "train", "step": "7", "loss": 1.0},
            {"kind": "train", "loss": 1.0},
            {"kind": ["train"], "step": 8},
            {"kind": "resume"},
            {"kind": "train", "step": 9, "terms": {"ce": "low"}},
        ):
            file.write(json.dumps(row) + "\n")
        file.write("[1, 2]\n" + "[" * 100_000 + "\n")
    assert run.metric_rows() == ROWS
    row = run.summary()
    assert row["metrics"]["loss_last"] == 4.5
    assert (row["status"], row["step"], row["method"]) == ("damaged", 5, "sft")
    assert row["message"].startswith("damaged: metrics.jsonl (line 8: 'loss': ")
    assert row["message"].endswith(f"; 7 more) in {str(run.dir)!r}")
    assert Run(run.dir).summary()["message"] == row["message"], "kept with the figures"
    assert run.status().state == "finished"
    lines = (run.dir / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run.dir / "metrics.jsonl").write_text("".join(lines[: len(ROWS)]))
    assert run.summary()["status"] == "finished", "mended"
    (run.dir / "metrics.jsonl").write_text(
        "".join([*lines[:3], lines[3].replace('"ce"', "'ce'"), *lines[4 : len(ROWS)]])
    )
    assert run.summary()["status"] == "finished", "a list looks at sizes"
    assert "line 4: it isn't whole JSON)" in run.summary(whole=True)["message"]
