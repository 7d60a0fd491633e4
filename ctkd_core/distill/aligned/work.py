"""Aligning the examples of a run: in this process, or spread over others where there are many."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from ctkd_core.distill.data import Example
from ctkd_core.errors import CtkdError, RunError
from ctkd_core.losses.batch import AlignedSample

if TYPE_CHECKING:
    from ctkd_core.distill.models.teachers import LiveTeacher
    from ctkd_core.tokenizers.tokenizer import Tokenizer

BETWEEN = 256  # samples between two reports, and in one piece of work of another process
# A process needs seconds and its own copy of both tokenizers before it begins; one aligns 300 samples a second.
PAYS_FROM = 10_000  # samples
MOST_PROCESSES = 8


Samples = tuple[AlignedSample, ...] | None  # of one example under each teacher; None: nothing of it can be learnt


@dataclass(frozen=True)
class AlignmentSetup:
    """How examples are aligned: the student's tokenizer, the teachers (without their models), and where to cut."""

    student: Tokenizer
    teachers: tuple[LiveTeacher, ...]
    max_length: int
    truncation_side: str

    @property
    def movable(self) -> AlignmentSetup:
        """The same for another process: models stay here."""
        return replace(self, teachers=tuple(replace(t, model=None, options={}) for t in self.teachers))


def align_examples(
    job: AlignmentSetup, examples: Sequence[Example], report: Callable[[str], None], processes: int = 1
) -> list[Samples]:
    """The samples of every example, in order. `report` gets sentences and may raise to stop.

    processes: how many to spread the work over where it pays. Raises RunError that names the example which can't be
    aligned.
    """
    pieces = [examples[at : at + BETWEEN] for at in range(0, len(examples), BETWEEN)]
    spread = min(processes, MOST_PROCESSES, len(pieces)) if len(examples) >= PAYS_FROM and _can_begin_others() else 1
    found: list[Samples] = []
    report(f"Aligning {len(examples)} samples.")
    for part in _in_processes(job, pieces, spread) if spread > 1 else (_align(job, piece) for piece in pieces):
        found += part
        if len(found) < len(examples):
            report(f"Aligning {len(found)} of {len(examples)} samples.")
    return found


def _can_begin_others() -> bool:
    """Whether another process can begin without running this one's main program again.

    "spawn" has every new process run the file of the main program first. A script that trains without a guard
    (`if __name__ == "__main__"`) would begin another run in each, which waits for the device that this run holds.
    """
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is None:  # a script has a file; a notebook and `python -c` have none, and nothing is run again
        return getattr(main, "__file__", None) is None
    # `python -m`: spawn leaves a package's __main__ alone, and this program's own modules have their guards.
    return bool(spec.name == "__main__" or spec.name.endswith(".__main__") or spec.name.startswith("ctkd_core."))


def _align(job: AlignmentSetup, examples: Sequence[Example]) -> list[Samples]:
    from ctkd_core.distill.models.teachers import align_all

    found: list[Samples] = []
    for example in examples:
        try:
            samples = align_all(
                job.teachers,
                job.student,
                example,
                example.completion,
                job.max_length,
                ended=example.whole,
                truncation_side=job.truncation_side,
            )
        except CtkdError as fault:
            raise RunError(f"{example.where}: {fault}") from fault
        learns = samples[0].n_learnt >= 1 and all(len(s.groups) for s in samples)
        found.append(samples if learns else None)
    return found


def _in_processes(job: AlignmentSetup, pieces: Sequence[Sequence[Example]], count: int) -> Iterator[list[Samples]]:
    """The pieces in order; only a few are under way at once."""
    # "spawn": forking a process that runs threads can lock it up.
    pool = ProcessPoolExecutor(count, get_context("spawn"), _begin, (job.movable,))
    try:
        pending: deque[Future[list[Samples]]] = deque()
        for piece in pieces:
            pending.append(pool.submit(_align_there, piece))
            if len(pending) > 2 * count:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool:
        raise RunError(
            f"a process that aligned samples ended before it was done (killed, or out of memory with {count} of them); "
            "close other programs, then try again."
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_there: dict[str, Any] = {}  # of a process of the pool only


def _begin(job: AlignmentSetup) -> None:
    _there["job"] = job


def _align_there(examples: Sequence[Example]) -> list[Samples]:
    return _align(_there["job"], examples)
