"""Runs what an experiment still lacks, one run after another in this process; each finished one is kept at once."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ctkd_core import RunStore, distill
from ctkd_core.errors import CtkdError
from experiments import digest, results
from experiments.definition import Experiment, ExperimentError, Planned, plan


def missing(
    experiment: Experiment, only: Collection[str] = (), seeds: Collection[int] = (), again: bool = False
) -> list[Planned]:
    """The runs without a result, or all of them; `only`: of these conditions, `seeds`: of these seeds."""
    done = {} if again else results.read(experiment)
    return [
        planned
        for planned in plan(experiment)
        if planned.key not in done
        and (not only or planned.condition.name in only)
        and (not seeds or planned.seed in seeds)
    ]


def run(
    experiment: Experiment,
    budget: float | None = None,
    only: Collection[str] = (),
    seeds: Collection[int] = (),
    again: bool = False,
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
) -> int:
    """Run what is missing, at most `budget` seconds (a run that has begun is finished); returns how many were run.

    Stopped or killed, the same call goes on. A run that fails is said and left out; the others go on. `again`: runs
    that have a result are run too, and said beside it. What was run is in the digest afterwards.
    """
    if experiment.analysis:
        count = _analyse(experiment, again, say)
    else:
        count = _train(experiment, budget, missing(experiment, only, seeds, again), say)
    if count:
        digest.write()
    return count


def _train(experiment: Experiment, budget: float | None, wanted: list[Planned], say: Callable[[str], None]) -> int:
    begun, count = time.monotonic(), 0
    command = f"make evidence NAME={experiment.name}"
    for number, planned in enumerate(wanted, start=1):
        if budget is not None and time.monotonic() - begun > budget:
            say(f"{experiment.name}: {len(wanted) - number + 1} runs are left; the same command goes on.")
            break
        say(f"{experiment.name} {number}/{len(wanted)}: {planned.config.name}")
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            done = distill(planned.config, RunStore())
        except CtkdError as fault:
            say(f"{planned.config.name}: {fault}")
            continue
        if done.status().state != "finished":
            say(f"{planned.config.name}: {done.status().state}; stopped.")
            break
        record = results.record_of(planned, done, time.process_time() - cpu, time.perf_counter() - wall, command)
        # Read again: several processes may share the work (`--seeds`).
        kept = results.read(experiment)
        results.write(experiment, kept | {planned.key: record})
        count += 1
        say(f"    {_figure(planned, record)}, {record['seconds']:.0f} s{_before(planned, kept.get(planned.key))}")
    return count


def _figure(planned: Planned, record: Mapping[str, Any]) -> str:
    name = planned.condition.figure
    return f"{name.replace('_', ' ')} {record['figures'].get(name, float('nan')):.4f}"


def _before(planned: Planned, kept: Mapping[str, Any] | None) -> str:
    return "" if kept is None else f" (the result kept before: {_figure(planned, kept)})"


def _analyse(experiment: Experiment, again: bool, say: Callable[[str], None]) -> int:
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
    say(f"{experiment.name}: {experiment.title}")
    results.write_analysis(experiment, module.run(experiment, say))
    return 1
