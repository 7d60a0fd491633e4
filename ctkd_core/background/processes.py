"""Processes of our own: whether one still lives, what it inherits, and how it's stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

GRACE_SECONDS = 10.0  # for the process to end by itself, then again to heed SIGTERM


def start_detached(words: Sequence[str], log: Path, environment: Mapping[str, str]) -> int:
    """Start this interpreter with `words` as a process that outlives the caller; returns its id.

    Its output is added to `log`; `environment` is laid over the caller's.
    """
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, *words],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # its own process group: a signal to the terminal doesn't reach it
            env=os.environ | dict(environment),
        )
    # A long-lived caller (the app) would otherwise keep one zombie a process.
    threading.Thread(target=process.wait, name=f"wait-{process.pid}", daemon=True).start()
    return process.pid


def process_alive(pid: int, created: float | None) -> bool:
    """Whether process `pid` is running and is still the one that began at `created`."""
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return created is None or abs(process.create_time() - created) < 1.0
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def process_created(pid: int) -> float | None:
    """When process `pid` began (seconds since the epoch), None when it is gone already."""
    import psutil

    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return None


def stop_process(pid: int, created: float | None, grace: float = GRACE_SECONDS) -> bool:
    """Wait `grace` seconds for the process to end, then SIGTERM its group, wait again, then SIGKILL.

    Only a process with that id *and* start time is signalled: ids are used again. True when it's gone.
    """
    for step_signal in (None, signal.SIGTERM, signal.SIGKILL):
        if step_signal is not None and process_alive(pid, created):
            with suppress(ProcessLookupError, PermissionError):
                _signal_group(pid, step_signal)
        if _gone_within(pid, created, grace):
            return True
    return False


def child_environment() -> dict[str, str]:
    """What a process of ours finds in its environment, to be laid over the caller's."""
    package_root = str(Path(__file__).resolve().parents[2])
    paths = [package_root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        "PYTHONPATH": os.pathsep.join(paths),  # the same code, wherever it was started
        "PYTHONUNBUFFERED": "1",
        # Threads that wait by spinning starve each other when another program is busy: seven times slower was seen.
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def _signal_group(pid: int, number: signal.Signals) -> None:
    # The process leads a session of its own; if it doesn't, the group is somebody else's and only it is signalled.
    if os.getpgid(pid) == pid:
        os.killpg(pid, number)
    else:
        os.kill(pid, number)


def _gone_within(pid: int, created: float | None, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while process_alive(pid, created):
        if time.monotonic() >= end:
            return False
        time.sleep(0.1)
    return True
