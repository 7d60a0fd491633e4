"""A child process that reads files of strangers, within limits, or imports what its caller must not."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ctkd_core.background.processes import OWN_MODULES
from ctkd_core.errors import TerminatedError, TokenizerError

ENDED = (-signal.SIGTERM, -signal.SIGINT)  # exit codes of a child that was told to end, as whoever stops a group does


def run_child(arguments: Sequence[str], failure: str, timeout: float) -> str:
    """stdout of `python -m ctkd_core.tokenizers.child_main ARGUMENTS`. Raises TokenizerError `failure: reason`.

    TerminatedError where somebody told the child to end.
    """
    import os

    # The child finds this package wherever it was loaded from; it must not look at the network.
    paths = [str(Path(__file__).resolve().parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        **OWN_MODULES,
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "MALLOC_ARENA_MAX": "2",  # each arena reserves address space, which may be limited
    }
    command = [sys.executable, "-m", "ctkd_core.tokenizers.child_main", *arguments]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        raise TokenizerError(f"{failure}: it took longer than {timeout:g} s.") from None
    if done.returncode in ENDED:
        raise TerminatedError(f"{failure}: its process was told to end; try again.")
    if done.returncode != 0:
        raise TokenizerError(f"{failure}: {_reason(done.stderr, done.returncode)}")
    return done.stdout


def _reason(errors: str, code: int) -> str:
    lines = [line for line in errors.splitlines() if line.strip()]
    # Without memory the library ends the process, and Python has an error without words.
    if "memory allocation of" in errors or (lines and lines[-1].strip() == "MemoryError"):
        return "it needs more memory than such a file may take."
    return lines[-1].strip()[:400] if lines else f"the process ended with code {code}"


def limit_memory(more: int) -> None:
    """Let this process take `more` bytes of address space than it has now; does nothing where no such limit exists."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
