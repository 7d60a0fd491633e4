"""Starting and stopping the worker: an operating-system process of its own that outlives whoever asked for it."""

from __future__ import annotations

import time
from pathlib import Path

from ctkd_core.background.processes import child_environment, process_created, start_detached
from ctkd_core.distill.status import write_json

NICENESS = 5  # the browser app keeps breathing on a small machine


def start_worker(run_dir: Path, attempt: int, environment: dict[str, str] | None = None) -> int:
    """Start the detached worker for `run_dir` and return its process id.

    Its output goes to log.txt. `environment` is laid over the caller's. The id is noted in control/launch.json, not in
    status.json, which only the worker writes from here on.
    """
    words = ["-m", "ctkd_core.distill.worker", str(run_dir)]
    pid = start_detached(words, run_dir / "log.txt", worker_environment() | (environment or {}))
    write_json(
        run_dir / "control" / "launch.json",
        {"pid": pid, "pid_created": process_created(pid), "attempt": attempt, "time": time.time()},
    )
    return pid


def worker_environment() -> dict[str, str]:
    """What the worker's libraries read from the environment."""
    return child_environment() | {
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TQDM_DISABLE": "1",
    }


def request_cancel(run_dir: Path) -> None:
    """Ask the worker to stop after its current step."""
    (run_dir / "control").mkdir(exist_ok=True)
    (run_dir / "control" / "cancel").write_text("cancel\n")
