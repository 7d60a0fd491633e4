"""Attempts of a run: one worker whoever asks, a finished run is left alone, a stopped one ends where it would have."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock
from safetensors.torch import load_file

import ctkd_core
from ctkd_core import files
from ctkd_core.background import attempt, lifecycle, status
from ctkd_core.background.status import read_launch, write_status
from ctkd_core.distill import trainer, worker
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.runs import RunStore
from ctkd_core.distill.status import RunStatus
from ctkd_core.errors import RunError
from tests.forked import kill_workers_of, workers_of
from tests.patience import wait_for

ROOT = str(Path(__file__).resolve().parents[2])
SECONDS = 600
pytestmark = pytest.mark.timeout(3000)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What a config's run ends with that nothing stops: weights and figures. Each is trained once."""
    store = RunStore(tmp_path_factory.mktemp("undisturbed") / "runs")
    found = {}

    def trained(config):
        key = repr(config)
        if key not in found:
            run = ctkd_core.distill(config, store)
            found[key] = weights(run), run.status().headline.figures()
        return found[key]

    return trained


@pytest.fixture
def busy_device(store):
    """The device is taken, so that workers wait instead of training; what was started is gone at the end."""
    folder = files.home() / "slots"
    folder.mkdir(parents=True)
    with FileLock(folder / "cpu.lock"):
        yield
        for run in store.list(archived=True):
            kill_workers_of(run.dir)


def lost(store, config=None):
    run = store.create(config or RunConfig(method="sft", device="cpu"))
    write_status(run.dir, replace(run.status(), state="running", step=3, pid=2**22 - 3, pid_start="boot x 1"))
    assert run.status().state == "lost"
    return run


def asked_at_once(run, action: str, count: int = 4) -> list[str]:
    """What so many processes get that ask for the same at the same moment: "" or the error."""
    code = (
        "import sys; from ctkd_core.distill.runs import RunStore; from ctkd_core.errors import RunError\n"
        "store = RunStore(sys.argv[1]); run = store.get(sys.argv[2])\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "try: store.launch(run) if sys.argv[3] == 'launch' else run.resume()\n"
        "except RunError as fault: print(fault)\n"
    )
    words = [sys.executable, "-c", code, str(run.dir.parent), run.id, action]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    asking = [subprocess.Popen(words, text=True, cwd=ROOT, **pipes) for _ in range(count)]
    for process in asking:
        assert process.stdout.readline() == "ready\n"
    for process in asking:
        process.stdin.write("go\n")
        process.stdin.flush()
    return [process.communicate(timeout=SECONDS)[0].strip() for process in asking]


@pytest.mark.parametrize("action", ["launch", "resume"])
def test_of_many_processes_that_ask_at_once_one_starts_a_worker(store, busy_device, action):
    run = store.create(RunConfig(method="sft", device="cpu")) if action == "launch" else lost(store)
    said = asked_at_once(run, action)
    assert sorted(map(bool, said)) == [False, True, True, True]
    assert all("queued" in sentence for sentence in said if sentence)
    wait_for(lambda: run.status().pid is not None, SECONDS, "the worker to queue")
    assert workers_of(run.dir) == [run.status().pid] == [read_launch(run.dir).pid]
    assert run.status().attempt == (1 if action == "launch" else 2)


@pytest.mark.parametrize("action", ["launch", "resume"])
def test_of_many_threads_that_ask_at_once_one_starts_a_worker(store, busy_device, action):
    run = store.create(RunConfig(method="sft", device="cpu")) if action == "launch" else lost(store)
    faults, barrier = [], threading.Barrier(6)

    def ask() -> None:
        barrier.wait()
        try:
            store.launch(store.get(run.id)) if action == "launch" else store.get(run.id).resume()
        except RunError as fault:
            faults.append(str(fault))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(faults) == 5
    wait_for(lambda: run.status().pid is not None, SECONDS, "the worker to queue")
    assert workers_of(run.dir) == [run.status().pid]


def test_a_worker_that_was_superseded_while_it_waited_trains_nothing(store, busy_device):
    run = store.launch(store.create(RunConfig(method="sft", device="cpu")))
    pid = wait_for(lambda: run.status().pid, SECONDS, "the worker to queue")
    with run.work.lock():
        write_status(run.dir, RunStatus(attempt=2, message="the later one"))
    wait_for(lambda: not workers_of(run.dir), SECONDS, "the first worker to end")
    assert (run.status().attempt, run.status().message) == (2, "the later one")
    assert "attempt 2 has begun" in run.log_tail()
    assert pid is not None and not (run.dir / "metrics.jsonl").exists()


def test_a_finished_run_is_never_trained_again(pair, store):
    run = ctkd_core.distill(pair.config(method="sft", steps=2, eval_samples=0, sample_prompts=0), store)
    before = {p: p.read_bytes() for p in run.dir.rglob("*") if p.is_file() and p.name != "worker.lock"}
    assert worker.execute(run, lambda: False) == attempt.FINISHED
    again = subprocess.run([sys.executable, "-m", "ctkd_core.distill.worker", str(run.dir)], cwd=ROOT, timeout=SECONDS)
    assert again.returncode == attempt.FINISHED
    assert {p: p.read_bytes() for p in before} == before


