"""Measuring a corpus as a job (`ctkd_core.background.lifecycle`), so that a page shows progress and can cancel.

One measurement a content, pair and method: whoever asks the same gets the same one. Its folder is under the cache; an
uploaded file's content lies in it while it is measured, what was counted until it is finished, and the metrics stay.
One that was cancelled or killed goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic.dataclasses import dataclass as record

from ctkd_core import files
from ctkd_core.background.lifecycle import Job
from ctkd_core.background.status import RECORD, JobStatus, reason
from ctkd_core.errors import CtkdError
from ctkd_core.files import documents, kept
from ctkd_core.pair.corpora.uploads import MAX_BYTES, check_size, file_name
from ctkd_core.tokenizers.handover import Handover, hand_over

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

WORKER = "ctkd_core.pair.corpus_worker"
RESULT, DONE = "result.json", "done"  # the metrics; what was counted until they are there
VERSION = 5  # of what is measured; another one is measured anew
KEPT = 20  # measurements


@record(frozen=True, config=RECORD)
class Order:
    """What the process that measures is told: the pair, the method, the file in its folder, and its name.

    source  a file or folder on this machine that is measured instead of one in the job's folder
    by      fields of records by whose values figures are told apart, too
    """

    student: Handover
    teacher: Handover
    method: str
    file: str
    name: str
    source: str = ""
    by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measurement:
    """`corpus.measure` of a corpus, under way or done; `name` is what the user calls it."""

    job: Job = field(repr=False)
    name: str

    def status(self) -> JobStatus:
        """Where it stands now."""
        return self.job.status()

    def result(self) -> dict[str, Any] | None:
        """The metrics (`corpus.CorpusMetrics`), None before it has finished and for a file that holds something else.

        Whoever asks again measures such a one anew.
        """
        from ctkd_core.pair.corpus import CorpusMetrics

        try:
            content = files.read_regular(self.job.folder / RESULT, MAX_BYTES)
            found: dict[str, Any] = documents.adapter(CorpusMetrics).validate_json(content)
        except (OSError, ValueError):
            return None
        return found

    @property
    def is_done(self) -> bool:
        """Whether the metrics are there."""
        return self.status().state == "finished" and self.result() is not None

    def cancel(self) -> None:
        """Ask it to end: after the piece under way, or after a second by a signal. Pieces that are done are kept.

        Raises OSError.
        """
        self.job.cancel()

    def wait(self, seconds: float) -> JobStatus:
        """Wait until it has ended, at most so long; the status then."""
        return self.job.wait(seconds)


def start(
    student: Tokenizer,
    teacher: Tokenizer,
    content: bytes,
    name: str,
    method: str = "sedi",
    by: Sequence[str] = (),
) -> Measurement:
    """Measure a file in the background, join who measures the same, or take what was measured before.

    `by` as in `corpus.measure_domains`. Raises CtkdError for a file that is too large, a tokenizer that another process
    couldn't load, and a cache that can't be written.
    """
    check_fields(by)
    check_size(name, content, "ctkd pair --corpus FILE")
    file = file_name(name)
    asked = [VERSION, student.fingerprint, teacher.fingerprint, method, file, hashlib.sha256(content).hexdigest()]
    found = _measurement(asked + _fields(by), name)

    def put() -> None:
        try:
            files.write_atomic(found.job.folder / file, content)
        except OSError as fault:
            raise CtkdError(
                f"{name} can't be kept under {str(found.job.folder.parent)!r} to be measured ({reason(fault)}); free "
                "some space or set CTKD_HOME."
            ) from None

    return _started(found, lambda: Order(hand_over(student), hand_over(teacher), method, file, name, by=tuple(by)), put)


def start_source(
    student: Tokenizer, teacher: Tokenizer, source: str, method: str = "sedi", by: Sequence[str] = ()
) -> Measurement:
    """The same for a file or folder of any size on this machine, which is read where it lies.

    Raises CtkdError also for what `corpus.read_texts` refuses at once.
    """
    from ctkd_core.pair.corpus import read_texts

    check_fields(by)
    corpus = read_texts(source)
    pieces = [piece.key for piece in corpus.pieces()]
    name = corpus.path.name or str(corpus.path)
    asked = [VERSION, student.fingerprint, teacher.fingerprint, method, pieces]
    found = _measurement(asked + _fields(by), name)
    place = str(corpus.path.absolute())
    return _started(found, lambda: Order(hand_over(student), hand_over(teacher), method, "", name, place, tuple(by)))


def check_fields(by: Sequence[str]) -> None:
    """Raise CtkdError for fields that no text can be told apart by."""
    from ctkd_core.pair.corpus import check_fields as check

    check(by)


def _fields(by: Sequence[str]) -> list[Any]:
    """What they add to the name of a measurement; nothing without one, as before there were any."""
    return [list(by)] if by else []


def _measurement(asked: list[Any], name: str) -> Measurement:
    digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
    return Measurement(Job(files.cache_dir() / "corpus" / digest[:32]), name)


def _started(found: Measurement, order: Callable[[], Order], put: Callable[[], None] = lambda: None) -> Measurement:
    """Start a measurement that isn't done; `put` lays what it needs into its folder once no attempt is under way.

    The process that ends takes an upload's content with it, so it may not be put there while one still works.
    """
    root, gone = found.job.folder.parent, list[Path]()
    with kept.held(root) as alone:
        if found.is_done:
            with suppress(OSError):
                found.job.folder.touch()  # asked for now
        else:
            found.job.start(WORKER, order(), put)
        if alone:
            gone = kept.take_out(root, found.job.folder, KEPT, lambda folder: Job(folder).status().ended_already)
    kept.remove(gone)
    return found
