"""Starting and stopping the worker: an operating-system process of its own that outlives whoever asked for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from ctkd_core.distill.status import process_alive, write_json

GRACE_SECONDS = 10.0  # for the worker to notice the cancel file, then again to heed SIGTERM
NICENESS = 5  # the browser app keeps breathing on a small machine


def start_worker(run_dir: Path, attempt: int, environment: dict[str, str] | None = None) -> int:
    """Start the detached worker for `run_dir` and return its process id.

    Its output goes to log.txt. `environment` is laid over the caller's. The id is noted in control/launch.json, not in
    status.json, which only the worker writes from here on.
    """
    import psutil

    log = (run_dir / "log.txt").open("ab")
    with log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ctkd_core.distill.worker", str(run_dir)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # its own process group: a signal to the terminal doesn't reach it
            env=os.environ | worker_environment() | (environment or {}),
        )
    try:
        created: float | None = psutil.Process(process.pid).create_time()
    except psutil.NoSuchProcess:
        created = None
    write_json(
        run_dir / "control" / "launch.json",
        {"pid": process.pid, "pid_created": created, "attempt": attempt, "time": time.time()},
    )
    _reap_when_done(process)
    return process.pid


def worker_environment() -> dict[str, str]:
    """What the worker's libraries read from the environment."""
    package_root = str(Path(__file__).resolve().parents[2])
    paths = [package_root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        "PYTHONPATH": os.pathsep.join(paths),  # the same code, wherever it was started
        "PYTHONUNBUFFERED": "1",
        # Threads that wait by spinning starve each other when another program is busy: seven times slower was seen.
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TQDM_DISABLE": "1",
    }


def request_cancel(run_dir: Path) -> None:
    """Ask the worker to stop after its current step."""
    (run_dir / "control").mkdir(exist_ok=True)
    (run_dir / "control" / "cancel").write_text("cancel\n")


def stop_worker(pid: int, created: float | None, grace: float = GRACE_SECONDS) -> bool:
    """Wait `grace` seconds for the worker to end, then SIGTERM its group, wait again, then SIGKILL.

    Only a process with that id *and* start time is signalled: ids are used again. True when it's gone.
    """
    for step_signal in (None, signal.SIGTERM, signal.SIGKILL):
        if step_signal is not None and process_alive(pid, created):
            with suppress(ProcessLookupError, PermissionError):
                _signal_group(pid, step_signal)
        if _gone_within(pid, created, grace):
            return True
    return False


def _signal_group(pid: int, number: signal.Signals) -> None:
    # The worker leads a session of its own; if it doesn't, the group is somebody else's and only it is signalled.
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


def _reap_when_done(process: subprocess.Popen[bytes]) -> None:
    # A long-lived launcher (the app) would otherwise keep one zombie a run.
    import threading

    threading.Thread(target=process.wait, name=f"wait-{process.pid}", daemon=True).start()
