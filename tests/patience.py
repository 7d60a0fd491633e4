"""How long tests wait, in one place, and the one way to poll.

Every wait ends when its condition holds, so a long limit costs nothing: it only says after what time something must
have gone wrong. Both hold on a machine ten times busier than two idle cores. pytest's own limit (pyproject.toml) lies
above them.
"""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

PATIENCE = 300.0  # seconds for what takes up to 20 idle: a page, a child process, a small job
LONG = 3000.0  # seconds for what takes minutes idle: bundled models that train or answer
SOONEST, LATEST = 0.02, 0.2  # seconds between two looks: a look at a run reads files, and the run needs the processor


def wait_for(condition: Callable[[], Found], seconds: float = PATIENCE, what: str = "the condition") -> Found:
    """Poll until `condition` is true and return its value; fail after `seconds`."""
    end = time.monotonic() + seconds
    pause = SOONEST
    while not (value := condition()):
        assert time.monotonic() < end, f"{what} didn't come true within {seconds:g} s"
        time.sleep(pause)
        pause = min(1.2 * pause, LATEST)
    return value


def is_healthy(address: str) -> bool:
    """Whether the app answers under this address."""
    try:
        with urllib.request.urlopen(f"{address}/_stcore/health", timeout=PATIENCE) as answer:
            return answer.read() == b"ok"
    except OSError:
        return False
