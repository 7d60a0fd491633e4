"""Runs what an experiment still lacks, one run after another in this process; each finished one is kept at once."""

from __future__ import annotations

import importlib
import inspect
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from filelock import FileLock

from ctkd_core import RunStore, distill
from ctkd_core.errors import CtkdError, unknown
from ctkd_core.methods.evidence.figures import in_words
from experiments import digest, passes, results
from experiments.analyses import readme
from experiments.definition import Experiment, ExperimentError, Planned, plan


def missing(
    experiment: Experiment, only: Collection[str] = (), seeds: Collection[int] = (), since: str | None = None
) -> list[Planned]:
    """The runs without a result; `only`: of these conditions, `seeds`: of these seeds.

    since  a time as records have it: results that are older count as none, those of that very second too
    """
    done = {key for key, record in results.read(experiment).items() if since is None or record["finished"] > since}
    return [
        planned
        for planned in plan(experiment)
        if planned.key not in done
        and (not only or planned.condition.name in only)
        and (not seeds or planned.seed in seeds)
    ]


def check(experiments: Sequence[Experiment], only: Collection[str] = (), seeds: Collection[int] = ()) -> None:
    """Raise ExperimentError for a condition or seed that none of the experiments has, with those that they have."""
    conditions = [condition for experiment in experiments for condition in experiment.conditions]
    for name in only:
        if name not in (known := {condition.name for condition in conditions}):
            raise unknown("condition", name, known, ExperimentError)
    known_seeds = {seed for each in experiments for seed in each.seeds}
    known_seeds |= {seed for condition in conditions for seed in condition.seeds}
    if lost := sorted(set(seeds) - known_seeds):
        there = ", ".join(map(str, sorted(known_seeds))) or "none"
        raise ExperimentError(f"there is no seed {', '.join(map(str, lost))}; the seeds are {there}.")


def run(
    experiment: Experiment,
    budget: float | None = None,
    only: Collection[str] = (),
    seeds: Collection[int] = (),
    again: bool = False,
    report: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
    failed: Callable[[str], None] = lambda _: None,
) -> int:
    """Run what is missing, at most `budget` seconds (a run that has begun is finished); returns how many results
    that brought.

    Stopped or killed, the same call goes on. A run that fails is said, to `failed` as well, and left out; the others go
    on. What another experiment has run already is taken from there. `again`: runs that have a result are run too, and
    said beside it. What was run is in the digest afterwards.
    """
    if experiment.analysis:
        count = _analyse(experiment, again, report)
    else:
        since = passes.begun(experiment, only, seeds) if again else None
        wanted = missing(experiment, only, seeds, since)
        taken = [] if again else _take(experiment, wanted, report)
        count = _train(experiment, budget, [planned for planned in wanted if planned.key not in taken], report, failed)
        if since is not None and (count == len(wanted) or not missing(experiment, only, seeds, since)):
            passes.done(experiment, only, seeds)
        count += len(taken)
    if count:
        digest.write()
    return count


def _take(experiment: Experiment, wanted: list[Planned], report: Callable[[str], None]) -> list[str]:
    """Keep what other experiments have of these runs; returns the keys."""
    taken = results.of_others(experiment, wanted, report)
    if taken:
        _keep(experiment, taken)
        report(f"{experiment.name}: {len(taken)} of {len(wanted)} missing runs were run for another experiment before.")
    return list(taken)


def _keep(experiment: Experiment, records: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Add records to the results, or replace those of the same key; returns what was there before."""
    # Several processes may share the work (`--seeds`): none may write between another's reading and writing.
    with _lock(experiment):
        kept = results.read(experiment)
        results.write(experiment, {**kept, **records})
    return kept


def _train(
    experiment: Experiment,
    budget: float | None,
    wanted: list[Planned],
    report: Callable[[str], None],
    failed: Callable[[str], None],
) -> int:
    begun, count = time.monotonic(), 0
    command = f"make evidence NAME={experiment.name}"
    for number, planned in enumerate(wanted, start=1):
        if budget is not None and time.monotonic() - begun > budget:
            report(f"{experiment.name}: {len(wanted) - number + 1} runs are left; the same command goes on.")
            break
        report(f"{experiment.name} {number}/{len(wanted)}: {planned.config.name}")
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            done = distill(planned.config, RunStore())
        except CtkdError as fault:
            problem = f"{planned.config.name}: {fault}"
            report(problem)
            failed(problem)
            continue
        if done.status().state != "finished":
            problem = f"{planned.config.name}: {done.status().state}; stopped."
            report(problem)
            failed(problem)
            break
        record = results.record_of(planned, done, time.process_time() - cpu, time.perf_counter() - wall, command)
        kept = _keep(experiment, {planned.key: record})
        count += 1
        report(f"    {_figure(planned, record)}, {record['seconds']:.0f} s{_before(planned, kept.get(planned.key))}")
    return count


def _lock(experiment: Experiment) -> FileLock:
    """The lock for reading and writing results.json as one."""
    path = results.path_of(experiment)
    return FileLock(path.with_name(path.name + ".lock"))


def _figure(planned: Planned, record: Mapping[str, Any]) -> str:
    name = planned.condition.figure
    return f"{in_words(name)} {record['figures'].get(name, float('nan')):.4f}"


def _before(planned: Planned, kept: Mapping[str, Any] | None) -> str:
    return "" if kept is None else f" (the result kept before: {_figure(planned, kept)})"


def _analyse(experiment: Experiment, again: bool, report: Callable[[str], None]) -> int:
    """Run the analysis unless it has a result; returns 1 where it was run."""
    if results.read_analysis(experiment) is not None and not again:
        return 0
    name = f"experiments.analyses.{experiment.analysis}"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as fault:
        if fault.name not in {name, "experiments.analyses"}:
            raise
        raise ExperimentError(f"{experiment.name}: there is no analysis {experiment.analysis!r}.") from None
    report(f"{experiment.name}: {experiment.title}")
    options = {"again": again} if "again" in inspect.signature(module.run).parameters else {}
    found = module.run(experiment, report, **options)
    results.write_analysis(experiment, found)
    readme.write(experiment.folder / "README.md", found)
    return 1
