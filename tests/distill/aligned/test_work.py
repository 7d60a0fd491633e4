"""Aligning in other processes gives what aligning here gives, and faults keep their place."""

from __future__ import annotations

import sys
from dataclasses import replace
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
    assert said == ["Aligning 12 samples.", "Aligning 5 of 12 samples.", "Aligning 10 of 12 samples."]
    here = work.align_examples(job(), EXAMPLES, said.append)
    for mine, theirs in zip(here, there, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            assert a.groups.tolist() == b.groups.tolist()
            assert a.student_ids.tolist() == b.student_ids.tolist()
            assert a.tokenizers == b.tokenizers


def test_models_stay_where_they_are():
    here = job()
    taught = replace(here, teachers=tuple(replace(t, model=object(), options={"x": 1}) for t in here.teachers))
    assert [(t.model, t.options) for t in taught.movable.teachers] == [(None, {})] * 2


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
    ("file", "module", "spreads"),
    [
        ("/home/me/script.py", None, False),  # python script.py: each new process would run it, and train again
        ("/home/me/script.py", "script", False),  # python -m script
        (None, None, True),  # a notebook, python -c
        ("/lib/ctkd_core/distill/worker.py", "ctkd_core.distill.worker", True),
        ("/lib/ctkd_core/__main__.py", "ctkd_core.__main__", True),
    ],
)
def test_no_process_begins_that_would_run_a_script_again(monkeypatch, file, module, spreads):
    main = ModuleType("__main__")
    if file:
        main.__file__ = file
    main.__spec__ = ModuleSpec(module, None) if module else None
    begun = []

    def in_processes(job, pieces, count):
        begun.append(count)
        return (work._align(job, piece) for piece in pieces)

    monkeypatch.setattr(work, "PAYS_FROM", 1)
    monkeypatch.setattr(work, "BETWEEN", 5)
    monkeypatch.setattr(work, "_in_processes", in_processes)
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert len(work.align_examples(job(), EXAMPLES, lambda sentence: None, processes=2)) == 12
    assert begun == ([2] if spreads else [])
