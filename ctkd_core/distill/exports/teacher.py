"""The models of an exported config: where another trainer finds them."""

from __future__ import annotations

from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.models.prepared import prepared_folder
from ctkd_core.distill.models.teachers import student_source, teacher_source
from ctkd_core.tokenizers.assets import entry_in


def teacher_of(config: RunConfig) -> tuple[str, list[str]]:
    """Folder or hub id of the teacher, and what is to be said of it."""
    teacher = teacher_source(config)
    if teacher == "bundled":
        return str(prepared_folder()), ["The teacher is the folder that `ctkd prepare` made on this machine."]
    if (row := entry_in(teacher)) is not None:
        return teacher, [f"The teacher is the folder that `{row.install}` made on this machine; {row.licence}."]
    return teacher, []


def writes_student(config: RunConfig) -> bool:
    """Whether the student before its first step goes along: the run makes one, or it has a name that only we know."""
    return config.student_model != "pretrained" or student_source(config) != config.student_path
