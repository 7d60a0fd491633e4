"""The process that trains one run: `python -m ctkd_core.distill.worker RUN_FOLDER`.

Waits for its device, loads both models, measures, trains, measures again, and writes each change into the run folder.
Exit codes: 0 finished, 4 failed, 130 cancelled. SIGTERM and the file control/cancel both mean: stop after this step,
keep a checkpoint.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ctkd_core.background.processes import process_alive
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.devices import cpu_count, guess_device
from ctkd_core.distill.launch import NICENESS
from ctkd_core.distill.runs import Run
from ctkd_core.distill.status import Cancelled, StatusKeeper
from ctkd_core.errors import CtkdError, RunError

FINISHED, FAILED, CANCELLED = 0, 4, 130
POLL_SECONDS = 0.5
_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up", errno.EFBIG: "a file got too big"}


def main(arguments: list[str] | None = None) -> int:
    """Run the folder named on the command line; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1:
        print("usage: python -m ctkd_core.distill.worker RUN_FOLDER", file=sys.stderr)
        return 2
    terminated: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: terminated.append(number))
    signal.signal(signal.SIGINT, lambda number, _frame: terminated.append(number))
    with suppress(OSError):
        os.nice(NICENESS)
    return execute(Run(Path(arguments[0]).resolve()), lambda: bool(terminated), detached=True)


def run_here(run: Run) -> Run:
    """Train in this process. Raises RunError when the run fails; a cancelled run is returned."""
    if execute(run, lambda: False, detached=False) == FAILED:
        raise RunError(f"run {run.id!r} failed: {run.status().message}")
    return run


def execute(run: Run, terminated: Callable[[], bool], detached: bool) -> int:
    """The whole life of one attempt; returns the exit code. Every ending is written into the status."""
    import psutil

    status = run.status()

    def stop_asked() -> bool:
        return terminated() or (run.dir / "control" / "cancel").exists()

    try:
        keeper = StatusKeeper(run.dir, _first_status(status, psutil.Process().create_time(), detached)).start()
    except OSError as fault:
        print(f"the run folder can't be written: {fault}", file=sys.stderr)
        return FAILED
    try:
        with _slot(run, keeper, stop_asked):
            keeper.update(state="starting", started=time.time(), message="Loading libraries.")
            _limit_threads(run.config)
            from ctkd_core.distill.session import train

            step = train(run, keeper, stop_asked)
        ending = {"state": "finished", "step": step, "message": f"Finished after {step} steps."}
    except (Cancelled, KeyboardInterrupt):
        ending = {"state": "cancelled", "message": f"Cancelled at step {keeper.status.step}; resume goes on."}
    except BaseException as fault:
        _log(traceback.format_exc())
        ending = {"state": "failed", "message": explain(fault, run)}
    return _close(keeper, ending)


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
    if isinstance(fault, CtkdError):
        return str(fault)
    if isinstance(fault, MemoryError) or "out of memory" in str(fault).lower():
        config = run.config
        return (
            f"out of memory at batch_size {config.batch_size} and max_length {config.max_length}; halve batch_size "
            "(and double accumulation), or shorten max_length."
        )
    first = str(fault).strip().split("\n")[0][:300]
    return f"{type(fault).__name__}: {first or 'no message'}. The log has the details."


def _first_status(status: Any, created: float, detached: bool) -> Any:
    import platform
    from dataclasses import replace

    return replace(
        status,
        state="queued",
        message="Waiting for the device.",
        pid=os.getpid(),
        pid_created=created,
        detached=detached,
        ended=None,
        host=platform.node(),
    )


def _close(keeper: StatusKeeper, ending: dict[str, Any]) -> int:
    code = {"finished": FINISHED, "cancelled": CANCELLED}.get(ending["state"], FAILED)
    try:
        keeper.close(ended=time.time(), **ending)
    except OSError as fault:  # the disk is still full: the reader finds the process gone and says "lost"
        _log(f"the last status can't be written: {fault}")
        return FAILED
    return code


@contextmanager
def _slot(run: Run, keeper: StatusKeeper, stop_asked: Callable[[], bool]) -> Iterator[None]:
    """Hold the device alone. A dead holder frees it: the operating system drops the lock with the process."""
    from filelock import FileLock, Timeout

    from ctkd_core import files

    device = guess_device(run.config.device)
    folder = files.home() / "slots"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{device.replace(':', '-')}.lock")
    keeper.update(message=f"Waiting for {device}: one run trains on it at a time.")
    while True:
        if stop_asked():
            raise Cancelled
        try:
            if not _older_waits(run):
                lock.acquire(timeout=POLL_SECONDS)
                break
        except Timeout:
            continue
        time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        lock.release()


def _older_waits(run: Run) -> bool:
    """Whether a run beside this one that wants the same device was queued earlier and is still waiting."""
    for path in run.dir.parent.iterdir():
        if path.name >= run.id or not (path / "status.json").is_file():
            continue
        other = Run(path)
        status = other.status()
        waiting = status.state == "queued" and status.pid is not None and process_alive(status.pid, status.pid_created)
        with suppress(CtkdError):
            if waiting and guess_device(other.config.device) == guess_device(run.config.device):
                return True
    return False


def _limit_threads(config: RunConfig) -> None:
    threads = config.threads or cpu_count()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, str(threads))


def _log(text: str) -> None:
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
