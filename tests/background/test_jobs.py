"""Jobs: a process with progress that can be cancelled, joined, and lost."""

from __future__ import annotations

import json

import pytest

from ctkd_core.background import jobs
from ctkd_core.background.processes import process_alive
from ctkd_core.errors import CtkdError
from tests.patience import PATIENCE

WORKER = "tests.background.job_worker"


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A job in a folder of its own; whatever it started is gone at the end."""
    from pathlib import Path

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    found = jobs.Job(tmp_path / "job")
    yield found
    if found.exists and not found.status().ended:
        found.cancel(wait=True)


def pid_of(job: jobs.Job) -> int:
    return json.loads((job.folder / "launch.json").read_text())["pid"]


def test_a_job_ends_with_its_sentence(job):
    assert not job.exists
    job.start(WORKER, {"what": "finish"})
    told: list[float] = []
    now = job.wait(PATIENCE, lambda share, _: told.append(share))
    assert (now.state, now.share, now.sentence) == ("finished", 1.0, "It is done.")
    assert (job.folder / "done").read_text() == "finish"
    assert told == sorted(told)


@pytest.mark.parametrize(
    ("what", "sentence"),
    [("fail", "that can't be; choose another."), ("crash", "ZeroDivisionError: by zero. The log has the details.")],
)
def test_a_fault_is_told(job, what, sentence):
    job.start(WORKER, {"what": what})
    now = job.wait(PATIENCE)
    assert (now.state, now.sentence) == ("failed", sentence)
    assert "Traceback" in job.log_tail()


def test_a_process_that_dies_is_lost_and_can_start_again(job):
    job.start(WORKER, {"what": "die"})
    now = job.wait(PATIENCE)
    assert now.state == "lost"
    assert "without a word" in now.sentence
    job.start(WORKER, {"what": "finish"})
    assert job.wait(PATIENCE).state == "finished"


@pytest.mark.parametrize("what", ["wait", "deaf"])
def test_cancel_stops_the_process(job, what, monkeypatch):
    monkeypatch.setattr(jobs, "CANCEL_GRACE", 0.3)
    job.start(WORKER, {"what": what})
    pid = pid_of(job)
    while job.status().state != "running":
        pass
    job.cancel(wait=True)
    assert not process_alive(pid, None)
    assert job.status() == jobs.JobStatus("cancelled", job.status().share, "Cancelled; nothing was kept.")
    assert not (job.folder / "done").exists()


def test_who_asks_the_same_joins(job):
    job.start(WORKER, {"what": "wait"})
    first = pid_of(job)
    jobs.Job(job.folder).start(WORKER, {"what": "wait"})
    assert pid_of(job) == first


def test_a_held_lock_is_told(job, monkeypatch):
    from filelock import FileLock

    monkeypatch.setattr(jobs, "LOCK_SECONDS", 0.1)
    job.folder.mkdir(parents=True)
    with FileLock(job.folder / "lock"), pytest.raises(CtkdError, match="has held the lock"):
        job.start(WORKER, {"what": "finish"})


def test_a_broken_status_counts_as_none(job):
    job.folder.mkdir(parents=True)
    for name in ("order.json", "status.json", "launch.json"):
        (job.folder / name).write_text("{broken")
    assert job.status() == jobs.JobStatus("starting", 0.0, "Starting")


def test_a_wrong_command_line_has_its_exit_code(capsys):
    assert jobs.work([], lambda *_: "") == 2
    assert "one argument" in capsys.readouterr().err
