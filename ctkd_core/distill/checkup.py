"""Check-up of this machine: what is here, what is missing, and how to mend it. Imports no torch.

Torch costs seconds and may fail in ways that take the process with it, so with `deep` it is asked in a child.
"""

from __future__ import annotations

import base64
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ctkd_core.background.processes import OWN_MODULES

DISTRIBUTION = "ctkd-lab"
# What a checkout that was never installed is asked for.
CORE_PACKAGES = (
    *("torch", "transformers", "tokenizers", "numpy", "scipy", "numba", "streamlit", "plotly", "pandas"),
    *("pydantic", "typer", "rich"),
)
SETUP = "run `make setup` (or `pip install .`)"
NEEDED_MEMORY = 3 * 2**30  # the 40-step preset with the bundled teacher
NEEDED_DISK = 2 * 2**30  # the converted teacher, a student and two checkpoints
DEEP_TIMEOUT = 120.0  # seconds; torch on a cold disk

_TORCH_PROBE = """
import json, torch
cuda = torch.cuda.is_available()
mps = bool(getattr(torch.backends, "mps", None)) and torch.backends.mps.is_available()
print(json.dumps({
    "torch": torch.__version__,
    "cuda": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else [],
    "mps": mps,
    "threads": torch.get_num_threads(),
    "sum": float(torch.ones(3).sum()),
}))
"""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. `fatal`: the app and the command line can't work until it is mended."""

    what: str
    fix: str
    fatal: bool = False


@dataclass(frozen=True)
class Asset:
    """A file that works offline; None where there is nothing to say (no conversion, no hash to compare with)."""

    name: str
    kind: str
    package: str
    licence: str
    present: bool
    converted: bool | None
    hash_ok: bool | None
    optional: bool = False  # everything works without it


@dataclass(frozen=True)
class Checkup:
    """What `ctkd doctor --json` prints.

    Plain data classes: the check-up has to work where pydantic itself is missing; a test checks what is printed.
    """

    python: dict[str, str]
    device: dict[str, Any]
    memory: dict[str, int]
    disk: dict[str, str | bool | int]
    versions: dict[str, str | None]
    assets: list[Asset]
    problems: list[Problem]
    fatal: bool


def examine(deep: bool = False) -> dict[str, Any]:
    """Everything `ctkd doctor --json` prints: device, memory, disk, versions, assets, problems."""
    problems: list[Problem] = []
    found: dict[str, Any] = {
        "python": {"version": platform.python_version(), "executable": sys.executable, "platform": platform.platform()},
        "device": device(deep, problems),
        "memory": memory(problems),
        "disk": disk(problems),
        "versions": versions(problems),
        "assets": [Asset(**row) for row in assets(problems, rehash=deep)],
    }
    fatal = any(problem.fatal for problem in problems)
    return asdict(Checkup(**found, problems=problems, fatal=fatal))


def device(deep: bool, problems: list[Problem]) -> dict[str, Any]:
    """Processors, and accelerators as far as they show without torch; with `deep` what torch itself sees."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found: dict[str, Any] = {"cpus": os.cpu_count(), "usable_cpus": usable, "accelerators": _nvidia()}
    if deep:
        found["torch"] = _ask_torch(problems)
    return found


def _nvidia() -> list[str]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        answer = subprocess.run(
            [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()]


def _ask_torch(problems: list[Problem]) -> dict[str, Any] | None:
    try:
        answer = subprocess.run(
            [sys.executable, "-c", _TORCH_PROBE],
            env=os.environ | OWN_MODULES,
            capture_output=True,
            text=True,
            timeout=DEEP_TIMEOUT,
            check=True,
        )
        found = json.loads(answer.stdout.splitlines()[-1])
        if isinstance(found, dict):
            return found
        raise ValueError(f"its probe printed {answer.stdout[-80:]!r}")
    except subprocess.TimeoutExpired:
        problems.append(Problem(f"importing torch took more than {DEEP_TIMEOUT:.0f} s", "free memory, then try again"))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        detail = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        problems.append(Problem(f"torch does not work: {detail[-1] if detail else error}", SETUP))
    return None


def memory(problems: list[Problem]) -> dict[str, int]:
    """Bytes of memory, in total and free; a container's limit counts as the total."""
    import psutil

    state = psutil.virtual_memory()
    total, available = int(state.total), int(state.available)
    limit = _cgroup_limit()
    if limit is not None and limit < total:
        total, available = limit, min(available, limit)
    if available < NEEDED_MEMORY:
        problems.append(
            Problem(
                f"{available / 2**30:.1f} GiB of memory are free; a run with the bundled teacher needs "
                f"{NEEDED_MEMORY / 2**30:.0f} GiB",
                "close other programs, or lower batch_size and max_length",
            )
        )
    return {"total": total, "available": available}


