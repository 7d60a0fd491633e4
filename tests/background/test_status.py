"""The status of background work: who is alive whatever the clock says, who is lost, what isn't a status."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from ctkd_core.background import processes, status
from ctkd_core.background.attempt import Attempt
from ctkd_core.background.processes import process_alive, process_start
from ctkd_core.background.status import JobStatus, look, read_status, write_status
from ctkd_core.distill.status import RunStatus


@pytest.fixture
def child():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def step_clock(tmp_path, monkeypatch):
    """Set the clock, as NTP or a person does: `time.time` and the kernel's time of boot move by so many seconds."""
    real = time.time

    def step(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: real() + seconds)
        if not sys.platform.startswith("linux"):
            return
        proc = tmp_path / f"proc{seconds}"
        proc.mkdir()
        for entry in Path("/proc").iterdir():
            if entry.name != "stat":
                (proc / entry.name).symlink_to(entry)
        told = Path("/proc/stat").read_text()
        moved = re.sub(r"(?m)^btime (\d+)", lambda found: f"btime {int(found[1]) + round(seconds)}", told)
        (proc / "stat").write_text(moved)
        monkeypatch.setattr(psutil, "PROCFS_PATH", str(proc))

    return step


@pytest.mark.parametrize("seconds", [5, -5, 3600, -3600])
def test_setting_the_clock_changes_nothing(tmp_path, child, step_clock, seconds):
    work = tmp_path / "work"
    work.mkdir()
    now = time.time()
    living = RunStatus(
        state="running",
        pid=child.pid,
        pid_start=process_start(child.pid),
        started=now - 60,
        heartbeat=now,
        elapsed=60.0,
    )
    write_status(work, living)
    created = psutil.Process(child.pid).create_time()
    step_clock(seconds)
    if sys.platform.startswith("linux"):
        assert abs(psutil.Process(child.pid).create_time() - created) > 4, "the clock was really set"
    assert look(work, RunStatus) == living
    assert look(work, RunStatus).seconds == 60.0
    child.kill()
    child.wait()
    assert look(work, RunStatus).state == "lost"


def test_a_worker_goes_on_when_the_clock_is_set(tmp_path, step_clock, monkeypatch):
    unset = [1000.0]  # the clock that nobody sets
    monkeypatch.setattr(time, "monotonic", lambda: unset[0])
    attempt = Attempt(tmp_path, RunStatus(pid=os.getpid(), pid_start=process_start(os.getpid()))).start()
    attempt.begin(state="running")
    step_clock(-3600)
    unset[0] += 7
    attempt.update(step=1)
    now = look(tmp_path, RunStatus)
    assert (now.state, now.step) == ("running", 1)
    assert now.seconds == 7
    attempt.close(state="finished")
    assert look(tmp_path, RunStatus).seconds == 7


def test_the_start_of_a_process_tells_it_from_another_of_its_number(child):
    mine = process_start(os.getpid())
    assert mine == process_start(os.getpid()) != ""
    assert process_alive(os.getpid(), mine)
    assert process_alive(os.getpid(), None)
    if sys.platform.startswith("linux"):
        word, boot, ticks = mine.split()
        assert not process_alive(os.getpid(), f"{word} {boot} {int(ticks) - 1}")
        assert not process_alive(os.getpid(), f"{word} another-boot {ticks}")
    child.kill()
    child.wait()
    assert process_start(child.pid) == ""
    assert not process_alive(child.pid, None)


def test_a_zombie_has_ended(child):
    start = process_start(child.pid)
    child.kill()
    end = time.monotonic() + 60
    while process_alive(child.pid, start) and time.monotonic() < end:
        time.sleep(0.01)
    assert not process_alive(child.pid, start), "nobody has waited for it yet"


def test_elsewhere_the_system_tells_the_start(monkeypatch, child):
    monkeypatch.setattr(processes.sys, "platform", "darwin")
    start = process_start(child.pid)
    assert start.startswith("epoch ")
    assert process_alive(child.pid, start)
    assert process_start(2**22 - 3) == ""


def test_a_status_of_an_older_version_still_reads(tmp_path, child):
    old = {
        "state": "running", "step": 7, "total_steps": 9, "message": "Step 7 of 9.", "heartbeat": time.time(),
        "pid": child.pid, "pid_created": psutil.Process(child.pid).create_time(), "detached": True, "attempt": 1,
        "created": 1.0, "started": 2.0, "ended": None, "last_checkpoint": None, "host": "", "gone": "field",
    }  # fmt: skip
    (tmp_path / "status.json").write_text(json.dumps(old))
    now = look(tmp_path, RunStatus)
    assert (now.state, now.step, now.pid) == ("running", 7, child.pid)
    (tmp_path / "status.json").write_text(json.dumps(old | {"pid_created": 1.0}))
    assert look(tmp_path, RunStatus).state == "lost", "another process under the same number isn't the worker"


