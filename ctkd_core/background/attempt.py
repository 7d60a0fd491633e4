"""The life cycle of background work, seen from inside: the process that does one attempt.

It holds a lock on its folder as long as it works, renews a heartbeat, looks whether somebody asked it to stop, and
writes how it ended. It never writes once a later attempt has begun: then it ends by itself.

Exit codes: 0 finished, 4 failed, 130 cancelled or superseded, 2 for a wrong command line.
"""

from __future__ import annotations

import os
import platform
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from ctkd_core.background.lifecycle import ORDER, WORKER_LOCK, Work
from ctkd_core.background.processes import process_alive, process_start
from ctkd_core.background.progress import Cancelled
from ctkd_core.background.status import (
    WRITTEN_ENDINGS,
    JobStatus,
    S,
    cancel_asked,
    plain_text,
    read_launch,
    read_record,
    read_status,
    write_status,
)
from ctkd_core.errors import CtkdError, TerminatedError

USAGE, FINISHED, FAILED, CANCELLED = 2, 0, 4, 130
CODES = {"finished": FINISHED, "failed": FAILED, "cancelled": CANCELLED}
HEARTBEAT_SECONDS = 2.0
INTERVAL_SECONDS = 0.1  # between two writings of a job's progress
LOCK_POLL_SECONDS = 0.2
NICENESS = 5  # the browser app keeps breathing on a small machine

Order = TypeVar("Order")


class Superseded(Exception):  # noqa: N818 - not an error
    """A later attempt has begun, this one was ended from outside, or its folder is gone: it writes nothing any more."""