def _cgroup_limit() -> int | None:
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(name).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            return int(text)
    return None


def disk(problems: list[Problem]) -> dict[str, Any]:
    """The folder that holds runs and caches, whether it can be written, and its bytes."""
    from ctkd_core import files

    home = Path(files.home())
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    usage = shutil.disk_usage(existing)
    writable = os.access(existing, os.W_OK) and existing.is_dir()
    if not writable:
        problems.append(
            Problem(f"{str(home)!r} can't be written", "set CTKD_HOME to a folder of your own", fatal=True),
        )
    elif usage.free < NEEDED_DISK:
        problems.append(
            Problem(
                f"{usage.free / 2**30:.1f} GiB are free at {str(home)!r}; runs need {NEEDED_DISK / 2**30:.0f} GiB",
                "remove runs with `ctkd runs rm`, or set CTKD_HOME to a larger disk",
            )
        )
    return {"home": str(home), "writable": writable, "total": usage.total, "free": usage.free}


def versions(problems: list[Problem]) -> dict[str, str | None]:
    """Installed version of every package that CTKD Lab demands; None where it is missing."""
    demanded = list(_demands())
    found: dict[str, str | None] = {}
    for name, wanted in demanded:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
            problems.append(Problem(f"package {name} is not installed", SETUP, fatal=name in CORE_PACKAGES))
            continue
        if wanted and not _satisfies(found[name], wanted):
            problems.append(Problem(f"{name} {found[name]} is installed, {name}{wanted} is demanded", SETUP))
    return found


def _demands() -> Iterable[tuple[str, str]]:
    """(name, version specifier) of the requirements, read from the installed distribution."""
    try:
        lines = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        lines = list(CORE_PACKAGES)
    for line in lines:
        match = re.match(r"([A-Za-z0-9._-]+)\s*([^;]*)(;.*)?$", line)
        if match and "extra ==" not in (match[3] or ""):
            yield match[1], match[2].strip().strip("()")


def _satisfies(version: str | None, wanted: str) -> bool:
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:  # packaging comes with other packages; without it nothing is claimed
        return True
    return version is not None and SpecifierSet(wanted).contains(version, prereleases=True)


def assets(problems: list[Problem], rehash: bool = False) -> list[dict[str, Any]]:
    """Every offline asset: is its file there, is it the file that was published, is its conversion cached?

    `hash_ok` compares with the hash in the package's own record (and, for the teacher, with the reviewed one); None
    when there is nothing to compare.
    """
    from ctkd_core.tokenizers import assets, catalog
    from ctkd_core.tokenizers.conversion import converted_folder

    rows = []
    for name, entry in catalog.TOKENIZERS.items():
        if entry.on_request:
            continue
        path = assets.package_file(entry)
        row: dict[str, Any] = {
            "name": name,
            "kind": "tokenizer",
            "package": entry.package,
            "licence": entry.licence,
            "present": path is not None,
            "converted": None,
            "hash_ok": None,
        }
        if path is None:
            problems.append(
                Problem(f"tokenizer {name} is missing: {entry.package} is not installed", f"run `{entry.install}`")
            )
        else:
            digest = _digest(path, rehash)
            row["hash_ok"] = _hash_ok(entry.package, path, digest)
            if entry.converter is not None:
                row["converted"] = _converted(entry, digest)
            if row["hash_ok"] is False:
                again = entry.install.replace("install", "install --force-reinstall", 1)
                problems.append(
                    Problem(f"{path.name} of {entry.package} is not the file that was published", f"run `{again}`")
                )
            elif row["converted"] and _damaged(folder := converted_folder(name, digest)):
                problems.append(
                    Problem(f"tokenizer {name} is damaged in {str(folder)!r}", "remove the folder; it is made anew")
                )
            elif row["converted"] is False:
                problems.append(
                    Problem(f"tokenizer {name} is not converted yet (its first use will wait)", "ctkd prepare")
                )
        rows.append(row)
    return [*rows, _teacher(problems, rehash), *_on_request(problems, rehash)]


