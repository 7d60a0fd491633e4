"""Where a run stands: one small JSON file, replaced as a whole, with a heartbeat.

The worker is the only writer while it lives. "lost" is never written by it: a reader concludes it when the process
is gone, so that a power cut or `kill -9` shows up without anybody having had the time to write it down.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from ctkd_core.background.processes import process_alive

STATES = ("queued", "starting", "running", "finished", "failed", "cancelled", "lost")
ENDED = frozenset({"finished", "failed", "cancelled", "lost"})
HEARTBEAT_SECONDS = 2.0
STALE_SECONDS = 30.0  # older than this and no such process: lost


class Cancelled(Exception):  # noqa: N818 - not an error
    """Somebody asked the run to stop. Defined here because worker.py, run as a program, is another module."""


@dataclass(frozen=True)
class RunStatus:
    """One moment of a run. Times are seconds since the epoch.

    pid, pid_created  the worker and when that process began: a number alone may belong to a later process
    detached          False when the run lives inside a process that does other things too (never killed)
    """

    state: str = "queued"
    step: int = 0
    total_steps: int = 0
    message: str = ""
    heartbeat: float = 0.0
    pid: int | None = None
    pid_created: float | None = None
    detached: bool = True
    attempt: int = 1
    created: float = 0.0
    started: float | None = None
    ended: float | None = None
    last_checkpoint: int | None = None
    host: str = ""

    @property
    def ended_already(self) -> bool:
        """Whether nothing more will happen unless somebody resumes the run."""
        return self.state in ENDED

    @property
    def seconds(self) -> float | None:
        """How long this attempt has had its device (or had, when it ended); None before that."""
        if self.started is None:
            return None
        end = self.ended or (self.heartbeat if self.state == "lost" else time.time())
        return max(0.0, end - self.started)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in status.json."""
        return asdict(self)


def read_status(run_dir: Path) -> RunStatus:
    """The status of the run in `run_dir`, with "lost" concluded where no process is left."""
    try:
        data = json.loads((run_dir / "status.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        data = {}
    known = {f.name for f in fields(RunStatus)}
    status = RunStatus(**{k: v for k, v in data.items() if k in known})
    if status.state in ENDED:
        return status
    return _with_loss_noticed(status, run_dir)


def _with_loss_noticed(status: RunStatus, run_dir: Path) -> RunStatus:
    pid, created = status.pid, status.pid_created
    launched = read_launch(run_dir)
    if launched and launched.get("attempt", 1) >= status.attempt and pid is None:
        pid, created = launched.get("pid"), launched.get("pid_created")
    here = status.host in ("", platform.node())
    if pid is None or (process_alive(pid, created) if here else _alive_elsewhere(status)):
        return status
    reread = _read_again(run_dir, status)  # it may have ended properly between the two looks
    if reread.state in ENDED:
        return reread
    where = f"at step {status.step} of {status.total_steps}" if status.step else "before its first step"
    message = f"The process {pid} ended without a word {where}: killed, or the machine went down. Resume it."
    return replace(status, state="lost", message=message)


def _alive_elsewhere(status: RunStatus) -> bool:
    # Processes of another computer (a shared folder) can't be seen: only the heartbeat speaks.
    return time.time() - status.heartbeat < STALE_SECONDS


def _read_again(run_dir: Path, otherwise: RunStatus) -> RunStatus:
    try:
        data = json.loads((run_dir / "status.json").read_text(encoding="utf-8"))
        return replace(otherwise, **{k: data[k] for k in ("state", "message", "step", "ended") if k in data})
    except (OSError, ValueError):
        return otherwise


def write_status(run_dir: Path, status: RunStatus) -> None:
    """Replace status.json as a whole: a reader sees the old one or the new one, never half of it."""
    write_json(run_dir / "status.json", status.to_dict())


def write_json(path: Path, data: Any) -> None:
    """Write JSON beside `path` and rename it into place."""
    # One name per process and thread, so that two writers can't mix their bytes.
    beside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        beside.write_text(json.dumps(data, indent=1, ensure_ascii=False, default=str), encoding="utf-8")
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def read_launch(run_dir: Path) -> dict[str, Any] | None:
    """What the launcher noted about the process it started, None if nobody launched the run."""
    try:
        return json.loads((run_dir / "control" / "launch.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


class StatusKeeper:
    """The worker's hold on status.json: changes are written at once, a thread renews the heartbeat.

    The thread runs in Python beside long torch calls, which release the interpreter lock.
    """

    def __init__(self, run_dir: Path, status: RunStatus, on_beat: Callable[[], None] | None = None) -> None:
        self._run_dir = run_dir
        self._status = status
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._on_beat = on_beat
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    @property
    def status(self) -> RunStatus:
        """The latest status."""
        return self._status

    def start(self) -> StatusKeeper:
        """Write the first status and begin the heartbeat."""
        self.update()
        self._thread.start()
        return self

    def update(self, **changes: Any) -> None:
        """Change some fields and write the file now."""
        with self._lock:
            self._status = replace(self._status, heartbeat=time.time(), **changes)
            write_status(self._run_dir, self._status)

    def note(self, **changes: Any) -> None:
        """Change some fields; the next heartbeat writes them."""
        with self._lock:
            self._status = replace(self._status, **changes)

    def close(self, **changes: Any) -> None:
        """End the heartbeat and write the last status. On a full disk the last attempt may fail: then it raises."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        self.update(**changes)

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            try:
                self.update()
            except OSError:
                continue  # a full disk: training may find room again, and the reader checks the process itself
            if self._on_beat:
                self._on_beat()