class Attempt(Generic[S]):
    """The process's hold on its folder: changes are written at once, a thread renews the heartbeat.

    The thread runs in Python beside long torch calls, which release the interpreter lock.
    """

    def __init__(self, folder: Path, status: S, terminated: Callable[[], bool] = lambda: False) -> None:
        self.folder = folder
        self._status = status
        self._work = Work(folder, type(status))
        self._terminated = terminated
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._superseded = ""
        self._began: float | None = None
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    @property
    def status(self) -> S:
        """The latest status."""
        return self._status

    def start(self) -> Attempt[S]:
        """Write the first status and begin the heartbeat. Raises OSError, and Superseded."""
        self.update()
        self._thread.start()
        return self

    def begin(self, **changes: Any) -> None:
        """What this attempt was waiting for is there: its time counts from here."""
        self._began = time.monotonic()
        self.update(started=time.time(), **changes)

    def update(self, **changes: Any) -> None:
        """Change some fields and write the file now. Raises OSError, and Superseded."""
        with self._lock:
            self._change(changes)
            self._write()

    def note(self, **changes: Any) -> None:
        """Change some fields; the next heartbeat writes them."""
        with self._lock:
            self._change(changes)

    def stop_asked(self) -> bool:
        """Whether somebody asked this attempt to stop, by a signal or by the file. Raises Superseded."""
        self._go_on()
        return self._terminated() or cancel_asked(self.folder, self._status.attempt)

    def check(self) -> None:
        """Stop here when that was asked for. Raises Cancelled, and Superseded."""
        if self.stop_asked():
            raise Cancelled

    def close(self, **changes: Any) -> None:
        """End the heartbeat and write the last status. Raises OSError on a full disk, and Superseded."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        self.update(ended=time.time(), **changes)

    def abandon(self) -> None:
        """End the heartbeat and write nothing."""
        self._stop.set()

    def _change(self, changes: dict[str, Any]) -> None:
        clean: dict[str, Any] = {k: plain_text(v) if isinstance(v, str) else v for k, v in changes.items()}
        elapsed = None if self._began is None else round(time.monotonic() - self._began, 3)
        self._status = replace(self._status, heartbeat=time.time(), elapsed=elapsed, **clean)

    def _go_on(self) -> None:
        """Raise Superseded where nothing may be written: a folder that somebody removed must not come back in parts."""
        if not self._superseded and _gone(self.folder):
            self._superseded = f"attempt {self._status.attempt} ends here: its folder is gone."
        if self._superseded:
            raise Superseded(self._superseded)

    def _write(self) -> None:
        self._go_on()
        with self._folder_lock():
            there = read_status(self.folder, type(self._status))
            mine = self._status.attempt
            if there.state != "damaged" and (there.attempt > mine or _ended(there, mine)):
                what = f"attempt {there.attempt} has begun" if there.attempt > mine else f"it was {there.state}"
                self._superseded = f"attempt {mine} ends here: {what}."
                raise Superseded(self._superseded)
            write_status(self.folder, self._status)

    @contextmanager
    def _folder_lock(self) -> Iterator[None]:
        # Whoever holds the lock for ten seconds is stuck (a stopped process); the work doesn't end for that.
        entered = False
        try:
            with self._work.lock():
                entered = True
                yield
        except CtkdError:
            if entered:
                raise
            yield

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            try:
                self.update()
            except Superseded:
                return
            except OSError:
                continue  # a full disk: the work may find room again, and readers check the process itself


def _gone(folder: Path) -> bool:
    try:
        folder.stat()
    except FileNotFoundError:
        return True
    except OSError:  # a disk far away that doesn't answer
        pass
    return False


def _ended(there: Any, mine: int) -> bool:
    return there.attempt == mine and there.state in WRITTEN_ENDINGS


class JobProgress:
    """A Progress that goes into the status of a job, at most ten times a second, and raises Cancelled when asked to."""

    def __init__(self, attempt: Attempt[JobStatus]) -> None:
        self._attempt = attempt
        self._written = 0.0

    def __call__(self, share: float, sentence: str) -> None:
        """Report how far the work is, 0 to 1; it never goes back."""
        self._attempt.check()
        share = max(self._attempt.status.share, min(max(share, 0.0), 1.0))
        change = {"state": "running", "share": share, "message": sentence}
        if time.monotonic() - self._written >= INTERVAL_SECONDS:
            self._attempt.update(**change)
            self._written = time.monotonic()
        else:
            self._attempt.note(**change)


def attend(
    folder: Path,
    record: type[S],
    do: Callable[[Attempt[S]], dict[str, Any]],
    number: int | None = None,
    terminated: Callable[[], bool] | None = None,
    explain: Callable[[BaseException], str] | None = None,
) -> int:
    """The whole life of one attempt in this process; returns the exit code. Every ending is written into the status.

    do          the work; returns what changes in the status when it has finished
    number      of the attempt; None takes the one in the status
    terminated  asked whether to stop, besides the file; None: by SIGTERM and SIGINT, in a process of its own
    explain     what to tell of a fault
    """
    if not folder.is_dir():
        print(f"the folder can't be written: there's no folder {str(folder)!r}", file=sys.stderr)
        return FAILED
    detached = terminated is None
    with _signals() if terminated is None else _nothing(terminated) as asked:
        try:
            with _alone(folder, record, number, asked) as status:
                if status is None:
                    return CANCELLED
                if status.state in WRITTEN_ENDINGS:
                    log(f"attempt {status.attempt} is {status.state} already; there is nothing to do.")
                    return CODES[status.state]
                attempt = Attempt(folder, _first(status, detached), asked)
                return _attend(attempt, do, explain or explain_fault)
        except OSError as fault:
            log(f"the folder {str(folder)!r} can't be written: {fault}")
            return FAILED


def _attend(
    attempt: Attempt[S], do: Callable[[Attempt[S]], dict[str, Any]], explain: Callable[[BaseException], str]
) -> int:
    ending: dict[str, Any]
    try:
        attempt.start()
        try:
            ending = {"state": "finished"} | do(attempt)
        except (Cancelled, KeyboardInterrupt):
            ending = {"state": "cancelled", "message": attempt.status.cancelled_message}
        except Superseded:
            raise
        except BaseException as fault:
            log(traceback.format_exc())
            # The signal that ends this process goes to its group, and so to a child that it waits for.
            if _a_child_was_told_to_end(fault) and attempt.stop_asked():
                ending = {"state": "cancelled", "message": attempt.status.cancelled_message}
            else:
                ending = {"state": "failed", "message": explain(fault)}
        attempt.close(**ending)
    except Superseded as fault:
        attempt.abandon()
        log(str(fault))
        return CANCELLED
    except OSError as fault:  # a full disk: readers find the process gone and conclude "lost"
        attempt.abandon()
        log(f"the status can't be written: {fault}")
        return FAILED
    return CODES[ending["state"]]


def _a_child_was_told_to_end(fault: BaseException) -> bool:
    cause: BaseException | None = fault
    while cause is not None and not isinstance(cause, TerminatedError):
        cause = cause.__cause__ or cause.__context__
    return cause is not None


def _first(status: S, detached: bool) -> S:
    process: dict[str, Any] = {"pid": os.getpid(), "pid_start": process_start(os.getpid()), "pid_created": None}
    waiting: dict[str, Any] = {"state": type(status)().state, "started": None, "ended": None, "elapsed": None}
    return replace(status, **process, **waiting, host=platform.node(), detached=detached)


@contextmanager
def _alone(folder: Path, record: type[S], number: int | None, asked: Callable[[], bool]) -> Iterator[S | None]:
    """Hold the folder's worker lock; gives the status of this attempt, None when another process does it already."""
    from filelock import FileLock, Timeout

    path = folder / WORKER_LOCK
    path.parent.mkdir(exist_ok=True)
    lock = FileLock(path)
    while True:
        status = read_status(folder, record)
        mine = number if number is not None else _number(folder, status)
        if status.state != "damaged" and status.attempt > mine:
            log(f"attempt {mine} ends here: attempt {status.attempt} has begun.")
            break
        try:
            lock.acquire(timeout=LOCK_POLL_SECONDS)
        except Timeout:
            # A process of an earlier attempt will notice that it was superseded; one of this attempt does the work.
            other = status.pid if status.attempt == mine else None
            if asked() or (other not in (None, os.getpid()) and process_alive(other, status.pid_start or None)):
                log(f"another process works on attempt {mine} already.")
                break
            continue
        try:
            status = read_status(folder, record)  # it may have ended while this process waited
            if status.state == "damaged":
                status = record()
            if status.attempt > mine:
                log(f"attempt {mine} ends here: attempt {status.attempt} has begun.")
                yield None
            else:
                yield replace(status, attempt=mine) if status.attempt < mine else status
        finally:
            lock.release()
        return
    yield None