def _on_request(problems: list[Problem], rehash: bool) -> list[dict[str, Any]]:
    """Models whose terms the user has to accept first: that one isn't there is no problem, that one changed is."""
    from ctkd_core.tokenizers import assets, catalog

    rows = []
    for name, entry in catalog.TOKENIZERS.items():
        if not entry.on_request:
            continue
        ready = assets.is_prepared(entry)
        whole = _as_made(assets.prepared_folder(entry), rehash) if ready else None
        if whole is False:
            folder = str(assets.prepared_folder(entry))
            problems.append(
                Problem(f"{entry.title} isn't as it was made, in {folder!r}", f"remove it, then run `{entry.install}`")
            )
        shared = {"package": entry.package, "licence": entry.licence, "present": ready, "converted": ready}
        rows.append({"name": name, "kind": "tokenizer", "hash_ok": whole, "optional": True} | shared)
        rows.append({"name": entry.title, "kind": "teacher", "hash_ok": whole, "optional": True} | shared)
    return rows


def _as_made(folder: Path, rehash: bool) -> bool | None:
    """Whether each file of a prepared folder has the hash that was noted when it was made; False for a damaged note.

    None where pydantic isn't here, without which the note can't be read (which is told on its own).
    """
    try:
        from ctkd_core.background.status import read_record
        from ctkd_core.distill.models.gemma.prepare import MANIFEST, GemmaManifest
    except ImportError:
        return None
    try:
        noted = read_record(folder / MANIFEST, GemmaManifest).files
        return all(_digest(folder / name, rehash) == sha256 for name, sha256 in noted.items())
    except (OSError, ValueError):
        return False


def _teacher(problems: list[Problem], rehash: bool) -> dict[str, Any]:
    """The bundled teacher's weights: the same file as its tokenizer, converted on their own."""
    from ctkd_core.distill.models.prepared import is_prepared
    from ctkd_core.tokenizers import assets, catalog

    entry = catalog.TOKENIZERS["smollm2"]
    path = assets.package_file(entry)
    reviewed = None if path is None else _digest(path, rehash) == assets.TEACHER_SHA256
    ready = is_prepared()
    if path is not None and not ready:
        what = "the bundled teacher is not converted yet, so the first run starts later"
        problems.append(Problem(what, "run `ctkd prepare`"))
    if reviewed is False:
        again = entry.install.replace("install", "install --force-reinstall", 1)
        problems.append(Problem(f"{path} is not the file that was reviewed for CTKD Lab", f"run `{again}`"))
    return {
        "name": "SmolLM2-135M-Instruct",
        "kind": "teacher",
        "package": entry.package,
        "licence": entry.licence,
        "present": path is not None,
        "converted": ready,
        "hash_ok": reviewed,
    }


def _digest(path: Path, rehash: bool) -> str:
    from ctkd_core.files import file_sha256, sha256_of

    return sha256_of(path) if rehash else file_sha256(path)


def _hash_ok(package: str, path: Path, digest: str) -> bool | None:
    """Whether `path` has the hash that the installed package recorded for it."""
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.name == path.name and file.hash is not None and Path(str(file.locate())).resolve() == path.resolve():
            expected = base64.urlsafe_b64decode(file.hash.value + "=" * (-len(file.hash.value) % 4)).hex()
            return file.hash.mode == "sha256" and expected == digest
    return None


def _converted(entry: Any, digest: str) -> bool:
    from ctkd_core.tokenizers.conversion import converted_folder, is_converted

    return is_converted(converted_folder(entry.name, digest))


def _damaged(folder: Path) -> bool:
    """Whether one of the files that a converter wrote is no JSON table any more."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        try:
            if not isinstance(json.loads((folder / name).read_bytes()), dict):
                return True
        except (OSError, ValueError, RecursionError):
            return True
    return False
