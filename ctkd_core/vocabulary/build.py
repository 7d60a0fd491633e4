"""Building a vocabulary map as a job (`ctkd_core.background.lifecycle`), so that a page shows progress and can cancel.

One build a map: whoever asks for a map that is being built gets the same build. Its folder is under the cache; the map
itself goes into `store`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic.dataclasses import dataclass as record

from ctkd_core import files
from ctkd_core.background.lifecycle import Job
from ctkd_core.background.status import RECORD, JobStatus
from ctkd_core.errors import ProjectionError

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer
    from ctkd_core.vocabulary.projection import Projection

WORKER = "ctkd_core.vocabulary.build_worker"
SMALL = 20_000  # vocabularies up to this many ids are mapped in well under a second by any method


@record(frozen=True, config=RECORD)
class Order:
    """What the process that builds a map is told: both sources, the map, and all its options."""

    student: str
    teacher: str
    method: str
    options: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Build:
    """A map that is being built or was built; any number of handles may look at one build."""

    job: Job
    student: Tokenizer = field(repr=False)
    teacher: Tokenizer = field(repr=False)
    method: str
    options: dict[str, Any]

    def status(self) -> JobStatus:
        """Where it stands now."""
        return self.job.status()

    def result(self) -> Projection:
        """The finished map. Raises ProjectionError when there's none, with the reason."""
        from ctkd_core.vocabulary.store import cached, load

        path = cached(self.student, self.teacher, self.method, **self.options)
        if path is not None:
            return load(path, self.student, self.teacher)
        now = self.status()
        if now.state == "finished":
            raise ProjectionError(
                "the map was built, but not for these tokenizers or it was deleted since; build it again."
            )
        raise ProjectionError(now.message if now.ended_already else f"the map is still being built ({now.share:.0%}).")


def is_quick(student: Tokenizer, teacher: Tokenizer, method: str) -> bool:
    """Whether a map takes so little time that it needn't a process of its own."""
    from ctkd_core.vocabulary import MAPS

    return MAPS[method].quick or max(student.n_ids, teacher.n_ids) <= SMALL


def start(student_source: str, teacher_source: str, method: str, options: Mapping[str, Any] | None = None) -> Build:
    """Build a map in the background, or join the build of the same map that is under way.

    Raises TokenizerError or ProjectionError for sources, methods or options that aren't known, and CtkdError when
    another process is starting the same build and doesn't come to an end with that.
    """
    from ctkd_core.tokenizers.load import load_tokenizer

    build = handle(load_tokenizer(student_source), load_tokenizer(teacher_source), method, options)
    build.job.start(WORKER, Order(student_source, teacher_source, method, build.options))
    return build


def find(student: Tokenizer, teacher: Tokenizer, method: str, options: Mapping[str, Any] | None = None) -> Build | None:
    """The build of a map that somebody started, ended or not; None if nobody did."""
    build = handle(student, teacher, method, options)
    return build if build.job.exists else None


def handle(student: Tokenizer, teacher: Tokenizer, method: str, options: Mapping[str, Any] | None = None) -> Build:
    """A handle for the build of this map, started or not. Raises ProjectionError for an unknown method or option."""
    from ctkd_core.vocabulary import map_options
    from ctkd_core.vocabulary.store import place

    resolved = map_options(method, options or {})
    # Named as the map, so that a finished build of another map is never taken for this one's.
    name = place(student, teacher, method, resolved).name
    return Build(Job(files.cache_dir() / "builds" / name), student, teacher, method, resolved)
