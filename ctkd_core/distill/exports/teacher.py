"""The teacher of an exported config: where another trainer finds it."""

from __future__ import annotations

from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.models.prepared import prepared_folder
from ctkd_core.distill.models.teachers import teacher_source


def teacher_of(config: RunConfig) -> tuple[str, list[str]]:
    """Folder or hub id of the teacher, and what is to be said of it."""
    teacher = teacher_source(config)
    if teacher != "bundled":
        return teacher, []
    return str(prepared_folder()), ["The teacher is the folder that `ctkd prepare` made on this machine."]
