"""The detached process: a whole life, cancel, kill -9 and resume, one slot, a disk that ends."""

from __future__ import annotations

import compileall
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

import ctkd_core
from ctkd_core.background import attempt
from ctkd_core.background.attempt import Attempt
from ctkd_core.background.processes import process_alive
from ctkd_core.background.progress import Cancelled
from ctkd_core.background.status import read_launch
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.records import read_part
from ctkd_core.distill.worker import _slot, explain
from ctkd_core.files import home
from tests.patience import wait_for

pytestmark = pytest.mark.timeout(3000)
ENDED = {"finished", "failed", "cancelled", "lost"}


def ended(run):
    return run.status() if run.status().state in ENDED else None


def began_to_train(run):
    return len([r for r in run.metric_rows() if r["kind"] == "train"]) >= 2


@pytest.fixture
def launched(store):
    """Launch runs that can't outlive the test."""
    runs = []

    def launch(config, **kwargs):
        run = store.launch(store.create(config), **kwargs)
        runs.append(run)
        return run

    yield launch
    for run in runs:
        noted = read_launch(run.dir)
        for pid in {run.status().pid, noted and noted.pid} - {None}:
            if process_alive(pid, None):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.usefixtures("started_anew")
def test_a_whole_life_in_a_process_of_its_own(pair, launched, store):
    run = launched(pair.config(method="uld", steps=6, save_every=3))
    offset, seen, states = 0, [], []

    def watch():
        nonlocal offset
        rows, offset = run.read_metrics(offset)
        seen.extend(rows)
        states.append(run.status().state)
        return ended(run)

    status = wait_for(watch, what="the end of the run")
    watch()
    assert (status.state, status.step) == ("finished", 6), run.log_tail()
    assert status.pid not in (None, os.getpid())
    assert [r["step"] for r in seen if r["kind"] == "train"] == [1, 2, 3, 4, 5, 6]
    assert seen == run.metric_rows()
    order = [s for i, s in enumerate(states) if i == 0 or s != states[i - 1]]
    assert order == [s for s in ("queued", "starting", "running", "finished") if s in order]
    assert run.samples()[0]["student"] is not None
    assert run.checkpoints() == [3, 6]
    assert store.get(run.id).summary()["metrics"]["bits_per_byte_after"] > 0
    assert status.heartbeat >= status.started
    assert "Training." in run.log_tail()


def test_cancelling_keeps_a_checkpoint_and_resuming_reaches_the_end(pair, launched):
    run = launched(pair.config(method="sft", steps=200))
    wait_for(lambda: began_to_train(run), what="the first steps")
    status = run.cancel()
    assert status.state == "cancelled", run.log_tail()
    assert 0 < status.step < 200
    assert run.checkpoints() == [status.step]
    assert not process_alive(status.pid, status.pid_start)
    run.resume()
    status = wait_for(lambda: ended(run), what="the end of the second attempt")
    assert (status.state, status.step, status.attempt) == ("finished", 200, 2), run.log_tail()
    assert run.metrics().query("kind == 'train'").step.tolist() == list(range(1, 201))


def test_a_worker_that_does_not_heed_is_killed_and_resumed_from_its_checkpoint(pair, launched):
    run = launched(pair.config(method="sft", steps=5000, save_every=20))
    wait_for(lambda: run.status().last_checkpoint and began_to_train(run), what="a checkpoint")
    os.kill(run.status().pid, signal.SIGSTOP)  # as in a step without an end
    kept = run.status().last_checkpoint
    status = run.cancel(grace=0.2)
    assert status.state == "cancelled"
    assert f"its process was killed; the checkpoint of step {kept} is kept" in status.message
    run.resume()
    begun = run.checkpoints()[-1]
    assert begun >= kept
    wait_for(lambda: run.status().step > begun, what="a step of the second attempt")
    assert f"Going on from checkpoint {begun}." in (run.dir / "log.txt").read_text()
    assert run.cancel().state == "cancelled"


def test_a_killed_worker_is_lost_and_resumed_from_its_checkpoint(pair, launched):
    run = launched(pair.config(method="sft", steps=160, save_every=20))
    wait_for(lambda: len(run.checkpoints()) > 0 and began_to_train(run), what="a checkpoint")
    pid = run.status().pid
    os.kill(pid, signal.SIGKILL)
    status = wait_for(lambda: ended(run), what="the loss to be noticed")
    assert status.state == "lost"
    assert "Resume it" in status.message
    path = run.dir / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + b'{"kind": "train", "ste')  # and the kill tore a line
    last = run.checkpoints()[-1]
    run.resume()
    status = wait_for(lambda: ended(run), what="the end of the second attempt")
    assert (status.state, status.step) == ("finished", 160), run.log_tail()
    assert run.metrics().query("kind == 'train'").step.tolist() == list(range(1, 161))
    resumed = [r for r in read_part(path).rows if r["kind"] == "resume"]
    assert [r["step"] for r in resumed] == [last]


