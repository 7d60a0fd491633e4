"""The life cycle of background work: started once, watched, cancelled, lost, taken over; with real processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from ctkd_core.background import attempt, lifecycle
from ctkd_core.background.lifecycle import Job, Work
from ctkd_core.background.processes import process_alive
from ctkd_core.background.status import JobStatus, read_launch, read_status, write_status
from ctkd_core.errors import CtkdError
from tests.background.job_worker import Order, do
from tests.forked import kill_workers_of, workers_of

WORKER = "tests.background.job_worker"
ROOT = str(Path(__file__).resolve().parents[2])
SECONDS = 600
pytestmark = [pytest.mark.timeout(3000), pytest.mark.usefixtures("started_anew")]


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A job in a folder of its own; whatever it started is gone at the end."""
    monkeypatch.setenv("PYTHONPATH", ROOT)
    found = Job(tmp_path / "job")
    yield found
    kill_workers_of(found.folder)


def pid_of(job: Job) -> int:
    launch = read_launch(job.folder)
    assert launch is not None
    return launch.pid


def began(job: Job) -> list[int]:
    """Processes that ever began to work."""
    path = job.folder / "began"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def wait_for(look, what: str):
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {SECONDS} s for {what}")


def test_a_job_ends_with_its_sentence(job):
    assert not job.exists
    job.start(WORKER, Order("finish"))
    told: list[float] = []
    now = job.wait(SECONDS, lambda share, _: told.append(share))
    assert (now.state, now.share, now.message) == ("finished", 1.0, "It is done."), job.log_tail()
    assert (job.folder / "done").read_text() == "finish"
    assert told == sorted(told)
    assert now.seconds is not None and now.seconds >= 0


@pytest.mark.parametrize(
    ("what", "sentence"),
    [("fail", "that can't be; choose another."), ("crash", "ZeroDivisionError: by zero. The log has the details.")],
)
def test_a_fault_is_told(job, what, sentence):
    job.start(WORKER, Order(what))
    now = job.wait(SECONDS)
    assert (now.state, now.message) == ("failed", sentence)
    assert "Traceback" in job.log_tail()


def test_a_process_that_dies_is_lost_and_can_start_again(job):
    job.start(WORKER, Order("die"))
    now = job.wait(SECONDS)
    assert now.state == "lost"
    assert "without a word" in now.message
    job.start(WORKER, Order("finish"))
    now = job.wait(SECONDS)
    assert (now.state, now.attempt) == ("finished", 2)


@pytest.mark.parametrize("what", ["wait", "stuck"])
def test_cancel_stops_the_process(job, what, monkeypatch):
    monkeypatch.setattr(lifecycle, "CANCEL_GRACE", 0.3)
    job.start(WORKER, Order(what))
    pid = pid_of(job)
    wait_for(lambda: job.status().state == "running", "the work to begin")
    job.cancel(wait=True)
    assert not process_alive(pid, None)
    assert (job.status().state, job.status().message) == ("cancelled", "Cancelled; nothing was kept.")
    assert not (job.folder / "done").exists()


def test_a_child_that_the_signal_ends_too_is_no_failure(job):
    job.start(WORKER, Order("child"))
    pid = pid_of(job)
    wait_for(lambda: psutil.Process(pid).children(), what="the child")
    os.killpg(pid, signal.SIGTERM)
    assert job.wait(SECONDS).state == "cancelled"
    assert "told to end" in (job.folder / lifecycle.LOG).read_text()


def test_a_child_that_somebody_ends_is_a_failure(job):
    job.start(WORKER, Order("child"))
    (child,) = wait_for(lambda: psutil.Process(pid_of(job)).children(), what="the child")
    child.terminate()
    status = job.wait(SECONDS)
    assert (status.state, status.message) == ("failed", "it can't be read: its process was told to end; try again.")


def test_a_job_that_was_asked_to_stop_is_not_joined(job):
    job.start(WORKER, Order("stuck"))
    wait_for(lambda: job.status().state == "running", "the work to begin")
    Work(job.folder, JobStatus).request_cancel(job.status().attempt)
    job.start(WORKER, Order("finish"))
    assert job.wait(SECONDS).state == "finished"
    assert len(began(job)) == 2