def test_a_run_that_finishes_while_its_worker_waits_is_left_alone(store, monkeypatch):
    """The device gets free after somebody else has ended this attempt: the worker looks again inside its slot."""
    run = store.create(RunConfig(method="sft", device="cpu"))

    def finished_meanwhile(_run):
        write_status(run.dir, replace(run.status(), state="finished", step=40))
        return False

    monkeypatch.setattr(worker, "_older_waits", finished_meanwhile)
    assert worker.execute(run, lambda: False) == attempt.CANCELLED
    assert (run.status().state, run.status().step) == ("finished", 40)
    assert not (run.dir / "metrics.jsonl").exists()


def stopped_after(run, step: int, monkeypatch):
    """Train until `step` is done, then die as by `kill -9`: nothing more is written."""

    class Killed(BaseException):
        pass

    def beat(self, args, state, control, **_):
        if state.global_step == step + 1 or (state.global_step == step == run.config.steps):
            raise Killed
        return step_end(self, args, state, control, **_)

    from ctkd_core.distill.callback import RunCallback

    step_end = RunCallback.on_step_end
    with monkeypatch.context() as patch:
        if step == run.config.steps:  # after the checkpoint of the last step, before anything else
            saved = RunCallback.on_save

            def on_save(self, args, state, control, **_):
                saved(self, args, state, control, **_)
                if state.global_step == step:
                    raise Killed

            patch.setattr(RunCallback, "on_save", on_save)
        else:
            patch.setattr(RunCallback, "on_step_end", beat)
        patch.setattr(attempt.Attempt, "close", lambda self, **_: self.abandon())
        worker.execute(run, lambda: False)
    write_status(run.dir, replace(run.status(), pid=2**22 - 3, pid_start="boot x 1"))
    assert run.status().state == "lost"


def gone_on(run, number: int = 2):
    """A new attempt in this process."""
    write_status(run.dir, RunStatus(attempt=number, total_steps=run.config.steps))
    assert worker.execute(run, lambda: False) == attempt.FINISHED, run.status().message


def weights(run):
    return load_file(run.dir / "checkpoints" / "student" / "model.safetensors")


def same(a, b) -> bool:
    return a.keys() == b.keys() and all((a[name] == b[name]).all() for name in a)


@pytest.mark.parametrize(
    ("method", "steps", "save_every", "accumulation", "died"),
    [
        ("sft", 12, 4, 1, 12),  # behind the checkpoint of the last step
        ("sft", 12, 4, 1, 9),
        ("sedi", 12, 11, 1, 11),  # the end of an epoch: 44 examples are 11 batches; a loss that learns something
        ("uld", 6, 3, 2, 4),
    ],
)
def test_a_stopped_run_ends_at_its_steps_with_the_student_it_would_have_had(
    pair, store, undisturbed, monkeypatch, method, steps, save_every, accumulation, died
):
    config = pair.config(
        method=method, steps=steps, save_every=save_every, accumulation=accumulation, eval_samples=2, sample_prompts=1
    )
    whole, figures = undisturbed(config)
    parted = store.create(config)
    stopped_after(parted, died, monkeypatch)
    assert parted.checkpoints(), "there is something to go on from"
    gone_on(parted)
    assert (parted.status().state, parted.status().step) == ("finished", steps)
    assert [r["step"] for r in parted.metric_rows() if r["kind"] == "train"] == list(range(1, steps + 1))
    assert same(weights(parted), whole)
    assert parted.status().headline.figures() == figures


def damage_newest(run, name: str, how) -> None:
    folder = run.dir / "checkpoints" / f"checkpoint-{run.checkpoints()[-1]}"
    how(folder / name)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "how", "said"),
    [
        ("model.safetensors", flip, "model.safetensors isn't the file that was written"),
        ("optimizer.pt", flip, "optimizer.pt isn't the file that was written"),
        ("optimizer.pt", Path.unlink, "No such file"),
        ("scheduler.pt", lambda path: path.write_bytes(b""), "scheduler.pt has 0 bytes instead of"),
        ("manifest.json", lambda path: path.write_text("{"), "can't be read"),
    ],
    ids=["weights", "optimizer", "no optimizer", "scheduler", "manifest"],
)
def test_a_damaged_newest_checkpoint_is_passed_over_with_a_line_in_the_log(
    pair, store, undisturbed, monkeypatch, capsys, name, how, said
):
    config = pair.config(method="sft", steps=8, save_every=2, eval_samples=0, sample_prompts=0)
    whole, _ = undisturbed(config)
    parted = store.create(config)
    stopped_after(parted, 7, monkeypatch)
    assert parted.checkpoints() == [4, 6], "two are kept by default"
    damage_newest(parted, name, how)
    capsys.readouterr()
    gone_on(parted)
    out = capsys.readouterr().out
    assert "Checkpoint 6 is passed over" in out and said in out
    assert "Going on from checkpoint 4" in out
    assert same(weights(parted), whole)
    assert [r["step"] for r in parted.metric_rows() if r["kind"] == "train"] == list(range(1, 9))


