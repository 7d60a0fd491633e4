"""Aligning in other processes gives what aligning here gives, and faults keep their place."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest

from ctkd_core.distill.aligned import work
from ctkd_core.distill.data import Example
from ctkd_core.distill.models import teachers
from ctkd_core.errors import RunError
from tests.distill.aligned.test_cache import EXAMPLES, job


def test_processes_change_nothing_but_the_time(monkeypatch):
    monkeypatch.setattr(work, "PAYS_FROM", 1)
    monkeypatch.setattr(work, "BETWEEN", 5)
    said: list[str] = []
    there = work.align_examples(job(), EXAMPLES, said.append, processes=2)
    assert said == [f"Aligning {n} of 12 samples." for n in (0, 5, 10)]
    here = work.align_examples(job(), EXAMPLES, said.append)
    for mine, theirs in zip(here, there, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            assert a.groups.tolist() == b.groups.tolist()
            assert a.student_ids.tolist() == b.student_ids.tolist()
            assert a.tokenizers == b.tokenizers


def test_few_samples_start_no_process(monkeypatch):
    monkeypatch.setattr(work, "ProcessPoolExecutor", pytest.fail)
    assert len(work.align_examples(job(), EXAMPLES, lambda sentence: None, processes=8)) == 12


def test_a_fault_names_the_example(monkeypatch):
    def broken(*arguments, **more):
        raise RunError("a strange text.")

    monkeypatch.setattr(teachers, "align_all", broken)
    with pytest.raises(RunError, match=r"^record 7: a strange text\.$"):
        work.align_examples(job(), [Example("a", "b", where="record 7")], lambda sentence: None)


@pytest.mark.parametrize(
    ("spec", "file", "count"),
    [
        ("ctkd_core.distill.worker", "worker.py", 4),  # a run's own process
        (None, "/bin/ctkd", 4),
        (None, None, 4),  # typed in
        (None, "/home/me/train.py", 1),
        ("experiments.train", "train.py", 1),
    ],
)
def test_a_users_script_is_not_run_again(monkeypatch, spec, file, count):
    main = ModuleType("__main__")
    if spec:
        main.__spec__ = ModuleSpec(spec, None)
    if file:
        main.__file__ = file
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert work.processes_for(4) == count