def test_who_asks_the_same_joins(job):
    job.start(WORKER, Order("wait"))
    first = pid_of(job)
    Job(job.folder).start(WORKER, Order("wait"))
    assert pid_of(job) == first


def test_of_many_threads_that_start_at_once_one_does(job):
    barrier = threading.Barrier(6)

    def start() -> None:
        barrier.wait()
        Job(job.folder).start(WORKER, Order("wait"))

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_for(lambda: job.status().state == "running", "the work to begin")
    assert workers_of(job.folder) == [pid_of(job)]
    assert began(job) == [pid_of(job)]


def test_of_many_processes_that_start_at_once_one_does(job):
    code = (
        "import sys; from pathlib import Path; from ctkd_core.background.lifecycle import Job; "
        "from tests.background.job_worker import Order; job = Job(Path(sys.argv[1]))\n"
        "print('ready', flush=True); sys.stdin.readline(); job.start(sys.argv[2], Order('wait'))"
    )
    asking = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(job.folder), WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for _ in range(4)
    ]
    for process in asking:
        assert process.stdout.readline() == "ready\n"
    for process in asking:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.wait(SECONDS) for process in asking] == [0] * 4
    wait_for(lambda: job.status().state == "running", "the work to begin")
    assert workers_of(job.folder) == [pid_of(job)]
    assert began(job) == [pid_of(job)]
    assert job.status().attempt == 1


def test_a_second_worker_on_the_same_folder_leaves_the_first_alone(job):
    job.start(WORKER, Order("wait"))
    wait_for(lambda: job.status().state == "running", "the work to begin")
    second = subprocess.run(
        [sys.executable, "-m", WORKER, str(job.folder), "1"], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS
    )
    assert second.returncode == attempt.CANCELLED
    assert "works on attempt 1 already" in second.stderr
    assert began(job) == [pid_of(job)]
    assert job.status().pid == pid_of(job)


def test_a_worker_of_work_that_has_ended_does_nothing(job):
    job.start(WORKER, Order("finish"))
    assert job.wait(SECONDS).state == "finished"
    before = read_status(job.folder, JobStatus)
    assert attempt.work([str(job.folder), "1"], do, Order) == attempt.FINISHED
    assert read_status(job.folder, JobStatus) == before
    assert len(began(job)) == 1


def test_a_superseded_attempt_ends_by_itself_and_writes_nothing(job):
    job.start(WORKER, Order("wait"))
    pid = pid_of(job)
    wait_for(lambda: job.status().state == "running", "the work to begin")
    with Work(job.folder, JobStatus).lock():
        later = JobStatus(attempt=2, message="the later one", pid=os.getpid())
        write_status(job.folder, later)
    wait_for(lambda: not process_alive(pid, None), "the first process to end")
    assert read_status(job.folder, JobStatus) == later
    assert "attempt 2 has begun" in job.log_tail()
    assert not (job.folder / "done").exists()


def test_the_next_attempt_waits_until_the_one_before_has_ended(job):
    """A worker of attempt 2 is started while that of attempt 1 still works (and doesn't report for a while)."""
    job.start(WORKER, Order("wait"))
    first = pid_of(job)
    wait_for(lambda: job.status().state == "running", "the work to begin")
    work = Work(job.folder, JobStatus)
    with work.lock():
        os.kill(first, signal.SIGSTOP)
        second = work.launch(WORKER, JobStatus(attempt=2, message="the later one"))
    time.sleep(0.5)
    assert began(job) == [first], "the second process waits"
    os.kill(first, signal.SIGCONT)
    wait_for(lambda: began(job) == [first, second], "the second process to begin")
    # The first gave up its lock as the last thing it did; the system may take a moment to end it.
    wait_for(lambda: not process_alive(first, None), "the first process to end")
    assert read_status(job.folder, JobStatus).attempt == 2


def test_a_held_lock_is_told(job, monkeypatch):
    monkeypatch.setattr(lifecycle, "LOCK_SECONDS", 0.1)
    job.folder.mkdir()
    with Work(job.folder, JobStatus).lock(), pytest.raises(CtkdError, match="has held the lock"):
        job.start(WORKER, Order("finish"))