def test_without_a_whole_checkpoint_it_begins_again(pair, store, undisturbed, monkeypatch, capsys):
    config = pair.config(method="sft", steps=4, save_every=3, eval_samples=0, sample_prompts=0)
    whole, _ = undisturbed(config)
    parted = store.create(config)
    stopped_after(parted, 3, monkeypatch)
    damage_newest(parted, "optimizer.pt", Path.unlink)
    assert parted.checkpoints() == []
    gone_on(parted)
    assert "Checkpoint 3 is passed over" in capsys.readouterr().out
    assert same(weights(parted), whole)


def test_checkpoints_of_older_versions_still_serve(pair, store, undisturbed, monkeypatch, capsys):
    config = pair.config(method="sft", steps=8, save_every=2, eval_samples=0, sample_prompts=0)
    whole, _ = undisturbed(config)
    parted = store.create(config)
    stopped_after(parted, 7, monkeypatch)
    for step in (4, 6):
        (parted.dir / "checkpoints" / f"checkpoint-{step}" / "manifest.json").unlink()
    assert parted.checkpoints() == [4, 6]
    flip(parted.dir / "checkpoints" / "checkpoint-6" / "optimizer.pt")
    gone_on(parted)
    assert "Checkpoint 6 is passed over: optimizer.pt is damaged" in capsys.readouterr().out
    assert same(weights(parted), whole)


def test_a_checkpoint_that_broke_off_while_it_was_written_leaves_the_one_before(pair, store, monkeypatch):
    config = pair.config(method="sft", steps=6, save_every=2, eval_samples=0, sample_prompts=0)
    run = store.create(config)
    commit = trainer.checkpoints.commit

    def full(root, step):
        if step == 4:
            (root / ".part" / "checkpoint-4" / "optimizer.pt").unlink()
        return commit(root, step)

    monkeypatch.setattr(trainer.checkpoints, "commit", full)
    assert worker.execute(run, lambda: False) == attempt.FAILED
    assert "the optimizer's state would be lost" in run.status().message
    assert run.checkpoints() == [2]
    assert [p.name for p in (run.dir / "checkpoints").iterdir()] == ["checkpoint-2"]


def test_a_folder_that_cannot_be_written_is_said_and_nothing_is_lost(store, monkeypatch):
    run = lost(store)
    before = {p: p.read_bytes() for p in run.dir.rglob("*.json")}

    def full(path, record):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ctkd_core.background.lifecycle.write_record", full)
    with pytest.raises(RunError, match=r"can't be resumed.*No space left on device.*Nothing was lost; free some space"):
        run.resume()
    assert {p: p.read_bytes() for p in run.dir.rglob("*.json")} == before
    wait_for(lambda: workers_of(run.dir) == [], SECONDS, "the killed worker to be gone")
    assert run.status().state == "lost"


def test_a_run_with_a_damaged_status_can_be_resumed(store, busy_device):
    run = lost(store)
    (run.dir / "status.json").write_text("[1, 2")
    assert run.status().state == "damaged"
    run.resume()
    wait_for(lambda: run.status().pid is not None, SECONDS, "the worker to queue")
    assert (run.status().state, run.status().attempt) == ("queued", 2)


def test_a_silent_run_on_another_computer_can_be_resumed_and_a_living_one_not(store, busy_device, monkeypatch):
    """A reader watches by a clock that only its own pauses move, so a busy machine makes no difference."""
    from ctkd_core.distill.runs import WATCHED_SECONDS

    run = store.create(RunConfig(method="sft", device="cpu"))
    there = replace(run.status(), state="running", pid=1, pid_start="boot x 1", host="elsewhere", heartbeat=1.0)
    write_status(run.dir, there)
    now, beats = 0.0, [WATCHED_SECONDS - 0.5]

    def pause(seconds: float) -> None:
        nonlocal now
        now += seconds
        if beats and now >= beats[0]:
            write_status(run.dir, replace(there, heartbeat=1.0 + beats.pop()))

    clock = SimpleNamespace(monotonic=lambda: now, sleep=pause, time=time.time)
    for module in (lifecycle, status):
        monkeypatch.setattr(module, "time", clock)
    with pytest.raises(RunError, match="is running; cancel it before resuming"):
        run.resume()
    assert not beats, "it beat shortly before the watch was over"
    run.resume()
    assert now >= 2 * WATCHED_SECONDS - 0.5
    wait_for(lambda: run.status().host != "elsewhere", SECONDS, "the worker here to queue")
    assert run.status().attempt == 2
