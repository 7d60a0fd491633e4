"""Archived runs are out of sight, not lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ctkd_core.background.lifecycle import Work
from ctkd_core.background.status import write_status
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.runs import Run, RunStore
from ctkd_core.distill.sweeps import queue
from ctkd_core.errors import CtkdError, RunError


def ended(store: RunStore, state: str = "finished"):
    run = store.create(RunConfig(method="sft"))
    write_status(run.dir, replace(run.status(), state=state))
    return run


def test_an_archived_run_leaves_the_list_and_comes_back(tmp_path):
    store = RunStore(tmp_path)
    kept, away = ended(store), ended(store)
    store.archive(away.id)
    assert [run.id for run in store.list()] == [kept.id]
    assert {run.id for run in store.list(archived=True)} == {kept.id, away.id}
    assert store.get(away.id).summary()["archived"] is True
    assert store.archive(away.id, archived=False).summary()["archived"] is False
    assert len(store.list()) == 2


def test_a_waiting_run_is_not_archived(tmp_path):
    store = RunStore(tmp_path)
    run = store.create(RunConfig(method="sft"))
    with pytest.raises(RunError, match="cancel it before archiving"):
        store.archive(run.id)
    assert not run.archived


def test_a_run_that_somebody_resumes_just_now_is_not_archived(tmp_path, monkeypatch):
    monkeypatch.setattr("ctkd_core.background.lifecycle.LOCK_SECONDS", 0.1)
    store = RunStore(tmp_path)
    run = ended(store, "cancelled")
    with run.work.lock(), pytest.raises(CtkdError, match="has held the lock"):
        store.archive(run.id)
    assert not run.archived


def test_an_archived_run_that_goes_on_is_in_the_list_and_the_queue(tmp_path, monkeypatch):
    store = RunStore(tmp_path)
    monkeypatch.setattr(Work, "launch", lambda self, worker, status, environment: write_status(self.folder, status))
    for again in (Run.resume, queue.enqueue):
        run = ended(store, "cancelled")
        store.archive(run.id)
        again(run)
        assert not run.archived and run.id in {found.id for found in store.list()}
    assert [found.id for found in queue.waiting(store.root)] == [run.id]
    finished = ended(store)
    store.archive(finished.id)
    with pytest.raises(RunError, match="is finished"):
        finished.resume()
    assert finished.archived
