"""Where background work stands: one small JSON file, replaced as a whole, and what a reader concludes from it.

The process that does the work is the only writer while it lives, and only while its attempt is the latest. "lost" and
"damaged" are never written: a reader concludes the first when the process is gone, so that a power cut or `kill -9`
shows up without anybody having had the time to write it down, and the second when the file holds something else.
"""

from __future__ import annotations

import os
import platform
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ctkd_core import files
from ctkd_core.background.processes import process_alive

State = Literal["queued", "starting", "running", "finished", "failed", "cancelled", "lost", "damaged"]
STATES: tuple[State, ...] = ("queued", "starting", "running", "finished", "failed", "cancelled", "lost", "damaged")
ENDED = frozenset({"finished", "failed", "cancelled", "lost", "damaged"})
WRITTEN_ENDINGS = frozenset({"finished", "failed", "cancelled"})  # by the process itself, or by who cancelled it
STALE_SECONDS = 30.0  # a heartbeat on another computer that stands still so long: lost
MOST_BYTES = 1_000_000  # of a status; it has some kilobytes
RECORD = ConfigDict(extra="ignore", allow_inf_nan=False)

STATUS, LAUNCH, CANCEL = Path("status.json"), Path("control") / "launch.json", Path("control") / "cancel"


@dataclass(frozen=True, config=RECORD)
class Status:
    """One moment of background work. Times are seconds since the epoch, `elapsed` is seconds of a clock nobody sets.

    pid, pid_start  the process, and what tells it from later ones of that number (`processes.process_start`)
    pid_created     its start in seconds since the epoch, noted by older versions instead
    detached        False when the work is done inside a process that does other things too (never killed)
    """

    state: State = "queued"
    message: str = ""
    attempt: int = 1
    pid: int | None = Field(default=None, ge=1, lt=2**31)
    pid_start: str = ""
    pid_created: float | None = None
    detached: bool = True
    host: str = ""
    heartbeat: float = 0.0
    created: float = 0.0
    started: float | None = None
    ended: float | None = None
    elapsed: float | None = None

    @property
    def ended_already(self) -> bool:
        """Whether nothing more will happen unless somebody starts it again."""
        return self.state in ENDED

    @property
    def seconds(self) -> float | None:
        """How long this attempt has worked (or had, when it ended); None before that."""
        if self.started is None or self.elapsed is not None:
            return self.elapsed
        end = self.ended or (self.heartbeat if self.state == "lost" else time.time())
        return max(0.0, end - self.started)

    @property
    def cancelled_message(self) -> str:
        """What to tell when it stopped because somebody asked for it."""
        return "Cancelled; nothing was kept."

    @property
    def killed_message(self) -> str:
        """What to tell when it was cancelled but couldn't write that itself."""
        return self.cancelled_message

    @property
    def lost_message(self) -> str:
        """What to tell when the process is gone and didn't tell why."""
        return f"The process {self.pid} ended without a word: killed, or out of memory. Start it again."

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in status.json."""
        return asdict(self)


@dataclass(frozen=True, config=RECORD)
class JobStatus(Status):
    """One moment of a job: `share` is what is done, 0 to 1."""

    state: State = "starting"
    message: str = "Starting"
    attempt: int = 0  # the first one that is started has number 1
    share: float = 0.0

    @property
    def lost_message(self) -> str:
        """With the share that was done."""
        where = f"at {self.share:.0%}"
        return f"The process {self.pid} ended without a word {where}: killed, or out of memory. Start it again."


@dataclass(frozen=True, config=RECORD)
class Launch:
    """What whoever started the process noted about it, before it could write anything itself."""

    pid: Annotated[int, Field(ge=1, lt=2**31)]
    pid_start: str = ""
    pid_created: float | None = None
    attempt: int = 1
    time: float = 0.0


S = TypeVar("S", bound=Status)
R = TypeVar("R")


def read_record(path: Path, record: type[R]) -> R:
    """The record of this type in a JSON file. Raises OSError, and ValueError that says what doesn't fit."""
    try:
        return _adapter(record).validate_json(files.read_regular(path, MOST_BYTES))
    except ValidationError as fault:
        first = fault.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from None


