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
from functools import lru_cache
from pathlib import Path

GRACE_SECONDS = 10.0  # for the process to end by itself, then again to heed SIGTERM
# What torchrun and accelerate tell the processes of one launch: a process that outlives them belongs to none.
_OF_A_LAUNCH = frozenset(
    {
        *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
        *("GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_NAME", "ROLE_WORLD_SIZE"),
    }
)
_LAUNCHERS = ("TORCHELASTIC_", "ACCELERATE_", "FSDP_")


def start_detached(words: Sequence[str], log: Path, environment: Mapping[str, str]) -> int:
    """Start this interpreter with `words` as a process that outlives the caller; returns its id.

    Its output is added to `log`; `environment` is laid over the caller's, without what a launcher of several processes
    told that one.
    """
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, *words],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # its own process group: a signal to the terminal doesn't reach it
            env=_without_launch(os.environ) | dict(environment),
        )
    # A long-lived caller (the app) would otherwise keep one zombie a process.
    threading.Thread(target=process.wait, name=f"wait-{process.pid}", daemon=True).start()
    return process.pid


def _without_launch(found: Mapping[str, str]) -> dict[str, str]:
    # torchrun sets one thread for each of several processes where nobody says otherwise.
    threads = {"OMP_NUM_THREADS"} if "TORCHELASTIC_RUN_ID" in found and found.get("OMP_NUM_THREADS") == "1" else set()
    left_out = _OF_A_LAUNCH | threads
    return {k: v for k, v in found.items() if k not in left_out and not k.startswith(_LAUNCHERS)}


def process_start(pid: int) -> str:
    """What tells process `pid` from earlier and later ones of that number; "" when there is none.

    On Linux "boot <boot id> <clock ticks between boot and start>", elsewhere "epoch <seconds>" as the system recorded
    them at the start. Neither changes when somebody sets the clock.
    """
    if sys.platform.startswith("linux"):
        with suppress(OSError, ValueError, IndexError):
            return _start_since_boot(pid)
        if Path("/proc/self/stat").exists():
            return ""
    import psutil

    with suppress(psutil.Error, ValueError, OverflowError):
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE:
            return f"epoch {process.create_time():.2f}"
    return ""


def process_alive(pid: int, start: str | float | None) -> bool:
    """Whether process `pid` is running and is still the one that `process_start` described as `start`.

    A number is the time of its start in seconds since the epoch, as older versions noted it; None fits any process.
    """
    now = process_start(pid)
    if not now or start is None or isinstance(start, str):
        return bool(now) and start in (None, "", now)
    import psutil

    try:
        return abs(psutil.Process(pid).create_time() - start) < 1.0
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


@lru_cache(maxsize=1)
def boot_id() -> str:
    """Names the time between two starts of this machine; "" where the system doesn't tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _start_since_boot(pid: int) -> str:
    # The name in parentheses may hold anything, so fields are counted behind the last one: state is the 3rd, start the
    # 22nd. A zombie has ended; only its parent hasn't asked yet.
    words = Path(f"/proc/{pid:d}/stat").read_bytes().rpartition(b")")[2].split()
    return "" if words[0] in (b"Z", b"X") else f"boot {boot_id()} {int(words[19])}"


def stop_process(pid: int, start: str | float | None, grace: float = GRACE_SECONDS) -> bool:
    """Wait `grace` seconds for the process to end, then SIGTERM its group, wait again, then SIGKILL.

    No wait after a signal is longer than GRACE_SECONDS; the last one is that long whatever `grace` is, because a large
    process takes a while to go.

    Only a process with that id *and* start time is signalled: ids are used again. True when it's gone.
    """
    again = min(grace, GRACE_SECONDS)
    for step_signal, wait in ((None, grace), (signal.SIGTERM, again), (signal.SIGKILL, GRACE_SECONDS)):
        if step_signal is not None and process_alive(pid, start):
            with suppress(ProcessLookupError, PermissionError):
                _signal_group(pid, step_signal)
        if _gone_within(pid, start, wait):
            return True
    return False


# For processes of ours. With `-m` and `-c` Python else looks for modules in the current folder first, which is the
# user's: a tokenizers.py or code.py of theirs would be run in place of the library.
OWN_MODULES = {"PYTHONSAFEPATH": "1"}


def child_environment() -> dict[str, str]:
    """What a process of ours finds in its environment, to be laid over the caller's."""
    package_root = str(Path(__file__).resolve().parents[2])
    # Whole, since a process may go into another folder and start one there; once, since each run starts the next.
    given = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]  # noqa: PTH100
    paths = dict.fromkeys([package_root, *given])
    return {
        "PYTHONPATH": os.pathsep.join(paths),  # the same code, wherever it was started
        **OWN_MODULES,
        "PYTHONUNBUFFERED": "1",
        "TQDM_DISABLE": "1",  # its output is a log, where a progress bar is a line for each of its states
        # Threads that wait by spinning starve each other when another program is busy: seven times slower was seen.
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def _signal_group(pid: int, number: signal.Signals) -> None:
    # The process leads a session of its own; if it doesn't, the group is somebody else's and only it is signalled.
    if os.getpgid(pid) == pid:
        os.killpg(pid, number)
    else:
        os.kill(pid, number)


def _gone_within(pid: int, start: str | float | None, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while process_alive(pid, start):
        if time.monotonic() >= end:
            return False
        time.sleep(0.1)
    return True
