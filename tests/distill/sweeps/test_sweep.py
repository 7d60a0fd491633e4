"""Sweeps: made, listed, gone on with, cancelled; and one that trains, with the process that starts the next one."""

from __future__ import annotations

import itertools
import json
import os
import signal
from dataclasses import replace

import pytest

from ctkd_core.background.status import write_status
from ctkd_core.distill import runs
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.data import fingerprint
from ctkd_core.distill.run_inputs import noted
from ctkd_core.distill.runs import Run, RunStore
from ctkd_core.distill.sweeps import queue
from ctkd_core.distill.sweeps import sweep as sweeps
from ctkd_core.distill.sweeps.definition import SweepDefinition, plan
from ctkd_core.errors import RunError
from ctkd_core.files import home
from tests.distill.comparison.make import in_processes
from tests.patience import wait_for

DEFINITION = SweepDefinition(name="two", methods=["sft", "uld"], seeds=[0, 1], base={"device": "cpu", "steps": 5})


@pytest.fixture
def still(monkeypatch) -> None:
    """No process is started."""
    monkeypatch.setattr(queue, "start_waiting", lambda root, besides=None: [])


def ended(run, state: str) -> None:
    write_status(run.dir, replace(run.status(), state=state))


def test_a_sweep_makes_queues_and_tags_its_runs(store, still):
    sweep = sweeps.start(store, DEFINITION)
    made = sweep.runs()
    assert [run.config.name for run in queue.waiting(store.root)] == [
        *("sft, seed 0", "uld, seed 0", "sft, seed 1", "uld, seed 1")
    ]
    assert {run.summary()["sweep"] for run in made} == {sweep.id}
    assert store.create(made[0].config).summary()["sweep"] is None
    assert [s.id for s in sweeps.sweeps(store)] == [sweep.id]
    assert sweeps.get(store, "latest").definition == DEFINITION
    summary = sweep.summary()
    assert (summary["total"], summary["finished"], summary["states"]) == (4, 0, {"queued": 4})


def test_the_folder_of_sweeps_is_no_run(store, still):
    sweeps.start(store, DEFINITION)
    assert len(store.list()) == 4


def test_going_on_queues_what_was_lost_and_makes_what_is_missing(store, still):
    sweep = sweeps.start(store, DEFINITION)
    lost, cancelled, gone, failed = sweep.runs()
    names = {run.config.name for run in (lost, cancelled, gone)}
    write_status(lost.dir, replace(lost.status(), state="running", pid=2**30, pid_start="boot x 1"))
    cancelled.cancel()
    store.remove(gone.id)
    ended(failed, "failed")
    assert lost.status().state == "lost"
    again = sweep.resume()
    assert {run.config.name for run in again} == names
    assert sweep.summary()["states"] == {"queued": 3, "failed": 1}
    assert sweep.resume(failed=True)[0].id == failed.id


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), RunError("can't write a run folder: No space left on device")])
def test_going_on_that_is_interrupted_leaves_nothing_in_the_queue(store, still, monkeypatch, fault):
    sweep = sweeps.start(store, DEFINITION)
    waits, gone, *stopped = sweep.runs()
    for run in stopped:
        run.cancel()
    store.remove(gone.id)

    def interrupted(self: RunStore, config: RunConfig, folder: str = "") -> Run:
        assert len(queue.waiting(store.root)) == 3
        raise fault

    with monkeypatch.context() as patched:
        patched.setattr(RunStore, "create", interrupted)
        with pytest.raises(type(fault)):
            sweep.resume()
    assert [run.id for run in queue.waiting(store.root)] == [waits.id], "it waited before"
    assert len(sweep.resume()) == 3


def test_finished_runs_with_the_same_config_are_taken_over_when_asked(store, still):
    first = sweeps.start(store, DEFINITION)
    done = first.runs()[0]
    ended(done, "finished")
    assert len(sweeps.start(store, DEFINITION).summary()["reused"]) == 0
    second = sweeps.start(store, replace(DEFINITION, name="more", reuse=True))
    assert second.summary()["reused"] == [done.id]
    assert len(second.runs()) == 4
    assert second.missing() == []
    second.cancel()
    assert done.status().state == "finished"
    in_processes(done, 2)  # its steps had twice the samples
    assert sweeps.start(store, replace(DEFINITION, reuse=True)).summary()["reused"] == []


