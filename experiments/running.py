"""Runs what an experiment still lacks, one run after another in this process; each finished one is kept at once."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection

from ctkd_core import RunStore, distill
from ctkd_core.errors import CtkdError
from experiments import results
from experiments.definition import Experiment, Planned, plan


def missing(experiment: Experiment, only: Collection[str] = (), seeds: Collection[int] = ()) -> list[Planned]:
    """The runs without a result; `only`: of these conditions, `seeds`: of these seeds."""
    done = results.read(experiment)
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
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
) -> int:
    """Run what is missing, at most `budget` seconds (a run that has begun is finished); returns how many were run.

    Stopped or killed, the same call goes on. A run that fails is said and left out; the others go on.
    """
    begun, count = time.monotonic(), 0
    wanted = missing(experiment, only, seeds)
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
        results.write(experiment, results.read(experiment) | {planned.key: record})
        count += 1
        say(f"    bits/byte {record['figures'].get('bits_per_byte', float('nan')):.4f}, {record['seconds']:.0f} s")
    return count
