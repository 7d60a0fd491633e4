"""How long a run may take to stop, what it says it keeps, and what the command line says meanwhile."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from ctkd_core.background.processes import GRACE_SECONDS, process_start
from ctkd_core.background.status import write_status
from ctkd_core.cli.distill import waiting_for
from ctkd_core.distill import stopping
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.records import RecordWriter
from ctkd_core.distill.status import RunStatus


def step(number: int, time: object, seconds: float = 1.0) -> dict[str, object]:
    return {"kind": "train", "step": number, "time": time, "seconds": seconds}


def begun(attempt: int, step: int) -> dict[str, object]:
    return {"kind": "resume", "step": step, "attempt": attempt, "time": 0.0}


@pytest.mark.parametrize(
    ("rows", "attempt", "expected"),
    [
        ([], 1, None),
        ([step(1, 110.0, 7.0)], 1, 7.0),
        ([step(1, 110.0), {"kind": "eval", "step": 1, "time": 111.0}, step(2, 118.0), step(3, 120.0)], 1, 8.0),
        ([step(1, 50.0, 30.0), step(2, 90.0, 30.0), begun(2, 2), step(3, 110.0, 4.0)], 2, 4.0),
        ([step(1, 50.0), step(2, 90.0)], 2, None),  # of the attempt before
        ([step(1, 50.0), begun(2, 0), step(1, 90.0)], 3, None),
        ([step(k, 100.0 + (60 if k > 2 else 0) + k) for k in range(1, 12)], 1, 1.0),  # a slow one long ago
        ([step(1, 500.0), step(2, 100.0), step(3, 107.0)], 1, 7.0),  # the clock was set back
        ([step(1, 500.0), step(2, 100.0, 3.0)], 1, 3.0),
        ([step(1, "soon")], 1, None),
    ],
)
def test_the_slowest_of_the_newest_steps_counts(rows, attempt, expected):
    assert stopping.step_seconds(rows, attempt) == expected


def test_a_run_has_time_for_its_step_and_its_checkpoint_within_bounds(pair, store, monkeypatch):
    small = store.create(pair.config(hidden_size=32))
    large = store.create(pair.config(student_model="transplant", teacher_path="smollm2"))
    assert stopping.grace(large) == GRACE_SECONDS, "it has no step to keep yet"
    monkeypatch.setattr(stopping, "pace", lambda run: 40.0)
    assert 90.0 < stopping.grace(small) < stopping.grace(large) - 60 < stopping.LONGEST
    monkeypatch.setattr(stopping, "pace", lambda run: 10.0**6)
    assert stopping.grace(small) == stopping.LONGEST


def test_what_is_kept_is_told():
    status = RunStatus(state="running", step=7, total_steps=20, last_checkpoint=5)
    kept = "the checkpoint of step 5 is kept, and resume goes on from there."
    assert status.cancelled_message == f"Cancelled at step 7 of 20; {kept}"
    assert status.killed_message == f"Cancelled at step 7 of 20, and its process was killed; {kept}"
    before = RunStatus(total_steps=20).cancelled_message
    assert before == "Cancelled before its first step; there is no checkpoint, so resume begins again."


def test_a_terminal_reads_what_it_waits_for(store):
    run = store.create(RunConfig(method="sft", steps=20, device="cpu"))
    assert waiting_for(run) == "", "nothing runs"
    mine = {"pid": os.getpid(), "pid_start": process_start(os.getpid()), "started": 100.0}
    write_status(run.dir, replace(run.status(), state="running", step=2, message="Step 2 of 20.", **mine))
    assert waiting_for(run) == (
        "waiting for: Step 2 of 20. Ctrl-C ends the process at once: there is no checkpoint, so resume begins again."
    )
    rows = RecordWriter(run.dir / "metrics.jsonl")
    rows.write(step(1, 109.8) | {"loss": 1.0})
    rows.write(step(1, 110.0) | {"loss": 1.0})
    quick = "waiting for: the step after step 2, and its checkpoint."
    assert waiting_for(run).startswith(quick), "so short a time is rounded to 5 s"
    rows.write(step(2, 145.0) | {"loss": 1.0})
    rows.close()
    assert waiting_for(run).startswith("waiting for: the step after step 2 (one takes 35 s), and its checkpoint.")
    write_status(run.dir, replace(run.status(), message="Measuring bits per byte at step 2."))
    assert waiting_for(run).startswith("waiting for: Measuring bits per byte at step 2. ")
    write_status(run.dir, replace(run.status(), step=20, message="Step 20 of 20."))
    assert waiting_for(run).startswith("waiting for: Step 20 of 20. "), "no step follows"
