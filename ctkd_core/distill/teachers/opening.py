"""Opening what stands for the teachers that a run doesn't load: their caches, their servers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ctkd_core.distill.teachers.kept import open_cache
from ctkd_core.distill.teachers.served import open_server

if TYPE_CHECKING:
    from ctkd_core.distill.config import RunConfig
    from ctkd_core.distill.models.teachers import LiveTeacher
    from ctkd_core.distill.on_policy import TrainingExample


def opened(
    config: RunConfig, teachers: Sequence[LiveTeacher], examples: Sequence[TrainingExample]
) -> list[LiveTeacher]:
    """The same teachers, those that are elsewhere with `kept`; a cache must have all `examples`. Raises RunError."""
    found = []
    for number, teacher in enumerate(teachers):
        if teacher.access.cache:
            samples = [example.samples[number] for example in examples]
            found.append(replace(teacher, kept=open_cache(config, teacher, samples)))
        elif teacher.access.server:
            found.append(replace(teacher, kept=open_server(teacher)))
        else:
            found.append(teacher)
    return found
