"""The process that builds one vocabulary map: `python -m ctkd_core.vocabulary.build_worker FOLDER`.

Exit codes: 0 finished, 4 failed, 130 cancelled. `build` says what is in the folder.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from ctkd_core import catalog
from ctkd_core.errors import CtkdError, ProjectionError
from ctkd_core.processes import process_created

FINISHED, FAILED, CANCELLED = 0, 4, 130
NICENESS = 5  # the browser app keeps breathing on a small machine
INTERVAL_SECONDS = 0.1  # between two writings of status.json
# Loading tokenizers comes before the map; their share of the bar.
LOADED = 0.1


class Cancelled(Exception):  # noqa: N818 - not an error
    """Somebody asked the build to stop."""


class Teller:
    """Writes status.json, at most ten times a second, and raises Cancelled once somebody asked for that."""

    def __init__(self, folder: Path, attempt: str) -> None:
        self._folder = folder
        self._base = {"attempt": attempt, "pid": os.getpid(), "created": process_created(os.getpid())}
        self._written = 0.0
        self._share = 0.0

    def __call__(self, share: float, sentence: str) -> None:
        """A Progress for `project`: 0 to 1 of the map itself."""
        if (self._folder / "cancel").exists():
            raise Cancelled
        self._share = max(self._share, LOADED + (1 - LOADED) * min(max(share, 0.0), 1.0))
        if time.monotonic() - self._written >= INTERVAL_SECONDS:
            self.say("running", sentence)

    def say(self, state: str, sentence: str) -> None:
        """Write the status now."""
        share = 1.0 if state == "finished" else self._share
        status = self._base | {"state": state, "share": share, "sentence": sentence, "time": time.time()}
        catalog.write_atomic(self._folder / "status.json", json.dumps(status))
        self._written = time.monotonic()


def main(arguments: list[str] | None = None) -> int:
    """Build what the folder named on the command line asks for; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1:
        print("usage: python -m ctkd_core.vocabulary.build_worker FOLDER", file=sys.stderr)
        return 2
    with suppress(OSError):
        os.nice(NICENESS)
    folder = Path(arguments[0])
    order: dict[str, Any] = json.loads((folder / "order.json").read_text(encoding="utf-8"))
    tell = Teller(folder, order["attempt"])
    try:
        state, sentence, code = "finished", _build(order, tell), FINISHED
    except Cancelled:
        state, sentence, code = "cancelled", "Cancelled; nothing was kept.", CANCELLED
    except BaseException as fault:
        traceback.print_exc()
        state, sentence, code = "failed", explain(fault), FAILED
    try:
        tell.say(state, sentence)
    except OSError as fault:  # a full disk: the reader finds the process gone and says "lost"
        print(f"the last status can't be written: {fault}", file=sys.stderr)
        return FAILED
    return code


def _build(order: dict[str, Any], tell: Teller) -> str:
    tell.say("running", "Loading both tokenizers")
    from ctkd_core.encoding import load_tokenizer
    from ctkd_core.vocabulary.store import cached, cached_project

    student, teacher = load_tokenizer(order["student"]), load_tokenizer(order["teacher"])
    tell(0.0, "Reading both vocabularies")
    projection = cached_project(student, teacher, order["method"], progress=tell, **order["options"])
    if cached(student, teacher, order["method"], **order["options"]) is None:
        raise ProjectionError(
            f"the map was built, but the cache {str(catalog.cache_dir())!r} can't be written; free some space or mend "
            "the folder's rights, then build it again."
        )
    return f"{projection.matrix.nnz:,} entries."


def explain(fault: BaseException) -> str:
    """One sentence a user can act on."""
    if isinstance(fault, CtkdError):
        return str(fault)
    if isinstance(fault, MemoryError):
        return "Out of memory; close other programs, or choose a map that needs less (exact)."
    if isinstance(fault, OSError):
        return f"The map can't be written or read: {fault}. Free some space or mend the folder's rights, then again."
    first = (str(fault).strip().split("\n") or [""])[0][:300]
    return f"{type(fault).__name__}: {first or 'no message'}. The log of the build has the details."


if __name__ == "__main__":
    sys.exit(main())