def test_two_runs_share_one_device_one_after_the_other(pair, launched):
    first = launched(pair.config(method="sft", steps=150))
    wait_for(lambda: first.status().state in ("starting", "running"), what="the first run")
    second = launched(pair.config(method="sft", steps=2))
    queued = wait_for(lambda: "one run trains on it" in second.status().message and second.status(), what="the queue")
    assert queued.state == "queued"
    overlap = []

    def both_ended():
        overlap.append({first.status().state, second.status().state} <= {"starting", "running"})
        return ended(first) and ended(second)

    wait_for(both_ended, what="both runs")
    assert (first.status().state, second.status().state) == ("finished", "finished")
    assert not any(overlap)
    assert second.status().started >= first.status().ended - 0.5


def test_runs_of_one_folder_share_a_device_whatever_their_homes(store, tmp_path):
    """Two homes had locks of their own, so that both of them trained at once."""
    runs = [store.create(RunConfig(method="sft", device="cpu")) for _ in range(2)]
    asked = iter([False] * 3)  # it tries more often than a device has locks; then it is asked to stop
    waiting = Attempt(runs[1].dir, runs[1].status(), lambda: next(asked, True))
    with _slot(runs[0], Attempt(runs[0].dir, runs[0].status(), lambda: False)), pytest.MonkeyPatch.context() as other:
        other.setenv("CTKD_HOME", str(tmp_path / "another home"))
        with pytest.raises(Cancelled), _slot(runs[1], waiting):
            pytest.fail("both have the device")


def test_a_folder_of_runs_in_which_a_lock_cannot_be_made_stops_no_run(store):
    """Somebody else may have made it, who shares the folder: each may write in the folders of their own runs."""
    run = store.create(RunConfig(method="sft", device="cpu"))
    (store.root / ".slots").write_text("")
    with _slot(run, Attempt(run.dir, run.status(), lambda: False)), pytest.raises(Timeout):
        FileLock(home() / "slots" / "cpu.lock").acquire(timeout=0)


def test_a_queued_run_can_be_cancelled(pair, launched):
    first = launched(pair.config(method="sft", steps=3000))
    wait_for(lambda: first.status().state in ("starting", "running"), what="the first run")
    second = launched(pair.config(method="sft", steps=2))
    wait_for(lambda: second.status().pid is not None, what="the second run to queue")
    assert second.cancel().state == "cancelled"
    assert second.status().step == 0
    assert first.status().state in ("starting", "running")
    assert first.cancel().state == "cancelled"


@pytest.mark.parametrize("save_every", [2, 0], ids=["checkpoint", "metrics"])
def test_files_that_may_not_grow_end_the_run_as_failed(pair, launched, save_every):
    """RLIMIT_FSIZE makes real writes fail in the worker, in libraries too, as a full disk or quota would."""
    # What it imports is compiled before: Python takes a compiled file that it couldn't write whole for a whole one, and
    # every later process would fail at it.
    compileall.compile_dir(Path(ctkd_core.__file__).parent, quiet=2)
    run = launched(pair.config(method="sft", steps=400, save_every=save_every, eval_samples=0, sample_prompts=0))
    pid = read_launch(run.dir).pid
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (16_000, 16_000))
    status = wait_for(lambda: ended(run), what="the failure")
    assert status.state == "failed", run.log_tail()
    assert "too big" in status.message
    assert run.metric_rows()
    assert run.checkpoints() == []


def test_a_file_that_torch_could_not_write_whole_is_told(store):
    import torch

    run = store.create(RunConfig())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(RuntimeError) as caught:
            torch.save(torch.zeros(100_000), run.dir / "optimizer.pt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    said = explain(caught.value, run)
    assert "couldn't be written whole" in said and "resume the run" in said


def test_too_little_memory_on_a_cpu_is_told(store):
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    assert "halve batch_size" in explain(caught.value, store.create(RunConfig()))
    assert attempt.explain_fault(caught.value).startswith("Out of memory")


def test_exit_codes_and_usage(tmp_path):
    worker = [sys.executable, "-m", "ctkd_core.distill.worker"]
    assert subprocess.run(worker, capture_output=True).returncode == 2
    done = subprocess.run([*worker, str(tmp_path / "none")], capture_output=True, text=True)
    assert done.returncode == 4
    assert "can't be written" in done.stderr
