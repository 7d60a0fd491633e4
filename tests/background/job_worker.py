"""A worker for the tests of the life cycle: what it does is in its order."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from pydantic.dataclasses import dataclass

from ctkd_core.background.attempt import work
from ctkd_core.background.progress import Progress
from ctkd_core.errors import CtkdError
from ctkd_core.tokenizers.child import run_child


@dataclass(frozen=True)
class Order:
    what: str


def do(order: Order, folder: Path, report: Progress) -> str:
    """finish, fail, crash, die, go on until somebody cancels, wait for a child, or look at nothing."""
    with (folder / "began").open("a") as file:
        file.write(f"{os.getpid()}\n")
    report(0.5, "half way")
    match order.what:
        case "fail":
            raise CtkdError("that can't be; choose another.")
        case "crash":
            raise ZeroDivisionError("by zero")
        case "die":
            os._exit(9)
        case "wait":
            for _ in range(12_000):
                report(0.7, "waiting")
                time.sleep(0.1)
        case "child":  # one that never ends: nobody writes into the pipe that it reads
            os.mkfifo(folder / "tokenizer.json")
            run_child(["read", str(folder / "tokenizer.json")], "it can't be read", 1200)
        case "stuck":
            time.sleep(1200)
    (folder / "done").write_text(order.what)
    return "It is done."


if __name__ == "__main__":
    sys.exit(work(sys.argv[1:], do, Order))
