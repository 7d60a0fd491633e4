"""Archived runs are out of sight, not lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ctkd_core.background.status import write_status
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.runs import RunStore
from ctkd_core.errors import RunError


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
