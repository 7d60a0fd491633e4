"""The process that trains one run: `python -m ctkd_core.distill.worker RUN_FOLDER`.

Waits for its device, loads both models, measures, trains, measures again, and writes each change into the run folder.
Exit codes are those of `background.attempt`. SIGTERM and the file control/cancel both mean: stop after this step, keep
a checkpoint.
"""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from ctkd_core import files
from ctkd_core.background.attempt import (
    FAILED,
    USAGE,
    Attempt,
    attend,
    explain_fault,
    folder_and_number,
    log,
    lower_priority,
    out_of_memory,
)
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.devices import cpu_count, slots
from ctkd_core.distill.runs import Run
from ctkd_core.distill.status import RunStatus
from ctkd_core.distill.sweeps import queue
from ctkd_core.distill.training.processes import refuse_another_number, world_size
from ctkd_core.distill.working_folder import enter
from ctkd_core.errors import CtkdError, RunError

POLL_SECONDS = 0.5
_PEERS = ("Connection closed by peer", "Connection reset by peer", "NCCL", "ProcessGroup")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_OURS = "CTKD_THREADS_SET"  # in the environment: those of them that a run's process set
# What torch says of a file that ends too soon, in place of the system's reason.
_CUT_SHORT = ("PytorchStreamWriter", "unexpected pos", "iostream error")
_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up", errno.EFBIG: "a file got too big"}


def main(arguments: list[str] | None = None) -> int:
    """Run the folder named on the command line; returns the exit code."""
    found = folder_and_number(sys.argv[1:] if arguments is None else arguments)
    if found is None:
        print("usage: python -m ctkd_core.distill.worker RUN_FOLDER [ATTEMPT]", file=sys.stderr)
        return USAGE
    folder, number = found
    lower_priority()
    run = Run(folder.resolve())
    enter(run.dir)
    return execute(run, number=number)


def run_here(run: Run) -> Run:
    """Train in this process. Raises RunError when the run fails; a cancelled run is returned."""
    if execute(run, lambda: False) == FAILED:
        raise RunError(f"run {run.id!r} failed: {run.status().message}")
    return run


def execute(run: Run, terminated: Callable[[], bool] | None = None, number: int | None = None) -> int:
    """The whole life of one attempt; returns the exit code. Every ending is written into the status.

    `terminated` is asked whether to stop, besides the file control/cancel; None in a process of its own, which stops
    on a signal.
    """

    def train_in_slot(attempt: Attempt[RunStatus]) -> dict[str, Any]:
        log(f"{time.strftime('%H:%M:%S')} Attempt {attempt.status.attempt}, process {os.getpid()}.")
        with _slot(run, attempt):
            processes = world_size()
            refuse_another_number(run.dir, run.processes, processes)
            # Writing it reads the status again: a run that was finished or taken over meanwhile isn't trained.
            doing = attempt.status.doing("Loading libraries.")
            attempt.begin(state="starting", message=doing, processes=processes)
            _limit_threads(run.config)
            from ctkd_core.distill.session import train

            step = train(run, attempt)
        return {"step": step, "message": f"Finished after {step} steps."}

    return attend(run.dir, RunStatus, train_in_slot, number, terminated, lambda fault: explain(fault, run))


def explain(fault: BaseException, run: Run) -> str:
    """One sentence a user can act on."""
    cause: BaseException | None = fault
    while cause is not None:
        number = getattr(cause, "errno", None)
        text = str(cause)
        for code, words in _FULL.items():
            if number == code or os.strerror(code) in text or f"os error {code}" in text:
                return (
                    f"{words[0].upper()}{words[1:]} while writing under {str(run.dir)!r}. What was written is kept; "
                    "free some space and resume the run."
                )
        cause = cause.__cause__ or cause.__context__
    if isinstance(fault, RuntimeError) and any(word in str(fault) for word in _CUT_SHORT):
        return (
            f"A file under {str(run.dir)!r} couldn't be written whole: the disk, or a quota, is full. What was written "
            "is kept; free some space and resume the run."
        )
    if not isinstance(fault, CtkdError) and any(word in str(fault) for word in _PEERS):
        return "another process of this run ended or can't be reached; see what it printed, then resume the run."
    if not isinstance(fault, CtkdError) and out_of_memory(fault):
        config = run.config
        return (
            f"out of memory at batch_size {config.batch_size} and max_length {config.max_length}; halve batch_size "
            "(and double accumulation), or shorten max_length."
        )
    return explain_fault(fault)


@contextmanager
def _slot(run: Run, attempt: Attempt[RunStatus]) -> Iterator[None]:
    """Hold the devices alone. A dead holder frees it: the operating system drops the lock with the process."""
    from filelock import FileLock, Timeout

    locks = [(each, place) for each in slots(run.config.device) for place in _places(run, each)]
    with ExitStack() as end:
        end.callback(_call_next, run)  # last, when the devices are free
        held, waits_for = end.enter_context(ExitStack()), ""
        got = 0
        while got < len(locks):
            device, place = locks[got]
            if device != waits_for:
                waits_for = device
                attempt.update(message=attempt.status.doing(f"Waiting for {device}: one run trains on it at a time."))
            attempt.check()
            if _older_waits(run):  # perhaps for one of those that are held here
                held.close()
                got = 0
                time.sleep(POLL_SECONDS)
                continue
            lock = FileLock(place)
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                lock.acquire(timeout=POLL_SECONDS)
                held.callback(lock.release)
            except Timeout:
                continue
            except OSError:
                if place == _places(run, device)[1]:
                    raise
                # The folder's, which somebody else may have made: the home's lock has to do.
            got += 1
        _call_next(run)
        yield


def _places(run: Run, device: str) -> tuple[Path, Path]:
    """The locks of a device: one for all runs of this folder on this computer, whichever home they have, then the
    home's, for runs of all folders. Another computer that shares the folder has devices of its own."""
    name = f"{device.replace(':', '-')}.lock"
    computer = hashlib.sha256(platform.node().encode(errors="surrogatepass")).hexdigest()[:12]
    return run.dir.parent / ".slots" / f"{computer}-{name}", files.home() / "slots" / name


def _call_next(run: Run) -> None:
    """Start the process of the next run of the queue, where none waits; that it fails is no fault of this run."""
    with suppress(CtkdError, OSError):
        queue.start_waiting(run.dir.parent, besides=run)


def _older_waits(run: Run) -> bool:
    """Whether another run comes before this one on one of its devices and is still waiting."""
    return queue.others_first(run)


def _limit_threads(config: RunConfig) -> None:
    """Threads of libraries that read them when they are loaded. What a user set stays; what another run's process set,
    whose environment this one has inherited, doesn't."""
    threads = config.threads or cpu_count()
    ours = os.environ.get(_OURS, "").split()
    names = [name for name in _THREADS if name not in os.environ or name in ours]
    os.environ.update(dict.fromkeys(names, str(threads)))
    os.environ[_OURS] = " ".join(names)


if __name__ == "__main__":
    sys.exit(main())
