"""What an analysis leaves: parts that are kept as they come, and the document that becomes results.json."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctkd_core import files

VERSION = 1
ROOT = Path(__file__).resolve().parents[1]
Report = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """What an analysis reads of its experiment where it is run by itself."""

    name: str

    @property
    def folder(self) -> Path:
        """Where its definition and its results lie."""
        return ROOT / self.name


class Anew:
    """Which kept parts an analysis may read: all of them, or with `again` those alone that it has made itself."""

    def __init__(self, again: bool = False) -> None:
        self._again = again
        self._made: set[Path] = set()

    def has(self, path: Path) -> bool:
        """Whether the part kept at `path` may be read."""
        return path.exists() and (not self._again or path in self._made)

    def made(self, path: Path) -> None:
        """The part at `path` was made by this analysis."""
        self._made.add(path)


def kept(
    name: str, asked: Mapping[str, Any], make: Callable[[], dict[str, Any]], anew: Anew | None = None
) -> dict[str, Any]:
    """What `make` returns, from the file of an earlier call where `asked` (all that it depends on) was the same."""
    anew, path = anew or Anew(), path_of(name, asked)
    if anew.has(path):
        return dict(json.loads(path.read_text(encoding="utf-8")))
    found = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomic(path, json.dumps(found))
    anew.made(path)
    return found


def path_of(name: str, asked: Mapping[str, Any]) -> Path:
    """Where a part of analysis `name` that depends on `asked` is kept."""
    key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
    return files.cache_dir() / "experiments" / "analyses" / name / f"{key}.json"


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], note: str = "") -> dict[str, Any]:
    """A table of results.json."""
    return {"title": title, "columns": list(columns), "rows": [list(row) for row in rows], "note": note}


def claim(text: str, source: str, ours: str, verdict: str) -> dict[str, str]:
    """A claim of results.json, with what was found and the verdict."""
    return {"claim": text, "source": source, "ours": ours, "verdict": verdict}


def document(
    name: str,
    tables: Sequence[Mapping[str, Any]],
    claims: Sequence[Mapping[str, str]],
    seeds: Sequence[int],
    seconds: float,
) -> dict[str, Any]:
    """The content of results.json."""
    return {
        "version": VERSION,
        "experiment": name,
        "tables": list(tables),
        "claims": list(claims),
        "environment": environment(),
        "seeds": list(seeds),
        "command": f"make evidence NAME={name}",
        "seconds": round(seconds, 1),
    }


def environment() -> dict[str, Any]:
    """Versions, device and revision, as runs record them."""
    import platform

    from ctkd_core import __version__
    from ctkd_core.distill.devices import cpu_count
    from ctkd_core.distill.environment import PACKAGES, _revision, _version

    return {
        "revision": _revision(),
        "ctkd_core": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "device": "cpu",
        "cpu_cores": cpu_count(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def alone(name: str, run: Callable[[Any, Report], dict[str, Any]]) -> int:
    """Run one analysis, write its results.json and the results in its README; returns the exit code."""
    from ctkd_core.errors import CtkdError
    from experiments.analyses import readme

    experiment = Asked(name)
    try:
        found = run(experiment, lambda text: print(text, file=sys.stderr, flush=True))
    except CtkdError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 1
    files.write_atomic(experiment.folder / "results.json", json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    readme.write(experiment.folder / "README.md", found)
    return 0


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()

    def __call__(self) -> float:
        """The seconds."""
        return time.perf_counter() - self._begun
