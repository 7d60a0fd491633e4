"""Checkpoints of a run: folders that count when they are whole.

A checkpoint is written beside its place, listed in a manifest with sizes and hashes, put on the disk, and only then
moved to `checkpoints/checkpoint-STEP`. Whoever goes on from one compares it with its manifest first and takes the one
before when it's damaged. Checkpoints of older versions have no manifest; of those, each file must be whole by itself.
This module loads no torch.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pydantic.dataclasses import dataclass

from ctkd_core import files
from ctkd_core.background.status import RECORD, read_record, reason, write_record
from ctkd_core.files.documents import FileDigest

MANIFEST = "manifest.json"
STATE = "trainer_state.json"
PART = ".part"  # beside the checkpoints: where one is written
# What a run can't go on from without ending elsewhere. Random states have one file, or one for each process.
NEEDED = ("model*.safetensors", "optimizer.pt", "scheduler.pt", "rng_state*.pth", STATE)
WHAT = {
    "model*.safetensors": "the weights",
    "optimizer.pt": "the optimizer's state",
    "scheduler.pt": "the scheduler's state",
    "rng_state*.pth": "the random states",
    STATE: "the trainer's state",
}
KEPT = 2  # at least: one may be damaged


@dataclass(frozen=True, config=RECORD)
class CheckpointManifest:
    """Every file of a checkpoint, by its path in the folder."""

    step: int
    files: dict[str, FileDigest]


def write_manifest(folder: Path, step: int) -> None:
    """List what is in `folder` and put it on the disk. Raises OSError; a file that is needed and missing is one."""
    for pattern in NEEDED:
        if not any(folder.glob(pattern)):
            raise OSError(f"the checkpoint of step {step} has no {pattern}, so {WHAT[pattern]} would be lost")
    found = {
        path.relative_to(folder).as_posix(): FileDigest.of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    files.sync_to_disk(folder)
    write_record(folder / MANIFEST, CheckpointManifest(step, found))
    files.sync_to_disk(folder / MANIFEST)


def commit(root: Path, step: int) -> Path:
    """Move the checkpoint that was written under PART to its place; returns that. Raises OSError."""
    written, place = root / PART / name(step), root / name(step)
    write_manifest(written, step)
    with files.replacing(place, sync=True) as part:
        written.replace(part)
    return place


def discard_part(root: Path) -> None:
    """Remove what an attempt that broke off left of a checkpoint."""
    shutil.rmtree(root / PART, ignore_errors=True)


def processes(root: Path) -> int | None:
    """How many processes wrote the newest checkpoint: each has random states of its own; None without one."""
    for step in reversed(all_steps(root)):
        if found := len(list((root / name(step)).glob("rng_state*.pth"))):
            return found
    return None


def prune(root: Path, keep: int) -> None:
    """Remove the oldest checkpoints beyond `keep`, never fewer than KEPT are left."""
    for step in steps(root)[: -max(keep, KEPT)]:
        shutil.rmtree(root / name(step), ignore_errors=True)


def name(step: int) -> str:
    """Name of a checkpoint's folder."""
    return f"checkpoint-{step}"


def steps(root: Path) -> list[int]:
    """Steps of the checkpoints that look whole (every file is there in its size), oldest first."""
    return [step for step in all_steps(root) if not problem(root / name(step))]


def all_steps(root: Path) -> list[int]:
    """Steps of all checkpoints, damaged ones too, oldest first."""
    try:
        names = [path.name.partition("-") for path in root.iterdir()]
    except OSError:
        return []
    return sorted(int(step) for kind, _, step in names if kind == "checkpoint" and step.isdecimal() and step.isascii())


def newest_whole(root: Path, report: Callable[[str], None]) -> tuple[int, Path] | None:
    """The newest checkpoint whose content is what was written; why a newer one isn't taken is reported."""
    for step in reversed(all_steps(root)):
        folder = root / name(step)
        if why := problem(folder, thorough=True):
            report(f"Checkpoint {step} is passed over: {why}.")
            continue
        return step, folder
    return None


def problem(folder: Path, thorough: bool = False) -> str:
    """Why the run can't go on from here, "" when it can. `thorough` reads everything and compares hashes."""
    try:
        if not (folder / MANIFEST).exists():
            return _problem_of_old(folder, thorough)
        manifest = read_record(folder / MANIFEST, CheckpointManifest)
        if name(manifest.step) != folder.name:
            return f"its manifest is that of step {manifest.step}"
        for pattern in NEEDED:
            if not any(Path(entry).match(pattern) for entry in manifest.files):
                return f"{pattern} ({WHAT[pattern]}) is missing"
        for entry, noted in manifest.files.items():
            path = folder / entry
            if not path.resolve().is_relative_to(folder.resolve()):
                return f"its manifest names {entry!r}"
            size = path.stat().st_size
            if size != noted.bytes:
                return f"{entry} has {size:,} bytes instead of {noted.bytes:,}"
            if thorough and files.sha256_of(path) != noted.sha256:
                return f"{entry} isn't the file that was written: its SHA-256 differs"
    except (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError) as fault:
        return f"it can't be read ({reason(fault)})"
    return ""


def _problem_of_old(folder: Path, thorough: bool) -> str:
    for pattern in NEEDED:
        found = list(folder.glob(pattern))
        if not found:
            return f"{pattern} ({WHAT[pattern]}) is missing"
        for path in found:
            if not path.stat().st_size:
                return f"{path.name} is empty"
            if thorough and path.suffix in (".pt", ".pth") and not _whole_zip(path):
                return f"{path.name} is damaged"
            if path.suffix == ".safetensors" and not _whole_tensors(path):
                return f"{path.name} is damaged"
    state = json.loads(files.read_regular(folder / STATE, 10**9))
    return "" if isinstance(state, dict) and "global_step" in state else f"{STATE} holds no step"


def _whole_zip(path: Path) -> bool:
    with suppress(zipfile.BadZipFile, OSError), zipfile.ZipFile(path) as archive:
        return archive.testzip() is None
    return False


def _whole_tensors(path: Path) -> bool:
    """Whether a safetensors file is as long as its header says."""
    with files.open_regular(path) as file:
        length = int.from_bytes(file.read(8), "little")
        if length > 10**9:
            return False
        header = json.loads(file.read(length))
    ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
    return path.stat().st_size == 8 + length + max(ends, default=0)