def _number(folder: Path, status: Any) -> int:
    launch = read_launch(folder)
    return max(status.attempt, launch.attempt if launch else 0)


@contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """Whether SIGTERM or SIGINT came; both mean: stop at the next chance."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {n: signal.signal(n, lambda number, _: came.append(number)) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _nothing(terminated: Callable[[], bool]) -> Iterator[Callable[[], bool]]:
    yield terminated


def work(arguments: list[str], do: Callable[[Order, Path, JobProgress], str], order: type[Order]) -> int:
    """Main function of a job's process: `do` gets its order, the folder and the progress, and returns a sentence.

    Returns the exit code.
    """
    found = folder_and_number(arguments)
    if found is None:
        print("a worker takes the job's folder, and the number of the attempt", file=sys.stderr)
        return USAGE
    folder, number = found

    def job(attempt: Attempt[JobStatus]) -> dict[str, Any]:
        try:
            asked = read_record(folder / ORDER, order)
        except ValueError as fault:
            raise CtkdError(f"the order in {str(folder)!r} is damaged ({fault}); start it again.") from None
        attempt.begin()
        return {"message": do(asked, folder, JobProgress(attempt)), "share": 1.0}

    lower_priority()
    return attend(folder, JobStatus, job, number)


def folder_and_number(arguments: list[str]) -> tuple[Path, int | None] | None:
    """What the command line of a worker names: FOLDER [ATTEMPT]; None when it's wrong."""
    if not 1 <= len(arguments) <= 2 or not all(word.isdecimal() for word in arguments[1:]):
        return None
    return Path(arguments[0]), int(arguments[1]) if len(arguments) == 2 else None


def lower_priority() -> None:
    """Let what people wait for go first; a process that another one of ours started has that already."""
    with suppress(OSError, AttributeError):
        os.nice(max(0, NICENESS - os.nice(0)))


def out_of_memory(fault: BaseException) -> bool:
    """Whether a fault says that there is too little memory, in Python's words, torch's or the system's."""
    return isinstance(fault, MemoryError) or re.search("(out of|allocate|enough) memory", str(fault), re.I) is not None


def explain_fault(fault: BaseException) -> str:
    """One sentence a user can act on."""
    if isinstance(fault, CtkdError):
        return str(fault)
    if out_of_memory(fault):
        return "Out of memory; close other programs, or ask for less."
    if isinstance(fault, OSError):
        return f"Something can't be written or read: {fault}. Free some space or mend the folder's rights, then again."
    first = (str(fault).strip().split("\n") or [""])[0][:300]
    return f"{type(fault).__name__}: {first or 'no message'}. The log has the details."


def log(text: str) -> None:
    """A line in the log of this process; a log that can't be written ends nothing."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)
