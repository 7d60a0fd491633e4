"""The models of an exported config: where another trainer finds them."""

from __future__ import annotations

import os

from ctkd_core import files
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.models.prepared import prepared_folder
from ctkd_core.distill.models.teachers import student_source, teacher_source
from ctkd_core.errors import RunError, short
from ctkd_core.tokenizers.assets import entry_in


def place_of(source: str, role: str) -> tuple[str, list[str]]:
    """A folder's whole path, the same wherever the target starts, or a hub id; and what is to be said of it."""
    folder = files.expanded(source, RunError)
    if not os.path.isdir(folder):  # noqa: PTH112 - a name that is too long is none
        return source, []
    whole = str(folder.absolute())
    return whole, [f"The {role} is the folder {short(whole)} of this machine; elsewhere, name the place where it lies."]


def teacher_of(config: RunConfig) -> tuple[str, list[str]]:
    """Folder or hub id of the teacher, and what is to be said of it."""
    teacher = teacher_source(config)
    if teacher == "bundled":
        return str(prepared_folder()), ["The teacher is the folder that `ctkd prepare` made on this machine."]
    if (row := entry_in(teacher)) is not None:
        return teacher, [f"The teacher is the folder that `{row.install}` made on this machine; {row.licence}."]
    return place_of(teacher, "teacher")


def writes_student(config: RunConfig) -> bool:
    """Whether the student before its first step goes along: the run makes one, or it has a name that only we know."""
    return config.student_model != "pretrained" or student_source(config) != config.student_path