def write_record(path: Path, record: Any) -> None:
    """Replace a JSON file by this record. Raises OSError."""
    text = _adapter(type(record)).dump_json(record, indent=1)
    files.write_atomic(path, text)


_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}


def _adapter(record: type[R]) -> TypeAdapter[R]:
    found = _ADAPTERS.get(record)
    if found is None:
        found = _ADAPTERS[record] = TypeAdapter(record)
    return found


def read_status(folder: Path, record: type[S]) -> S:
    """The status as it's written: a fresh one without a file, state "damaged" for a file that holds something else."""
    try:
        return read_record(folder / STATUS, record)
    except FileNotFoundError:
        return record()
    except (OSError, ValueError) as fault:
        return damaged(record, folder / STATUS, fault)


def write_status(folder: Path, status: Status) -> None:
    """Replace status.json as a whole. Raises OSError."""
    write_record(folder / STATUS, status)


def damaged(record: type[S], path: Path, fault: object) -> S:
    """What a file that holds no record of its kind becomes."""
    return record(
        state="damaged", message=plain_text(f"damaged: {path.name} ({reason(fault)}) in {str(path.parent)!r}")
    )


def reason(fault: object) -> str:
    """A fault in a few words, without the path that an OSError repeats."""
    return str(getattr(fault, "strerror", None) or fault)[:300]


def plain_text(text: str) -> str:
    """`text` without lone surrogates, which no file could hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def read_launch(folder: Path) -> Launch | None:
    """What the launcher noted about the process it started; None if nobody launched it, or it isn't readable."""
    try:
        return read_record(folder / LAUNCH, Launch)
    except (OSError, ValueError):
        return None


def cancel_asked(folder: Path, attempt: int) -> bool:
    """Whether somebody asked this attempt to stop. A file without a number speaks to whichever attempt is running."""
    path = folder / CANCEL
    if not os.path.lexists(path):
        return False
    try:
        number = files.read_regular(path, 100).decode().split()[-1]
    except (OSError, ValueError, IndexError):
        return True
    return not number.isdecimal() or int(number) >= attempt


def process_of(folder: Path, status: Status) -> tuple[int, str | float | None] | None:
    """Number and start of the process that works on this attempt; None when nobody started one."""
    if status.pid is not None:
        return status.pid, status.pid_start or status.pid_created
    launch = read_launch(folder)
    if launch is None or launch.attempt < status.attempt:
        return None
    return launch.pid, launch.pid_start or launch.pid_created


def look(folder: Path, record: type[S]) -> S:
    """Where the work stands, with "lost" (or "cancelled") concluded where no process is left."""
    status = read_status(folder, record)
    if status.ended_already:
        return status
    process = process_of(folder, status)
    if process is None:
        return status
    if not elsewhere(status):
        if process_alive(*process):
            return status
    elif not _stands_still(folder, status):
        return status
    again = read_status(folder, record)  # it may have ended properly between the two looks
    if again.ended_already or again.attempt != status.attempt:
        return again
    status = replace(again, pid=process[0])
    if cancel_asked(folder, status.attempt):
        return replace(status, state="cancelled", message=status.killed_message)
    return replace(status, state="lost", message=status.lost_message)


def elsewhere(status: Status) -> bool:
    """Whether the process runs on another computer (a folder that is shared), where it can't be seen."""
    return status.host not in ("", platform.node())


# By folder: the last heartbeat of a process elsewhere, and when this reader first saw it, by its own clock.
_SEEN: dict[Path, tuple[tuple[Any, ...], float]] = {}


def _stands_still(folder: Path, status: Status) -> bool:
    # Clocks of two computers differ, and may be set: only what this reader saw with its own clock counts.
    beat = (status.attempt, status.heartbeat, status.elapsed)
    now = time.monotonic()
    seen, since = _SEEN.get(folder, (None, now))
    if seen != beat:
        since = now
    _SEEN[folder] = (beat, since)
    return now - since >= STALE_SECONDS
