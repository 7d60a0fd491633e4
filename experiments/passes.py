"""When a pass over runs that have results already began, so that one that was stopped goes on instead of starting over.

`again.json` beside results.json: the time by the conditions and seeds that were asked for; gone when all are done.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from filelock import FileLock

from ctkd_core import files
from ctkd_core.files import documents
from experiments.definition import Experiment, ExperimentError

ADVICE = "Remove it; the pass then begins anew."


def path_of(experiment: Experiment) -> Path:
    """Where the times lie."""
    return experiment.folder / "again.json"


def begun(experiment: Experiment, only: Collection[str] = (), seeds: Collection[int] = ()) -> str:
    """When the pass over these runs began, as records have times (UTC, seconds): now, where none is under way.

    Raises ExperimentError for a file that holds something else.
    """
    with _lock(experiment):
        times, key = _read(experiment), _key(only, seeds)
        if key not in times:
            times[key] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            _write(experiment, times)
        return times[key]


def done(experiment: Experiment, only: Collection[str] = (), seeds: Collection[int] = ()) -> None:
    """The pass over these runs is complete."""
    with _lock(experiment):
        times = _read(experiment)
        times.pop(_key(only, seeds), None)
        _write(experiment, times)


def _key(only: Collection[str], seeds: Collection[int]) -> str:
    """The same for the same choice, in whatever order it was given."""
    return json.dumps([sorted(set(only)), sorted(set(seeds))])


def _lock(experiment: Experiment) -> FileLock:
    return FileLock(experiment.folder / "again.json.lock")


def _read(experiment: Experiment) -> dict[str, str]:
    path = path_of(experiment)
    found = documents.read_json(path, "the times of passes", ExperimentError, ADVICE) if path.exists() else {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ExperimentError(f"{path.name} of {experiment.name} holds no times of passes. {ADVICE}")
    return found


def _write(experiment: Experiment, times: Mapping[str, str]) -> None:
    path = path_of(experiment)
    if times:
        files.write_atomic(path, json.dumps(times, indent=1) + "\n")
    else:
        path.unlink(missing_ok=True)