def test_a_run_whose_data_changed_is_not_taken_over_and_is_named(store, still, tmp_path, monkeypatch):
    data, held_out = tmp_path / "data.jsonl", tmp_path / "held-out.jsonl"
    for file in (data, held_out):
        file.write_text('{"text": "before"}\n')
    base = DEFINITION.base | {"data": str(data), "eval_data": str(held_out)}
    definition = replace(DEFINITION, methods=("sft",), seeds=(0, 1), base=base, reuse=True)
    configs = plan(definition)

    def trained(config: RunConfig) -> Run:
        run = store.create(config)
        told = {name: {"source": str(file), "fingerprint": fingerprint(str(file))} for name, file in files}
        (run.dir / "env.json").write_text(json.dumps(told))
        ended(run, "finished")
        return run

    def looked() -> tuple[list[Run], list[Run]]:
        changed: dict[str, list[Run]] = {}
        return list(sweeps.finished(store, configs, changed).values()), changed.get("data", [])

    files = (("data", data), ("eval_data", held_out))
    first, second = map(trained, configs)
    assert looked() == ([second, first], [])
    for _, file in files:
        before = file.read_text()
        file.write_text('{"text": "edited"}\n')
        assert looked() == ([], [second, first])
        assert sweeps.start(store, definition).reused == ()
        file.write_text(before)
    assert len(sweeps.start(store, definition).reused) == 2, "it holds again what they learnt from"
    data.write_text('{"text": "edited"}\n')
    again = trained(configs[0])
    assert looked() == ([again], [second])
    assert "data of runs" in sweeps.about_changed({"data": [first, second]})
    said = f"The data of run {second.id} has changed since, so it isn't taken over."
    assert sweeps.about_changed({"data": [second]}) == said
    for _, file in files:
        file.unlink()
    assert looked() == ([again, second], []), "nothing can be compared"


def test_a_run_whose_model_changed_is_not_taken_over(store, still, tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"before")
    base = DEFINITION.base | {"student_model": "pretrained", "student_path": str(tmp_path)}
    configs = plan(replace(DEFINITION, methods=("sft",), seeds=(0,), base=base))
    run = store.create(configs[0])
    (run.dir / "env.json").write_text(json.dumps(noted(run.config)))
    ended(run, "finished")
    assert list(sweeps.finished(store, configs).values()) == [run]
    weights.write_bytes(b"edited")
    changed: dict[str, list[Run]] = {}
    assert sweeps.finished(store, configs, changed) == {}
    said = f"The student's weights of run {run.id} have changed since, so it isn't taken over."
    assert sweeps.about_changed(changed) == said
    weights.unlink()
    assert list(sweeps.finished(store, configs).values()) == [run], "nothing can be compared"


def test_data_of_the_hub_is_not_fetched_to_look_whether_it_changed(store, still, monkeypatch):
    config = RunConfig(data="hf:owner/name")
    run = store.create(config)
    (run.dir / "env.json").write_text(json.dumps({"data": {"source": config.data, "fingerprint": "0" * 64}}))
    ended(run, "finished")
    monkeypatch.setattr("ctkd_core.distill.sources.hub.fetched", lambda *_: pytest.fail("it was fetched"))
    monkeypatch.setattr("ctkd_core.distill.data.fetched", lambda *_: pytest.fail("it was fetched"))
    assert len(sweeps.finished(store, [config])) == 1


def test_a_sweep_is_cancelled_as_a_whole(store, still):
    sweep = sweeps.start(store, DEFINITION)
    assert len(sweep.cancel()) == 4
    assert sweep.summary()["states"] == {"cancelled": 4}
    assert queue.waiting(store.root) == []
    with pytest.raises(RunError, match="no run of sweep"):
        sweep.move("first")


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), RunError("can't write a run folder: No space left on device")])
def test_a_sweep_that_breaks_off_while_it_is_made_leaves_no_run_that_waits(store, monkeypatch, fault):
    made = []

    def interrupted(self: RunStore, config: RunConfig, folder: str = "") -> Run:
        if len(made) == 2:
            raise fault
        made.append(config)
        return create(self, config, folder)

    create = RunStore.create
    monkeypatch.setattr(RunStore, "create", interrupted)
    with pytest.raises(type(fault)):
        sweeps.start(store, DEFINITION)
    (sweep,) = sweeps.sweeps(store)
    assert queue.waiting(store.root) == [] and sweep.summary()["states"] == {"cancelled": 2}
    assert len(sweep.missing()) == 2, "it can be resumed"


