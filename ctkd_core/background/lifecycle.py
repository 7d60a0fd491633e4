"""The one life cycle of background work, seen from outside: start, watch, cancel, start again.

Runs, maps, losses, evidence and corpus measurements each have a folder, and a process of their own that works in it
(`attempt` is its side). Closing a page or terminal doesn't end it, and any number of viewers may look at one folder.

    status.json          where it stands (`status`)      control/launch.json  the process that was started
    log.txt              what the process printed        control/cancel       somebody asked this attempt to stop
    control/lock         held for a moment by whoever changes one of these
    control/worker.lock  held by the process as long as it works: the system drops it when the process dies

A new attempt has the number after the last one's. The check whether one may start and the start itself happen under
one lock, so of two who start at once one is told that it runs already.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from ctkd_core import files
from ctkd_core.background.processes import (
    GRACE_SECONDS,
    child_environment,
    process_start,
    start_detached,
    stop_process,
)
from ctkd_core.background.progress import Progress
from ctkd_core.background.status import (
    CANCEL,
    LAUNCH,
    STALE_SECONDS,
    STATUS,
    JobStatus,
    Launch,
    S,
    Status,
    cancel_asked,
    elsewhere,
    look,
    plain_text,
    process_of,
    read_launch,
    read_status,
    reason,
    write_record,
    write_status,
)
from ctkd_core.errors import CtkdError

LOCK = Path("control") / "lock"
WORKER_LOCK = Path("control") / "worker.lock"
LOG = Path("log.txt")
ORDER = Path("order.json")
LOCK_SECONDS = 10.0
CANCEL_GRACE = 1.0  # seconds that a job has to stop by itself before it is told to by a signal
BYTES_A_LINE = 400  # of a log, a generous guess
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Work(Generic[S]):
    """A handle for the work in one folder; any number of them may look at it."""

    folder: Path
    record: type[S]

    def status(self) -> S:
        """Where it stands now, "lost" when its process is gone without having told why."""
        return look(self.folder, self.record)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for a change of its state, alone among processes and threads.

        Raises CtkdError when somebody else holds it for LOCK_SECONDS, OSError when the folder can't be written, or is
        gone: one that somebody removed must not come back for its lock.
        """
        from filelock import FileLock, Timeout

        path = self.folder / LOCK
        path.parent.mkdir(exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=LOCK_SECONDS)
        except Timeout:
            raise CtkdError(
                f"another process has held the lock {str(path)!r} for {LOCK_SECONDS:.0f} s; try again."
            ) from None
        try:
            yield
        finally:
            lock.release()

    def launch(self, module: str, first: S, environment: Mapping[str, str] | None = None) -> int:
        """Start `python -m module FOLDER ATTEMPT`, detached, with `first` as its status; returns its process id.

        The caller holds the lock and has looked whether it may. Raises OSError when something can't be written: then
        no process is left and the status is the one of before.
        """
        before = None
        with suppress(OSError):
            before = files.read_regular(self.folder / STATUS, 10**7)
        pid = None
        try:
            write_status(self.folder, first)
            (self.folder / CANCEL).unlink(missing_ok=True)
            (self.folder / LAUNCH).unlink(missing_ok=True)
            words = ["-m", module, str(self.folder), str(first.attempt)]
            pid = start_detached(words, self.folder / LOG, child_environment() | dict(environment or {}))
            launch = Launch(pid=pid, pid_start=process_start(pid), attempt=first.attempt, time=time.time())
            write_record(self.folder / LAUNCH, launch)
        except OSError:
            if pid is not None:
                stop_process(pid, None, grace=0.0)
            with suppress(OSError):
                if before is None:
                    (self.folder / STATUS).unlink(missing_ok=True)
                else:
                    files.write_atomic(self.folder / STATUS, before)
            raise
        return pid

    def request_cancel(self, attempt: int) -> None:
        """Ask an attempt to stop at its next chance. Raises OSError when that can't be written."""
        path = self.folder / CANCEL
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.write_text(f"cancel attempt {attempt}\n")
        except OSError:
            if not path.exists():  # on a full disk the empty file is enough
                raise

    def stop(self, grace: float = GRACE_SECONDS) -> None:
        """Make the process end: wait `grace` seconds, SIGTERM, wait, SIGKILL. Only a detached one on this computer."""
        status = read_status(self.folder, self.record)
        process = process_of(self.folder, status)
        if process is not None and status.detached and not elsewhere(status):
            stop_process(*process, grace)

    def stands_still(self, seconds: float = STALE_SECONDS) -> bool:
        """Watch the heartbeat of a process on another computer: whether it stood still for so long."""
        end = time.monotonic() + seconds
        first = read_status(self.folder, self.record)
        while (now := read_status(self.folder, self.record)) == first:
            if time.monotonic() >= end:
                return True
            time.sleep(min(POLL_SECONDS, seconds))
        return now.ended_already

    def wait(self, seconds: float, progress: Callable[[S], None] | None = None) -> S:
        """Wait until it has ended, at most so long; the status then."""
        end = time.monotonic() + seconds
        while not (now := self.status()).ended_already and time.monotonic() < end:
            if progress is not None:
                progress(now)
            time.sleep(POLL_SECONDS)
        return now

    def log_tail(self, lines: int = 40) -> str:
        """The last lines of what the process printed."""
        return log_tail(self.folder / LOG, lines)


