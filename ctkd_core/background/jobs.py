"""Work that takes seconds, done in a process of its own, so that a page shows progress and can cancel.

A job has a folder, named by what is asked, so whoever asks the same gets the same job:

    order.json   what to do and which attempt this is     launch.json  the process that was started
    status.json  how far it is (written by the process)    cancel       somebody asked it to stop
    log.txt      what the process printed

That the process died without a word is concluded by the reader, as for runs. `work` is the other end.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctkd_core import files
from ctkd_core.background.processes import (
    child_environment,
    process_alive,
    process_created,
    start_detached,
    stop_process,
)
from ctkd_core.errors import CtkdError

# What is under way: "starting", "running". What has ended:
ENDED = frozenset({"finished", "failed", "cancelled", "lost"})
FINISHED, FAILED, CANCELLED = 0, 4, 130  # exit codes of the process
CANCEL_GRACE = 1.0  # seconds to stop by itself before it is told to by a signal
LOCK_SECONDS = 10.0
NICENESS = 5  # the browser app keeps breathing on a small machine
INTERVAL_SECONDS = 0.1  # between two writings of status.json


class Cancelled(Exception):  # noqa: N818 - not an error
    """Somebody asked the job to stop."""


@dataclass(frozen=True)
class JobStatus:
    """One moment of a job: state ("starting", "running" or one of ENDED), share done 0..1, and a sentence."""

    state: str
    share: float = 0.0
    sentence: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen unless somebody starts it again."""
        return self.state in ENDED


@dataclass(frozen=True)
class Job:
    """A handle; any number of them may look at one folder."""

    folder: Path

    @property
    def exists(self) -> bool:
        """Whether somebody ever started it."""
        return (self.folder / "order.json").exists()

    def status(self) -> JobStatus:
        """Where it stands now. "lost": the process is gone and said nothing."""
        order, launch, said = (read_json(self.folder / f"{name}.json") for name in ("order", "launch", "status"))
        if said.get("attempt") != order.get("attempt"):
            said = {}
        now = _moment(said)
        pid, created = said.get("pid", launch.get("pid")), said.get("created", launch.get("created"))
        if now.ended or pid is None or process_alive(pid, created):
            return now
        last = read_json(self.folder / "status.json")  # it may have ended properly between the two looks
        if last.get("attempt") == order.get("attempt") and last.get("state") in ENDED:
            return _moment(last)
        if (self.folder / "cancel").exists():
            return JobStatus("cancelled", now.share, "Cancelled; nothing was kept.")
        return JobStatus(
            "lost",
            now.share,
            f"The process {pid} ended without a word at {now.share:.0%}: killed, or out of memory. Start it again.",
        )

    def cancel(self, wait: bool = False) -> None:
        """Ask the process to stop; after a second it is made to. With `wait`, return when it's gone."""
        (self.folder / "cancel").write_text("cancel\n")
        said, launch = read_json(self.folder / "status.json"), read_json(self.folder / "launch.json")
        pid, created = launch.get("pid", said.get("pid")), launch.get("created", said.get("created"))
        if pid is None or self.status().ended:
            return
        stopper = threading.Thread(
            target=stop_process, args=(pid, created, CANCEL_GRACE), name=f"stop-{pid}", daemon=True
        )
        stopper.start()
        if wait:
            stopper.join()

    def log_tail(self, most: int = 4000) -> str:
        """The last characters of what the process printed."""
        try:
            return (self.folder / "log.txt").read_text(encoding="utf-8", errors="replace")[-most:]
        except OSError:
            return ""

    def start(self, module: str, order: Mapping[str, Any]) -> None:
        """Start `python -m module FOLDER`, or join the attempt that is under way. `order`: plain data for it.

        Raises CtkdError when another process is starting it and doesn't come to an end with that.
        """
        from filelock import FileLock, Timeout

        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.folder / "lock", timeout=LOCK_SECONDS):
                if self.exists and not self.status().ended:
                    return
                self._launch(module, order)
        except Timeout:
            raise CtkdError(
                f"another process has held the lock of this job for {LOCK_SECONDS:.0f} s; try again."
            ) from None

    def wait(self, seconds: float, progress: Callable[[float, str], None] | None = None) -> JobStatus:
        """Wait until it has ended, at most so long; the status then."""
        end = time.monotonic() + seconds
        while not (now := self.status()).ended and time.monotonic() < end:
            if progress is not None:
                progress(now.share, now.sentence)
            time.sleep(0.1)
        return now

    def _launch(self, module: str, order: Mapping[str, Any]) -> None:
        for name in ("status.json", "launch.json", "cancel"):
            (self.folder / name).unlink(missing_ok=True)
        files.write_atomic(self.folder / "order.json", json.dumps(dict(order) | {"attempt": secrets.token_hex(8)}))
        environment = child_environment() | {"CTKD_HOME": str(files.home())}
        pid = start_detached(["-m", module, str(self.folder)], self.folder / "log.txt", environment)
        files.write_atomic(self.folder / "launch.json", json.dumps({"pid": pid, "created": process_created(pid)}))


