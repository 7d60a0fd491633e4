"""Runs that the file of a view brought: each set of them in a folder of its own, apart from the runs of this machine.

The folder is named by what it holds, so the same file opened twice is there once. It is a folder of runs like any other
(`ctkd runs ls --runs-dir`), but no process works in it, and pages change nothing in it.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ctkd_core.distill.held_runs import MOST_ALL, HeldRun, write
from ctkd_core.distill.runs import RunStore
from ctkd_core.errors import CtkdError
from ctkd_core.files import home

_NAME = re.compile(r"[0-9a-f]{16}")


def name_of(runs: Sequence[HeldRun]) -> str:
    """The name of these runs in addresses: 16 hex digits."""
    content = json.dumps([run.model_dump(mode="json") for run in runs], sort_keys=True)
    return hashlib.sha256(content.encode("utf-8", "replace")).hexdigest()[:16]


def store(name: str) -> RunStore:
    """The runs with this name. Raises CtkdError where they aren't here."""
    if not _NAME.fullmatch(name) or not _place(name).is_dir():
        raise CtkdError("these runs came from the file of a view that isn't here (any more); open the file again.")
    return RunStore(_place(name))


def keep(runs: Sequence[HeldRun]) -> None:
    """Write runs of a file, all of them or none. Raises CtkdError for what isn't sound, OSError for a full disk."""
    folder = _place(name_of(runs))
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
    try:
        room = MOST_ALL
        for run in runs:
            room -= write(run, part / run.id, room)
        part.chmod(0o755)
        part.rename(folder)
    except OSError:
        if not folder.is_dir():  # else somebody opened the same file meanwhile
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def forget(name: str) -> None:
    """Remove the runs with this name, if they are here."""
    if _NAME.fullmatch(name):
        shutil.rmtree(_place(name), ignore_errors=True)


def _place(name: str) -> Path:
    return home() / "views" / "runs" / name
