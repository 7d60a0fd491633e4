"""A child process that reads files of strangers or imports what its caller must not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ctkd_core.errors import TokenizerError


def run_child(arguments: Sequence[str], failure: str, timeout: float) -> str:
    """stdout of `python -m ctkd_core.tokenizers.conversion ARGUMENTS`. Raises TokenizerError `failure: reason`."""
    import os

    # The child finds this package wherever it was loaded from; it must not look at the network.
    paths = [str(Path(__file__).resolve().parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "ctkd_core.tokenizers.child_main", *arguments]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        raise TokenizerError(f"{failure}: it took longer than {timeout:g} s.") from None
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1].strip() if lines else f"the process ended with code {done.returncode}"
        raise TokenizerError(f"{failure}: {reason[:400]}")
    return done.stdout
