"""Where the trained student of a run is, or why there is none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ctkd_core.background.status import write_status
from ctkd_core.distill.config import PRESETS, RunConfig
from ctkd_core.distill.evaluation.saved import student_folder
from ctkd_core.distill.kept_student import STUDENT, about_student, kept_student
from ctkd_core.errors import RunError


def ended(store, state="finished", **changes):
    run = store.create(RunConfig(**changes))
    write_status(run.dir, replace(run.status(), state=state))
    return run


def test_the_folder_of_a_kept_student(store):
    run = ended(store)
    assert kept_student(run.dir) is None and run.summary()["student_dir"] is None
    (run.dir / STUDENT).mkdir()
    (run.dir / STUDENT / "config.json").write_text("{}")
    assert about_student(run) == run.summary()["student_dir"] == str(run.dir / STUDENT)


@pytest.mark.parametrize(
    ("state", "changes", "said"),
    [
        ("finished", {"save_student": False}, r"save_student is false\); keep one with --save-student true"),
        ("running", {"save_student": False}, "--save-student true"),
        ("finished", {}, "isn't there any more"),
        ("failed", {}, "the run is failed"),
    ],
)
def test_why_there_is_none(store, state, changes, said):
    import re

    assert re.search(said, about_student(ended(store, state, **changes)))


@pytest.mark.parametrize(
    ("state", "changes", "said"),
    [
        ("finished", {"save_student": False}, r"\(save_student is false\); keep one with --save-student true"),
        ("finished", {}, r"isn't there any more\); run it again"),
        ("failed", {}, r"\(the run is failed\); it is kept after the last step"),
    ],
)
def test_an_evaluation_gives_the_same_reason(store, state, changes, said):
    with pytest.raises(RunError, match=f"no student to evaluate .*{said}"):
        student_folder(ended(store, state, **changes))


def test_nothing_is_said_while_it_may_come_or_nothing_is_known(store):
    assert about_student(store.create(RunConfig())) == ""
    run = ended(store)
    (run.dir / "config.json").unlink()
    assert about_student(run) == ""


def test_the_quick_preset_keeps_none():
    assert not PRESETS["quick"].save_student