def test_a_sweep_is_put_before_another(store, still):
    first, second = sweeps.start(store, DEFINITION), sweeps.start(store, DEFINITION)
    second.move("first")
    order = [run.summary()["sweep"] for run in queue.waiting(store.root)]
    assert order == [second.id] * 4 + [first.id] * 4


def test_names_of_sweeps(store, still):
    with pytest.raises(RunError, match="no sweeps yet"):
        sweeps.get(store, "latest")
    found = sweeps.start(store, DEFINITION)
    assert sweeps.get(store, found.id[-5:]).id == found.id
    with pytest.raises(RunError, match="unknown sweep"):
        sweeps.get(store, "nothing")


def test_a_damaged_file_hides_no_other_sweep(store, still):
    good = sweeps.start(store, DEFINITION)
    (store.root / "sweeps" / "broken.json").write_text("{")
    (store.root / "sweeps" / "other.json").write_text(json.dumps({"definition": {"methods": 7}}))
    assert [s.id for s in sweeps.sweeps(store)] == [good.id] == [sweeps.get(store, "latest").id]
    assert [said.partition(":")[0] for said in sweeps.damaged(store)] == ["sweep 'other'", "sweep 'broken'"]


def test_a_damaged_file_of_a_sweep_is_told_to_who_names_it(store, still):
    sweep = sweeps.start(store, DEFINITION)
    sweep.path.write_text("{")
    for name in (sweep.id, sweep.id[-5:], "latest"):
        with pytest.raises(RunError, match=rf"sweep {sweep.id!r}: .* can't be read .* Its runs are among"):
            sweeps.get(store, name)


def test_runs_of_a_sweep_follow_each_other_by_themselves(store: RunStore, monkeypatch):
    monkeypatch.setattr(runs, "WORKER", "tests.distill.sweeps.short_worker")
    sweep = sweeps.start(store, replace(DEFINITION, methods=("sft",), seeds=(0, 1, 2)))
    # Only the first one's process was started here.
    wait_for(lambda: all(run.status().ended_already for run in sweep.runs()), what="the end of the sweep")
    assert sweep.summary()["states"] == {"finished": 3}, [run.log_tail() for run in sweep.runs()]
    spans = [(run.status().started, run.status().ended) for run in sweep.runs()]
    assert spans == sorted(spans)
    assert all(ended <= begun for (_, ended), (begun, _) in itertools.pairwise(spans))


def test_a_killed_run_does_not_stop_those_behind_it(store: RunStore, monkeypatch):
    monkeypatch.setattr(runs, "WORKER", "tests.distill.sweeps.short_worker")
    from filelock import FileLock

    (home() / "slots").mkdir(parents=True)
    with FileLock(home() / "slots" / "cpu.lock"):  # the device is busy, so the first run's process waits
        sweep = sweeps.start(store, replace(DEFINITION, methods=("sft",), seeds=(0, 1)))
        first = sweep.runs()[0]
        waiting = wait_for(lambda: first.status().pid and first.status(), what="the waiting process")
        os.kill(waiting.pid, signal.SIGKILL)
        wait_for(lambda: first.status().state == "lost", what="the loss")
    assert [run.id for run in sweep.resume()] == [first.id]
    wait_for(lambda: all(run.status().ended_already for run in sweep.runs()), what="the end of the sweep")
    assert sweep.summary()["states"] == {"finished": 2}
    assert first.status().attempt == 2


def test_a_run_that_is_put_first_gets_a_device_of_which_another_has_one_lock(store: RunStore, monkeypatch):
    """A device has a lock for the folder and one for the home: who had the first waited for those put before it."""
    monkeypatch.setattr(runs, "WORKER", "tests.distill.sweeps.short_worker")
    from filelock import FileLock, Timeout

    def taken(lock: FileLock) -> bool:
        try:
            with lock.acquire(timeout=0):
                return False
        except Timeout:
            return True

    (home() / "slots").mkdir(parents=True)
    with FileLock(home() / "slots" / "cpu.lock"):  # a run of another folder trains
        sweep = sweeps.start(store, replace(DEFINITION, methods=("sft",), seeds=(0, 1)))
        first, second = sweep.runs()
        place = wait_for(lambda: next((store.root / ".slots").glob("*cpu.lock"), None), what="the folder's lock")
        wait_for(lambda: taken(FileLock(place)), what="the first run to take it")
        queue.move(store.root, [second.id], "first")
        wait_for(lambda: queue.has_process(second), what="the second run's process")
    wait_for(lambda: all(run.status().ended_already for run in sweep.runs()), what="the end of the sweep")
    assert second.status().ended <= first.status().started
