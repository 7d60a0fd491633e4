"""Measuring a file in the background: a thread with progress that can be cancelled, for callers that must not wait."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctkd_core.errors import CtkdError

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

MAX_BYTES = 20_000_000  # of one file: its texts are held in memory, so that progress is known


class _CancelledError(Exception):
    """Ends the thread between two batches."""


class CorpusJob:
    """`corpus.measure` of an uploaded file; reading its attributes is safe from any thread.

    state     "running" | "finished" | "failed" | "cancelled"
    share     0 to 1; sentence: what is being done
    result    the metrics once finished; problem: the sentence of a CtkdError once failed
    """

    def __init__(self, student: Tokenizer, teacher: Tokenizer, content: bytes, name: str, method: str = "sedi") -> None:
        self.name = name
        self.state, self.share, self.sentence = "running", 0.0, f"reading {name}"
        self.result: dict[str, Any] | None = None
        self.problem = ""
        self._stop = threading.Event()
        work = (student, teacher, content, method)
        self._thread = threading.Thread(target=self._run, args=work, name=f"measure-{name}", daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """Ask it to end; it does so after the batch under way."""
        self._stop.set()

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended, at most so long; whether it has."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self, student: Tokenizer, teacher: Tokenizer, content: bytes, method: str) -> None:
        from ctkd_core.pair.corpus import measure

        try:
            found = measure(student, teacher, self._texts(content), method, progress=self._progress)
            self._progress(1.0, "measured")  # a cancellation that came last still counts
            self.result, self.state = found, "finished"
        except _CancelledError:
            self.state = "cancelled"
        except CtkdError as fault:
            self.problem, self.state = str(fault), "failed"
        except Exception as fault:  # a thread's fault would be lost, and the page wait for ever
            self.problem = f"{self.name} can't be measured ({type(fault).__name__}: {fault}); please report this."
            self.state = "failed"

    def _texts(self, content: bytes) -> list[Any]:
        from ctkd_core.pair.corpus import read_texts

        if len(content) > MAX_BYTES:
            raise CtkdError(
                f"{self.name} has {len(content) / 1e6:.0f} MB; files up to {MAX_BYTES / 1e6:.0f} MB are measured here. "
                "Use `ctkd pair --corpus FILE --workers N`."
            )
        with tempfile.TemporaryDirectory(prefix="ctkd-corpus-") as folder:
            # The given name may be long or hold what file systems don't take; its ending says how to read it.
            path = Path(folder) / f"corpus{Path(self.name).suffix.lower()[:12]}"
            path.write_bytes(content)
            try:
                return list(read_texts(path))
            except CtkdError as fault:
                raise CtkdError(str(fault).replace(repr(path.name), repr(self.name))) from None

    def _progress(self, share: float, sentence: str) -> None:
        if self._stop.is_set():
            raise _CancelledError
        self.share, self.sentence = share, sentence.removeprefix("texts: ")
