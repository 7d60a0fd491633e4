"""Runs that the file of a view brought: each set of them in a folder of its own, apart from the runs of this machine.

The folder is named by what it holds, so the same file opened twice is there once. It is a folder of runs like any other
(`ctkd runs ls --runs-dir`), but no process works in it, and pages change nothing in it.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from ctkd_core.distill.held_runs import MOST_ALL, HeldRun, write
from ctkd_core.distill.runs import OPENED, Run, RunStore
from ctkd_core.errors import CtkdError
from ctkd_core.files import home, replacing

_NAME = re.compile(r"[0-9a-f]{16}")
_BESIDE = re.compile(r"([0-9a-f]{16}):(.*)", re.DOTALL)


def name_of(runs: Sequence[HeldRun]) -> str:
    """The name of these runs in addresses: 16 hex digits."""
    content = json.dumps([run.model_dump(mode="json") for run in runs], sort_keys=True)
    return hashlib.sha256(content.encode("utf-8", "replace")).hexdigest()[:16]


def store(name: str) -> RunStore:
    """The runs with this name. Raises CtkdError where they aren't here."""
    if not _NAME.fullmatch(name) or not _place(name).is_dir():
        raise CtkdError("these runs came from the file of a view that isn't here (any more); open the file again.")
    return RunStore(_place(name))


def kept() -> list[Run]:
    """The runs of all files that were opened here, newest first."""
    try:
        names = [entry.name for entry in (home() / OPENED).iterdir() if _NAME.fullmatch(entry.name)]
    except OSError:
        return []
    found = [run for name in names for run in RunStore(_place(name)).list()]
    return sorted(found, key=lambda run: run.id, reverse=True)


def word_of(run: Run) -> str:
    """What names a run in an address among runs of other folders: NAME:ID for one that a file brought, else its id."""
    return f"{run.dir.parent.name}:{run.id}" if run.is_opened else run.id


def names_in(words: Iterable[str]) -> set[str]:
    """The names of opened runs in words of an address."""
    return {found[1] for word in words if (found := _BESIDE.fullmatch(word))}


def named(words: Sequence[str], others: RunStore) -> tuple[list[Run], list[Run]]:
    """The runs that words of an address name, and those that are left out as a run with their id is there already.

    NAME:ID is a run that a file brought, any other word one of `others`. Those of this machine come first: they are
    what others are compared with, and no file takes the place of one. Raises CtkdError for what isn't here.
    """
    plain = [word for word in words if not _BESIDE.fullmatch(word)]
    found = list(others.get_all(plain)) if plain else []
    for word in words:
        if match := _BESIDE.fullmatch(word):
            found.append(store(match[1]).get(match[2]))
    shown: dict[str, Run] = {}
    for run in (*(r for r in found if not r.is_opened), *(r for r in found if r.is_opened)):
        shown.setdefault(run.id, run)
    places = {run.dir for run in shown.values()}
    return list(shown.values()), [run for run in found if run.dir not in places]


def keep(runs: Sequence[HeldRun]) -> None:
    """Write runs of a file, all of them or none. Raises CtkdError for what isn't sound, OSError for a full disk."""
    folder = _place(name_of(runs))
    if folder.is_dir():
        return
    try:
        with replacing(folder) as part:
            part.mkdir()
            room = MOST_ALL
            for run in runs:
                room -= write(run, part / run.id, room)
            if folder.is_dir():  # the same runs may be read there already, so they stay as they are
                raise FileExistsError(folder)
    except OSError:
        if not folder.is_dir():  # else somebody opened the same file meanwhile
            raise


def forget(name: str) -> None:
    """Remove the runs with this name, if they are here."""
    if _NAME.fullmatch(name):
        shutil.rmtree(_place(name), ignore_errors=True)


def _place(name: str) -> Path:
    return home() / OPENED / name
