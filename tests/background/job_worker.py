"""A worker for the tests of jobs: what it does is in its order."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from ctkd_core.background.jobs import Teller, work
from ctkd_core.errors import CtkdError


def do(order: dict[str, Any], folder: Path, tell: Teller) -> str:
    """finish, fail, crash, die, or go on until somebody cancels."""
    tell(0.5, "half way")
    match order["what"]:
        case "fail":
            raise CtkdError("that can't be; choose another.")
        case "crash":
            raise ZeroDivisionError("by zero")
        case "die":
            os._exit(9)
        case "wait":
            for _ in range(600):
                tell(0.7, "waiting")
                time.sleep(0.1)
        case "deaf":
            time.sleep(60)
    (folder / "done").write_text(order["what"])
    return "It is done."


if __name__ == "__main__":
    sys.exit(work(sys.argv[1:], do))
