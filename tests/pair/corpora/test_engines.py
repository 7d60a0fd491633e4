"""Processes that count: one that is killed ends the counting with a sentence, whenever it happens."""

from __future__ import annotations

import multiprocessing

import pytest

from ctkd_core.errors import CtkdError
from ctkd_core.pair.corpora import engines
from tests.pair.corpora.cut_off import CutOff


def test_a_process_that_is_killed_while_it_sends_its_counts_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "WORKER_SECONDS", 0.5)
    before = set(multiprocessing.active_children())
    counted = engines.processes(2)(CutOff(), iter([(0, []), (1, [])]))  # type: ignore[arg-type]
    with pytest.raises(CtkdError, match="a worker process ended before it was done"):
        list(counted)
    assert set(multiprocessing.active_children()) <= before
