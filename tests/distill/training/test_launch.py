"""One run in two real processes (gloo, on the CPU), and what each of several processes does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

import ctkd_core
from ctkd_core.background import attempt
from ctkd_core.background.processes import process_start
from ctkd_core.distill import devices, worker
from ctkd_core.distill.runs import RunStore
from ctkd_core.distill.sweeps import queue
from ctkd_core.distill.training import launch, processes
from ctkd_core.errors import RunError
from tests import forked, patience

TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
OF_A_LAUNCH = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR")


def by_torchrun(store, *words: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in OF_A_LAUNCH} | {"OMP_NUM_THREADS": "1"}
    command = [*TWO, "-m", "ctkd_core", *words, "--runs-dir", str(store.root)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=patience.LONG, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def by_two_forks(store, *words: str) -> None:
    """As torchrun starts them."""
    for done in in_two(store, "ctkd_core", *words):
        assert done.returncode == 0, done.stderr[-3000:]


def in_two(store, module: str, *words: str) -> list[subprocess.CompletedProcess[str]]:
    """How two processes ended, which see each other; forked, so with torch loaded already."""
    command = [sys.executable, "-m", module, *words, "--runs-dir", str(store.root)]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    told = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}

    def one(rank: str) -> subprocess.CompletedProcess[str]:
        env = dict(os.environ) | told | {"RANK": rank, "LOCAL_RANK": rank}
        return forked.run(command, env=env, timeout=patience.LONG, capture_output=True, text=True, check=False)

    with ThreadPoolExecutor() as both:
        return list(both.map(one, "01"))


@pytest.mark.slow
def test_two_processes_are_one_run_with_the_loss_of_one(pair, store, tmp_path):
    given = {"method": "sedi", "steps": 3, "save_every": 2, "eval_samples": 2, "sample_prompts": 1}
    whole = ctkd_core.distill(pair.config(**given, batch_size=4), store)
    config = {k: v for k, v in pair.config(**given, batch_size=2).to_dict().items() if k != "version"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    apart = RunStore(tmp_path / "apart")
    by_torchrun(apart, "distill", str(tmp_path / "config.json"))
    (run,) = apart.list()
    assert run.status().state == "finished"
    curves = [[r["loss"] for r in x.metric_rows() if r["kind"] == "train"] for x in (whole, run)]
    assert curves[1] == pytest.approx(curves[0], rel=1e-5)
    for figure in ("by_kind", "by_class", "diagnostics"):
        mine, theirs = (next(r[figure] for r in x.metric_rows() if r["kind"] == "train") for x in (run, whole))
        assert mine == pytest.approx(theirs, rel=1e-4, abs=1e-6)
    assert (run.dir / "checkpoints" / "student" / "model.safetensors").is_file()
    assert "3 steps of 4 samples" in (run.dir / "checkpoints" / "student" / "README.md").read_text()
    assert (run.status().processes, run.environment["processes"], whole.processes) == (2, 2, 1)
    # as if it had been stopped behind step 2
    with_two = replace(run.status(), state="cancelled", step=2, last_checkpoint=2)
    (run.dir / "status.json").write_text(json.dumps(with_two.to_dict()))
    with pytest.raises(RunError, match="began in 2 processes"):
        run.resume()
    by_two_forks(apart, "runs", "resume", run.id)
    assert (run.status().state, run.status().attempt) == ("finished", 2)
    again = [r["loss"] for r in run.metric_rows() if r["kind"] == "train"]
    assert again == pytest.approx(curves[0], rel=1e-5)
    assert len(apart.list()) == 1


@pytest.mark.slow
def test_stopped_while_it_measures_the_last_step_a_run_of_two_keeps_it(pair, store, tmp_path):
    given = pair.config(method="sft", steps=2, save_every=0, eval_samples=2, sample_prompts=0)
    config = {k: v for k, v in given.to_dict().items() if k != "version"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    ended = in_two(store, "tests.distill.training.stopped_in_two", "distill", str(tmp_path / "config.json"))
    (run,) = store.list()
    assert [done.returncode for done in ended] == [attempt.CANCELLED] * 2, ended[0].stderr[-3000:]
    assert (run.status().state, run.checkpoints(), run.status().last_checkpoint) == ("cancelled", [2], 2)
    by_two_forks(store, "runs", "resume", run.id)
    assert run.status().state == "finished"
    rows = run.metric_rows()
    assert [row["step"] for row in rows if row["kind"] == "train"] == [1, 2]
    assert (rows[-1]["kind"], rows[-1]["step"]) == ("eval", 2)


@pytest.mark.slow
def test_where_the_first_process_fails_while_it_measures_the_others_fail(pair, store, tmp_path):
    given = pair.config(method="sft", steps=1, save_every=0, eval_samples=2, sample_prompts=0)
    config = {k: v for k, v in given.to_dict().items() if k != "version"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    ended = in_two(store, "tests.distill.training.failed_in_two", "distill", str(tmp_path / "config.json"))
    (run,) = store.list()
    assert (run.status().state, run.status().message) == ("failed", "no room")
    assert [done.returncode for done in ended] == [attempt.FAILED] * 2, ended[1].stderr[-3000:]
    assert "process 1 ends here: the first process of this run failed" in ended[1].stderr


@pytest.fixture
def second_of_two(monkeypatch):
    for name, value in {"WORLD_SIZE": 2, "RANK": 1, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")


def test_a_world_is_one_that_a_launcher_made(monkeypatch, second_of_two):
    assert (processes.world_size(), processes.rank(), processes.local_size()) == (2, 1, 2)
    monkeypatch.delenv("MASTER_ADDR")  # other tools set WORLD_SIZE, too
    assert (processes.world_size(), processes.rank(), processes.local_size()) == (1, 0, 1)
    assert processes.gathered("x") == ["x"]


def test_each_gpu_is_a_slot(second_of_two):
    assert devices.slots("cuda") == ["cuda:0", "cuda:1"]
    assert devices.slots("cpu") == ["cpu"]
    with pytest.raises(RunError, match="several processes"):
        devices.torch_device("cuda:1")


@pytest.fixture
def stopped(pair, store):
    """A run that was stopped, by the number of processes in which it began."""

    def make(began):
        run = store.create(pair.config(eval_samples=0, sample_prompts=0, save_student=False, steps=1))
        there = replace(run.status(), state="cancelled", processes=began)
        (run.dir / "status.json").write_text(json.dumps(there.to_dict()))
        return run

    return make


def test_a_run_of_two_processes_goes_on_in_no_other_number(stopped, monkeypatch):
    run = stopped(2)
    command = f"torchrun --nproc-per-node 2 -m ctkd_core runs resume {run.dir}"
    with pytest.raises(RunError, match=r"began in 2 processes.*fewer samples") as fault:
        run.resume()
    assert str(fault.value).endswith(command)
    assert run.status().state == "cancelled"
    queue.enqueue(run)  # as a sweep does that goes on with its runs
    assert worker.execute(run, lambda: False) == attempt.FAILED
    assert run.status().message.endswith(command)
    assert run.summary()["processes"] == 2
    monkeypatch.setattr("ctkd_core.files.home", lambda: run.dir.parent.parent)
    assert run.dir.parent.name == "runs"
    with pytest.raises(RunError, match=f"runs resume {run.id}$"):
        run.resume()


def test_a_run_of_one_process_goes_on_in_no_other_number(stopped, second_of_two):
    with pytest.raises(RunError, match=r"in 2 processes it would learn from more.*: ctkd runs resume"):
        stopped(1).queue_again()
    assert stopped(2).queue_again().status().processes == 2
    assert stopped(None).queue_again().status().state == "queued"  # nobody knows in how many


def test_a_run_notes_in_how_many_processes_it_trains(stopped):
    run = stopped(None)
    assert run.processes is None
    assert worker.execute(run.queue_again(), lambda: False) == attempt.FINISHED
    assert (run.status().processes, run.environment["processes"]) == (1, 1)


def test_checkpoints_of_older_versions_tell_in_how_many(stopped):
    run = stopped(None)
    for step, names in ((4, ["rng_state.pth"]), (8, ["rng_state_0.pth", "rng_state_1.pth"])):
        folder = run.dir / "checkpoints" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).touch()
    assert run.processes == 2


@pytest.mark.parametrize(("state", "code"), [("failed", attempt.FAILED), ("cancelled", attempt.CANCELLED)])
def test_who_follows_a_run_that_ended_while_waiting_ends(pair, store, second_of_two, state, code):
    run = store.create(pair.config())
    (run.dir / "status.json").write_text(json.dumps(replace(run.status(), state=state).to_dict()))
    assert launch.follow(run) == code


@pytest.mark.parametrize(
    ("fault", "said"),
    [(RuntimeError("[gloo] Connection closed by peer"), "another process of"), (MemoryError(), "out of memory at")],
)
def test_who_follows_a_run_that_fails_says_why(pair, store, second_of_two, monkeypatch, capsys, fault, said):
    def train(*_):
        raise fault

    monkeypatch.setattr("ctkd_core.distill.session.train", train)
    run, pid = store.create(pair.config()), os.getpid()
    begun = replace(run.status(), state="running", pid=pid, pid_start=process_start(pid))
    (run.dir / "status.json").write_text(json.dumps(begun.to_dict()))
    assert launch.follow(run) == attempt.FAILED
    assert f"process 1 ends here: {said}" in capsys.readouterr().err


def test_who_follows_writes_nothing(pair, store):
    run = store.create(pair.config())
    before = (run.dir / "status.json").read_bytes()
    follower = launch.Follower(run.dir, run.status())
    follower.begin(state="running")
    follower.update(message="Here.")
    follower.check()
    follower.close(state="finished")
    assert (run.dir / "status.json").read_bytes() == before
    assert follower.status.message == "Here."


def test_a_lost_process_is_named(pair, store):
    fault = RuntimeError("[gloo] Connection closed by peer [127.0.0.1]:1234")
    assert "another process of this run ended" in worker.explain(fault, store.create(pair.config()))


def test_nobody_gives_up_while_the_first_process_measures(monkeypatch):
    given = {}
    monkeypatch.setattr("accelerate.PartialState", lambda **options: given.update(options))
    launch.join("cpu")
    assert given["timeout"].total_seconds() >= 12 * 3600
    assert given["backend"] == "gloo"