def test_broken_records_are_said_and_can_be_started_again(job):
    (job.folder / "control").mkdir(parents=True)
    for name in ("order.json", "status.json", "control/launch.json"):
        (job.folder / name).write_text("{broken")
    assert job.status().state == "damaged"
    assert "status.json" in job.status().message
    job.start(WORKER, Order("finish"))
    assert job.wait(SECONDS).state == "finished"


def test_a_broken_order_is_a_failure_with_a_sentence(job, capsys):
    job.folder.mkdir()
    (job.folder / "order.json").write_text('{"what": 3')
    assert attempt.work([str(job.folder)], do, Order) == attempt.FAILED
    assert "is damaged" in job.status().message


def test_a_folder_that_cannot_be_written_is_told_and_nothing_changes(job, monkeypatch):
    job.start(WORKER, Order("die"))
    assert job.wait(SECONDS).state == "lost"
    before = (job.folder / "status.json").read_bytes()

    def full(path, record):
        if path.name == "launch.json":
            raise OSError(28, "No space left on device")
        write(path, record)

    write = lifecycle.write_record
    monkeypatch.setattr(lifecycle, "write_record", full)
    with pytest.raises(CtkdError, match=r"No space left on device.*free some space"):
        job.start(WORKER, Order("wait"))
    assert (job.folder / "status.json").read_bytes() == before
    wait_for(lambda: workers_of(job.folder) == [], what="the end of a process that nobody could find")


def test_a_full_disk_at_the_end_leaves_lost_work_not_a_living_one(job, monkeypatch, capsys):
    job.folder.mkdir()
    (job.folder / "order.json").write_text(json.dumps({"what": "finish"}))
    write = attempt.write_status

    def full(folder, status):
        if status.state == "finished":
            raise OSError(28, "No space left on device")
        write(folder, status)

    monkeypatch.setattr(attempt, "write_status", full)
    assert attempt.work([str(job.folder)], do, Order) == attempt.FAILED
    assert "can't be written" in capsys.readouterr().err
    status = read_status(job.folder, JobStatus)
    write_status(job.folder, replace(status, pid=2**22 - 5))  # this process goes on, a worker would be gone
    assert job.status().state == "lost"


def test_wrong_command_lines_have_their_exit_code(capsys):
    for words in ([], ["folder", "one"], ["folder", "1", "2"]):
        assert attempt.work(words, do, Order) == attempt.USAGE
    assert "the job's folder" in capsys.readouterr().err


def test_a_missing_folder_is_a_failure(tmp_path, capsys):
    assert attempt.work([str(tmp_path / "none")], do, Order) == attempt.FAILED
    assert "can't be written" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_folder_that_somebody_removed_does_not_come_back(tmp_path, capsys):
    folder = tmp_path / "job"

    def removed(mine: attempt.Attempt[JobStatus]) -> dict[str, str]:
        shutil.rmtree(folder)
        with pytest.raises(attempt.Superseded, match="its folder is gone"):
            mine.update(message="written")
        with pytest.raises(attempt.Superseded):
            mine.check()
        return {}

    folder.mkdir()
    assert attempt.attend(folder, JobStatus, removed, 1) == attempt.CANCELLED
    assert "its folder is gone" in capsys.readouterr().err
    assert not folder.exists()


def test_a_folder_that_was_removed_while_it_was_read_does_not_come_back_for_its_lock(tmp_path):
    with pytest.raises(FileNotFoundError), Work(tmp_path / "removed", JobStatus).lock():
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_request_to_cancel_an_earlier_attempt_does_not_count(tmp_path):
    work = Work(tmp_path, JobStatus)
    work.request_cancel(1)
    assert lifecycle.cancel_asked(tmp_path, 1)
    assert not lifecycle.cancel_asked(tmp_path, 2)
    (tmp_path / "control" / "cancel").write_text("cancel\n")  # as older versions and people write it
    assert lifecycle.cancel_asked(tmp_path, 2)
