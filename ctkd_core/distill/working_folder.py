"""The folder in which a run was made, control/folder: its relative paths are read from there, whoever starts it later.

A run is resumed from anywhere, and the process of a run that waits is started by another run, which may be from a
folder with a data.jsonl of its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic.dataclasses import dataclass

from ctkd_core import files
from ctkd_core.background.status import RECORD, read_record, write_record
from ctkd_core.distill.sources.hub import names_set
from ctkd_core.tokenizers.catalog import TOKENIZERS

if TYPE_CHECKING:
    from ctkd_core.distill.config import RunConfig

FOLDER = Path("control") / "folder"
# Options that name a folder or a file, or may; of the run and of its further teachers.
SOURCES = ("student", "teacher", "student_path", "teacher_path", "data", "eval_data", "teacher_cache")
_FILES = ("data", "eval_data", "teacher_cache")  # of them those that can't be an id of the hub


@dataclass(frozen=True, config=RECORD)
class WorkingFolder:
    """A whole path; "" where it can't be told."""

    folder: str


def current() -> str:
    """The current folder; "" where it was removed, or has a name that can't be written into a file."""
    with suppress(OSError, UnicodeEncodeError):
        folder = os.getcwd()  # noqa: PTH109 - a text
        folder.encode()
        return folder
    return ""


def note(run_dir: Path, folder: str) -> None:
    """Note the folder in which a run is made. Raises OSError."""
    write_record(run_dir / FOLDER, WorkingFolder(folder))


def elsewhere(run_dir: Path) -> Path | None:
    """The folder in which the run was made, where it is there and isn't the current one."""
    try:
        folder = read_record(run_dir / FOLDER, WorkingFolder).folder
    except (OSError, ValueError):  # a run of an earlier version
        return None
    return Path(folder) if os.path.isabs(folder) and os.path.isdir(folder) and folder != current() else None  # noqa: PTH112, PTH117


def enter(run_dir: Path) -> None:
    """Make the folder in which the run was made the current one of this process, where it is there."""
    if (folder := elsewhere(run_dir)) is not None:
        os.environ["CTKD_HOME"] = str(files.home())  # it may be a relative path, too
        with suppress(OSError):  # it may not be entered: what is missing there is told by whoever looks for it
            os.chdir(folder)


def config_from_here(config: RunConfig, run_dir: Path) -> RunConfig:
    """The config of a run with whole paths as in `moved`, and without options that have no effect.

    For whoever reads its files and goes on in the current folder, where paths of other options are read from.
    """
    config = config.with_effect()
    return config.replace(**moved(config.to_dict(), run_dir))


def moved(table: Mapping[str, Any], run_dir: Path) -> dict[str, Any]:
    """The options of a run's config that name files of the folder in which it was made, with whole paths.

    Data and caches also where they aren't there any more: others of the same names aren't read in their place.
    {} where that folder is the current one, or isn't there.
    """
    folder = elsewhere(run_dir)
    if folder is None:
        return {}

    def whole(given: Mapping[str, Any]) -> dict[str, Any]:
        return {key: str(folder / given[key]) for key in SOURCES if _is_in(folder, key, given.get(key))}

    changes = whole(table)
    teachers = table.get("teachers")
    if isinstance(teachers, list) and any(isinstance(entry, dict) and whole(entry) for entry in teachers):
        changes["teachers"] = [entry | whole(entry) if isinstance(entry, dict) else entry for entry in teachers]
    return changes


def _is_in(folder: Path, key: str, name: Any) -> bool:
    """Whether the value of an option is the relative path of something in the folder."""
    if not isinstance(name, str) or not name or name.startswith("~") or Path(name).is_absolute():
        return False
    if key in _FILES:
        return not names_set(name)
    try:
        return name not in TOKENIZERS and (folder / name).exists()  # those are names of what comes along
    except (OSError, ValueError):  # too long for a name, a NUL byte
        return False
