"""The queue: its order, how it is changed, that one waiting process is enough, and that nothing of it is lost."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from ctkd_core.background.processes import process_start
from ctkd_core.background.status import write_status
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.runs import Run, RunStore
from ctkd_core.distill.sweeps import membership, queue
from ctkd_core.errors import RunError


@pytest.fixture
def started(monkeypatch) -> list[str]:
    """Ids of the runs whose process would have been started, which is noted as a launch of this very process."""
    from ctkd_core.background.status import LAUNCH, Launch, write_record

    found: list[str] = []

    def launch(self, run: Run, environment=None) -> Run:
        if queue.has_process(run):
            raise RunError("it was started before")
        me = Launch(pid=os.getpid(), pid_start=process_start(os.getpid()), attempt=run.status().attempt)
        write_record(run.dir / LAUNCH, me)
        found.append(run.id)
        return run

    monkeypatch.setattr(RunStore, "launch", launch)
    return found


def made(store: RunStore, count: int, **changes) -> list[Run]:
    return [queue.enqueue(store.create(RunConfig(device="cpu", seed=k, **changes)), float(k)) for k in range(count)]


def ids(runs) -> list[str]:
    return [run.id for run in runs]


def test_runs_wait_in_the_order_in_which_they_were_queued(store):
    runs = made(store, 3)
    assert ids(queue.waiting(store.root)) == ids(runs)
    assert not any(map(queue.has_process, runs))
    assert runs[0].status().message == queue.WAITING


def test_a_run_that_was_only_made_does_not_wait(store):
    store.create(RunConfig(device="cpu"))
    assert queue.waiting(store.root) == []


def test_only_the_next_run_gets_a_process(store, started):
    runs = made(store, 3)
    assert ids(queue.start_waiting(store.root)) == started == [runs[0].id]
    assert queue.start_waiting(store.root) == []  # it waits already


def test_who_has_the_device_starts_the_next_one(store, started):
    runs = made(store, 3)
    queue.start_waiting(store.root)
    assert not queue.others_first(runs[0])
    assert ids(queue.start_waiting(store.root, besides=runs[0])) == [runs[1].id]


def test_devices_have_queues_of_their_own(store, started):
    cpu, gpu = made(store, 1)[0], queue.enqueue(store.create(RunConfig(device="cuda:1")), 0.5)
    assert queue.waiting(store.root, {"cuda:1"}) == [gpu]
    assert set(ids(queue.start_waiting(store.root))) == {cpu.id, gpu.id}
    assert not queue.others_first(gpu)


def test_a_run_that_was_moved_to_the_front_goes_first_though_another_waits_already(store, started):
    runs = made(store, 3)
    queue.start_waiting(store.root)
    order = queue.move(store.root, [runs[2].id], "first")
    assert order == ids(queue.waiting(store.root)) == [runs[2].id, runs[0].id, runs[1].id]
    assert queue.others_first(runs[0])  # the process that waits starts the one that comes first
    assert started == [runs[0].id, runs[2].id]
    assert not queue.others_first(runs[2])


@pytest.mark.parametrize(
    ("moved", "to", "order"), [((0,), "last", [1, 2, 0]), ((2, 1), 0, [1, 2, 0]), ((0,), 2, [1, 0, 2])]
)
def test_runs_are_moved_and_keep_their_own_order(store, moved, to, order):
    runs = made(store, 3)
    target = to if isinstance(to, str) else runs[to].id
    assert queue.move(store.root, [runs[k].id for k in moved], target) == [runs[k].id for k in order]


def test_places_that_are_equal_can_be_told_apart_after_a_move(store):
    runs = [queue.enqueue(store.create(RunConfig(device="cpu", seed=k)), 7.0) for k in range(3)]
    wanted = sorted(ids(runs), reverse=True)
    for name in wanted:
        queue.move(store.root, [name], "last")
    assert ids(queue.waiting(store.root)) == wanted


def test_only_what_waits_has_an_order(store):
    runs = made(store, 2)
    write_status(runs[0].dir, replace(runs[0].status(), state="finished"))
    with pytest.raises(RunError, match="is finished; only runs that wait"):
        queue.move(store.root, [runs[0].id], "first")
    with pytest.raises(RunError, match="before itself"):
        queue.move(store.root, [runs[1].id], runs[1].id)


def test_a_lost_run_is_queued_again_as_a_new_attempt(store):
    run = made(store, 1)[0]
    write_status(run.dir, replace(run.status(), state="running", pid=2**30, pid_start="boot x 1", step=4))
    assert run.status().state == "lost"
    queue.enqueue(run)
    status = run.status()
    assert (status.state, status.attempt, status.pid, status.step) == ("queued", 2, None, 0)
    assert queue.waiting(store.root) == [run]


def test_what_is_finished_or_under_way_is_not_queued(store, started):
    run = made(store, 1)[0]
    queue.start_waiting(store.root)
    with pytest.raises(RunError, match="is queued already"):
        queue.enqueue(run)
    write_status(run.dir, replace(run.status(), state="finished"))
    with pytest.raises(RunError, match="is finished"):
        queue.enqueue(run)


def test_the_place_of_a_run_is_told(store):
    runs = made(store, 8)
    gpu = queue.enqueue(store.create(RunConfig(device="cuda:1")), 0.5)
    found = queue.in_line(runs[2])
    assert (found.waiting, found.under_way) == ((runs[0], runs[1]), ())
    idle = "; nothing is under way that would start it: `ctkd runs resume` does."
    assert str(found) == f"Place 3 in the queue for cpu, behind runs {runs[0].id}, {runs[1].id}{idle}"
    assert str(queue.in_line(gpu)) == f"Next in the queue for cuda:1{idle}"
    pid = os.getpid()
    write_status(
        runs[0].dir, replace(runs[0].status(), state="running", pid=pid, pid_start=process_start(pid), started=1.0)
    )
    assert str(queue.in_line(gpu)) == "Next in the queue for cuda:1."
    assert queue.in_line(runs[0]) is None and queue.in_line(store.create(RunConfig(device="cpu"))) is None
    assert str(queue.in_line(runs[1])) == f"Next in the queue for cpu; under way there: run {runs[0].id}."
    assert str(queue.in_line(runs[7])).endswith(f"{runs[4].id} and 2 more; under way there: run {runs[0].id}.")


def test_a_queue_that_nobody_serves_is_started_by_going_on(store, started):
    """After a power cut runs wait, and no process is there to start the next one."""
    runs = made(store, 3)
    queue.go_on(runs[2])
    assert started == [runs[0].id], "the order stays"
    queue.go_on(runs[2])
    assert started == [runs[0].id] and runs[2].status().state == "queued"
    with pytest.raises(RunError, match="is queued; cancel it before resuming it"):
        queue.go_on(runs[0])


def test_a_cancelled_run_leaves_the_queue(store):
    runs = made(store, 2)
    assert runs[0].cancel().state == "cancelled"
    assert queue.waiting(store.root) == [runs[1]]


def test_a_run_that_cannot_be_started_is_passed_over(store, monkeypatch):
    runs = made(store, 2)
    tried = []

    def launch(self, run: Run, environment=None) -> Run:
        tried.append(run.id)
        if run.id == runs[0].id:
            raise RunError("no space")
        return run

    monkeypatch.setattr(RunStore, "launch", launch)
    assert ids(queue.start_waiting(store.root)) == [runs[1].id]
    assert tried == ids(runs)


def test_a_damaged_place_is_the_time_of_creation(store):
    runs = made(store, 2)
    (runs[0].dir / membership.PLACE).write_text("{")
    assert queue.waiting(store.root) == [runs[1]]  # nobody queued it any more, as far as can be told
    assert membership.place_of(runs[0].dir) is None


def test_a_damaged_run_stops_no_other(store, started):
    runs = made(store, 3)
    (runs[0].dir / "config.json").chmod(0o644)
    (runs[0].dir / "config.json").write_text("{")
    assert queue.waiting(store.root) == runs[1:]
    assert ids(queue.start_waiting(store.root)) == started == [runs[1].id]