class Job:
    """Work that takes seconds, done in a process of its own, so that a page shows progress and can cancel.

    Its folder is named by what is asked, so whoever asks the same gets the same job; `order.json` in it says what to
    do. There is nothing to resume: an attempt that failed is started again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._work = Work(folder, JobStatus)

    @property
    def exists(self) -> bool:
        """Whether somebody ever started it."""
        return (self.folder / ORDER).exists()

    def status(self) -> JobStatus:
        """Where it stands now."""
        return self._work.status()

    def start(self, module: str, order: Any, before: Callable[[], None] = lambda: None) -> None:
        """Start `python -m module FOLDER`, or join the attempt that is under way.

        order   a pydantic record, which `attempt.work` reads again
        before  called where an attempt is started, when none is under way any more: it may put files into the folder

        An attempt that was asked to stop is ended first. Raises what `before` raises, and CtkdError when another
        process has held the lock for long, or the folder can't be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._work.lock():
                now = self.status()
                if self.exists and not now.ended_already:
                    if not cancel_asked(self.folder, now.attempt):
                        return
                    self._work.stop(CANCEL_GRACE)
                before()
                written = read_status(self.folder, JobStatus)
                write_record(self.folder / ORDER, order)
                first = JobStatus(attempt=next_attempt(self.folder, written), created=time.time())
                self._work.launch(module, first, {"CTKD_HOME": str(files.home())})
        except OSError as fault:
            raise CtkdError(
                f"{str(self.folder)!r} can't be written ({reason(fault)}); free some space or mend the folder's "
                "rights, then start it again."
            ) from fault

    def cancel(self, wait: bool = False) -> None:
        """Ask the process to stop; after a second it is made to. With `wait`, return when it's gone.

        Raises OSError when the request can't be written.
        """
        status = self.status()
        self._work.request_cancel(status.attempt)
        if status.ended_already:
            return
        stopper = threading.Thread(target=self._work.stop, args=(CANCEL_GRACE,), name="stop-job", daemon=True)
        stopper.start()
        if wait:
            stopper.join()

    def wait(self, seconds: float, progress: Progress | None = None) -> JobStatus:
        """Wait until it has ended, at most so long; the status then."""
        return self._work.wait(seconds, progress and (lambda now: progress(now.share, now.message)))

    def log_tail(self, lines: int = 40) -> str:
        """The last lines of what the process printed."""
        return self._work.log_tail(lines)


def log_tail(path: Path, lines: int) -> str:
    """The last lines of a text file; "" without one, a sentence for what can't be read."""
    try:
        with files.open_regular(path) as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - BYTES_A_LINE * lines))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as fault:
        return f"({path.name} can't be read: {reason(fault)})"
    return "\n".join(plain_text(text).splitlines()[-lines:])


def next_attempt(folder: Path, status: Status) -> int:
    """The number of the attempt after this status; a damaged one doesn't know it, but the launcher noted it."""
    launch = read_launch(folder)
    return max(status.attempt, launch.attempt if launch else 0) + 1