def test_a_vanished_process_is_noticed_and_a_living_one_is_not(tmp_path, child):
    running = RunStatus(state="running", step=7, total_steps=9, pid=child.pid)
    write_status(tmp_path, running)
    assert look(tmp_path, RunStatus).state == "running"
    child.kill()
    child.wait()
    lost = look(tmp_path, RunStatus)
    assert lost.state == "lost"
    assert "step 7 of 9" in lost.message
    write_status(tmp_path, replace(running, state="finished"))
    assert look(tmp_path, RunStatus).state == "finished"


def test_a_worker_that_died_before_its_first_word_is_lost(tmp_path):
    (tmp_path / "control").mkdir()
    write_status(tmp_path, RunStatus(state="queued"))
    assert look(tmp_path, RunStatus).state == "queued"
    launch = {"pid": 2**22 - 3, "pid_created": 1.0, "attempt": 1}  # as older versions wrote it
    (tmp_path / "control" / "launch.json").write_text(json.dumps(launch))
    assert look(tmp_path, RunStatus).state == "lost"


def test_a_process_on_another_computer_is_judged_by_a_heartbeat_that_stands_still_here(tmp_path, monkeypatch):
    """Its clock may be an hour off: what counts is what this reader saw by its own clock that nobody sets."""
    clock = [1000.0]
    monkeypatch.setattr(status.time, "monotonic", lambda: clock[0])
    there = RunStatus(state="running", pid=1, pid_start="boot x 1", host="elsewhere", heartbeat=time.time() - 3600)
    write_status(tmp_path, there)
    assert look(tmp_path, RunStatus).state == "running"
    clock[0] += status.STALE_SECONDS - 1
    assert look(tmp_path, RunStatus).state == "running"
    write_status(tmp_path, replace(there, heartbeat=there.heartbeat - 7200))  # its clock was set, it lives
    clock[0] += 2
    assert look(tmp_path, RunStatus).state == "running"
    clock[0] += status.STALE_SECONDS + 1
    assert look(tmp_path, RunStatus).state == "lost"


def test_readers_never_see_half_a_status(tmp_path):
    attempt = Attempt(tmp_path, RunStatus(state="running", pid=os.getpid())).start()
    seen: list[str] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(json.loads((tmp_path / "status.json").read_text())["state"])

    reader = threading.Thread(target=read)
    reader.start()
    for step in range(300):
        attempt.update(step=step, message="x" * (step % 50))
    done.set()
    reader.join()
    attempt.close(state="finished")
    assert set(seen) == {"running"}
    assert look(tmp_path, RunStatus).state == "finished"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["control", "status.json"]


def test_the_heartbeat_goes_on_by_itself(tmp_path, monkeypatch):
    from ctkd_core.background import attempt as module

    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.01)
    attempt = Attempt(tmp_path, RunStatus(state="running", pid=os.getpid())).start()
    attempt.note(step=5)
    end = time.monotonic() + 60
    while read_status(tmp_path, RunStatus).step != 5 and time.monotonic() < end:
        time.sleep(0.01)
    assert read_status(tmp_path, RunStatus).step == 5
    attempt.close(state="finished")


@pytest.mark.parametrize(
    "content",
    ["{", "[]", "3", '"text"', "null", '{"state": 7}', '{"state": "asleep"}', '{"pid": [1]}', '{"step": "many"}', "",
     '{"heartbeat": NaN}', '{"pid": -1}', '{"message": {"a": 1}}', "[" * 5000, '{"pid": 1e400}', "\ufeff{}"],
)  # fmt: skip
def test_what_is_no_status_is_damaged_not_a_crash(tmp_path, content):
    (tmp_path / "status.json").write_text(content)
    now = look(tmp_path, RunStatus)
    assert now.state == "damaged"
    assert now.ended_already
    assert "status.json" in now.message and str(tmp_path) in now.message


def test_without_a_file_nothing_has_begun(tmp_path):
    assert look(tmp_path, JobStatus) == JobStatus()
    assert look(tmp_path, RunStatus).state == "queued"


def test_text_that_no_file_can_hold_is_cleaned(tmp_path):
    attempt = Attempt(tmp_path, RunStatus(pid=os.getpid())).start()
    attempt.close(state="failed", message="a \udc80 b")
    assert look(tmp_path, RunStatus).message == "a ? b"
