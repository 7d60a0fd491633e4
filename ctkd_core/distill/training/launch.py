"""One run in several processes, as `torchrun` and `accelerate launch` start them.

The first process owns the run's folder: it holds the lock, waits for the devices, writes status, metrics and
checkpoints, and measures. The others look at its status until it has begun, then compute their part of every step and
write nothing. All of them must see the folder. Where one dies, whoever launched them ends the others.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from ctkd_core.background.attempt import CANCELLED, CODES, FAILED, FINISHED, Attempt, log
from ctkd_core.background.progress import Cancelled
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.runs import Run
from ctkd_core.distill.status import RunStatus
from ctkd_core.distill.training import processes
from ctkd_core.distill.working_folder import enter
from ctkd_core.errors import CtkdError, RunError

POLL_SECONDS = 0.2
# The others wait in a collective while the first one measures. Where one dies, the launcher ends them anyway.
LONGEST_WAIT = timedelta(days=1)


class Follower(Attempt[RunStatus]):
    """What the other processes have in place of an attempt: it writes nothing; the first one says when to stop."""

    def start(self) -> Follower:
        """Nothing to start."""
        return self

    def begin(self, **changes: Any) -> None:
        """As `note`."""
        self.note(**changes)

    def update(self, **changes: Any) -> None:
        """As `note`."""
        self.note(**changes)

    def stop_asked(self) -> bool:
        """No: the first process is asked."""
        return False

    def close(self, **changes: Any) -> None:
        """As `note`."""
        self.note(**changes)


def run_together(config: RunConfig, first: Callable[[], Run]) -> tuple[Run, int]:
    """Train one run in all processes of this launch; `first` gives it, in the first process alone.

    Returns the run and this process's exit code. Raises what `first` raises, in every process.
    """
    join(config.device)
    fault: CtkdError | None = None
    told: tuple[str, str] = ("", "")
    if processes.rank() == 0:
        try:
            told = (str(first().dir), "")
        except CtkdError as found:
            fault, told = found, ("", str(found))
    folder, said = processes.gathered(told)[0]
    if fault is not None:
        raise fault
    if said:
        raise RunError(said)
    run = Run(Path(folder))
    enter(run.dir)
    try:
        return run, _lead(run) if processes.rank() == 0 else follow(run)
    finally:
        leave()


def join(device: str) -> None:
    """Meet the other processes of this launch."""
    import torch
    from accelerate import PartialState

    on_cpu = device == "cpu" or (device == "auto" and not torch.cuda.is_available())
    PartialState(cpu=on_cpu, timeout=LONGEST_WAIT, **({"backend": "gloo"} if on_cpu else {}))


def leave() -> None:
    """Part from the other processes."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()


def _lead(run: Run) -> int:
    from ctkd_core.distill.worker import execute

    return execute(run)


def follow(run: Run) -> int:
    """Wait until the first process has begun, then train with it; returns the exit code."""
    while (status := run.status()).state not in ("starting", "running"):
        if status.ended_already:
            return CODES.get(status.state, FAILED)
        time.sleep(POLL_SECONDS)
    from ctkd_core.distill.session import train
    from ctkd_core.distill.worker import explain

    try:
        train(run, Follower(run.dir, status))
    except Cancelled:
        return CANCELLED
    except Exception as fault:  # what ends one process ends the others: no bug of theirs
        log(f"{traceback.format_exc()}process {processes.rank()} ends here: {explain(fault, run)}")
        return FAILED
    return FINISHED