class Teller:
    """The process's side: writes status.json, at most ten times a second, and raises Cancelled once asked to stop."""

    def __init__(self, folder: Path, attempt: str) -> None:
        self._folder = folder
        self._base = {"attempt": attempt, "pid": os.getpid(), "created": process_created(os.getpid())}
        self._written = 0.0
        self._share = 0.0

    def __call__(self, share: float, sentence: str) -> None:
        """Tell how far the work is, 0 to 1; it never goes back."""
        if (self._folder / "cancel").exists():
            raise Cancelled
        self._share = max(self._share, min(max(share, 0.0), 1.0))
        if time.monotonic() - self._written >= INTERVAL_SECONDS:
            self.say("running", sentence)

    def say(self, state: str, sentence: str) -> None:
        """Write the status now."""
        share = 1.0 if state == "finished" else self._share
        status = self._base | {"state": state, "share": share, "sentence": sentence, "time": time.time()}
        files.write_atomic(self._folder / "status.json", json.dumps(status))
        self._written = time.monotonic()


def work(arguments: list[str], do: Callable[[dict[str, Any], Path, Teller], str]) -> int:
    """Main function of a worker: `do` gets the order, the folder and the teller, and returns a sentence.

    Returns the exit code: 0 finished, 4 failed, 130 cancelled, 2 for a wrong command line.
    """
    if len(arguments) != 1:
        print("a worker takes one argument, the job's folder", file=sys.stderr)
        return 2
    with suppress(OSError):
        os.nice(NICENESS)
    folder = Path(arguments[0])
    order = read_json(folder / "order.json")
    tell = Teller(folder, str(order.get("attempt")))
    try:
        state, sentence, code = "finished", do(order, folder, tell), FINISHED
    except Cancelled:
        state, sentence, code = "cancelled", "Cancelled; nothing was kept.", CANCELLED
    except BaseException as fault:
        traceback.print_exc()
        state, sentence, code = "failed", explain(fault), FAILED
    try:
        tell.say(state, sentence)
    except OSError as fault:  # a full disk: the reader finds the process gone and says "lost"
        print(f"the last status can't be written: {fault}", file=sys.stderr)
        return FAILED
    return code


def explain(fault: BaseException) -> str:
    """One sentence a user can act on."""
    if isinstance(fault, CtkdError):
        return str(fault)
    if isinstance(fault, MemoryError):
        return "Out of memory; close other programs, or ask for less."
    if isinstance(fault, OSError):
        return f"Something can't be written or read: {fault}. Free some space or mend the folder's rights, then again."
    first = (str(fault).strip().split("\n") or [""])[0][:300]
    return f"{type(fault).__name__}: {first or 'no message'}. The log has the details."


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, {} when there is none."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _moment(said: Mapping[str, Any]) -> JobStatus:
    return JobStatus(
        str(said.get("state", "starting")), float(said.get("share", 0.0)), str(said.get("sentence", "Starting"))
    )
