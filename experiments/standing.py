"""Where the methods of one condition stand: means, differences at equal seeds, ranks, from the records of its runs.

- **Differences** are taken at equal seeds, so that what the seeds share (samples, held-out text, start) falls out. They
  are rounded last: of values that were rounded before they would differ from those that answers and claims compute.
- **Ranks** are by the mean over equal seeds: those of the method that has most. A method that lacks one of them has no
  rank, as other seeds are other texts.
- **Equal seconds**: of a seed's runs the one that trained shortest sets the time; each other run's curve is read off
  there, on a straight line between the two looks around it. None for a run with fewer than four looks: a line between
  looks that far apart says what was drawn, not what was learnt.
- **Share of the gap**: mean(baseline - method) / mean(baseline - teacher) over the seeds that both have.
- **The teacher** is the condition's. Methods with another one (`others`) have no say in its value.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from statistics import fmean, median
from typing import Any

import numpy as np

from ctkd_core.distill.comparison import statistics
from ctkd_core.distill.comparison.figures import higher_is_better
from ctkd_core.distill.comparison.kinds import flat
from ctkd_core.markup.visible import counted
from ctkd_core.methods.evidence.records import Difference, Domain, Interval, Point, TriedRun

DIGITS = 6
BY_DOMAIN = "bits_by_domain."
LEVEL = 0.05  # of a chance after correction, above which nobody would call a difference decided by it
LEAST_LOOKS = 4  # on a curve from which values at equal seconds are read
BySeed = dict[int, float]


@dataclass(frozen=True)
class Standing:
    """One method: its runs by seed, and what they came to. See `records.Tried`."""

    runs: dict[int, TriedRun]
    rank: int | None
    value: Interval | None
    to_baseline: Difference | None
    to_best: Difference | None
    to_others: dict[str, Difference]
    against_next: Difference | None
    gap_closed: float | None
    best: Interval | None
    best_to_baseline: Difference | None
    equal: Interval | None
    equal_to_baseline: Difference | None
    seconds_per_step: float | None
    cpu_seconds_per_step: float | None
    domains: dict[str, Domain]


def rounded(value: float) -> float:
    """Six significant digits: what a digest keeps, equal on every machine."""
    return float(f"{value:.{DIGITS}g}")


def interval(values: Sequence[float]) -> Interval | None:
    """Mean and 95 % interval; None without values."""
    found = statistics.estimate(values)
    if found is None:
        return None
    ends = [None if end is None else rounded(end) for end in (found.low, found.high)]
    return Interval(n=found.n, mean=rounded(found.mean), low=ends[0], high=ends[1])


def difference(values: Mapping[int, float], others: Mapping[int, float]) -> Difference | None:
    """`values` minus `others` at the seeds of both; None without any."""
    found = statistics.difference(values, others)
    if found is None:
        return None
    ends = [None if end is None else rounded(end) for end in (found.low, found.high)]
    return Difference(
        n=found.n, mean=rounded(found.mean), low=ends[0], high=ends[1], probability=rounded(found.probability)
    )


def adjusted(found: Mapping[str, Difference | None]) -> dict[str, Difference | None]:
    """The same with Holm's correction for all of them."""
    there = {label: each for label, each in found.items() if each is not None}
    corrected = dict(zip(there, statistics.holm([each.probability for each in there.values()])))
    return {
        label: each and each.model_copy(update={"adjusted": rounded(corrected[label])}) for label, each in found.items()
    }


def out_of_reach(found: Mapping[str, Standing]) -> str:
    """A sentence where Holm's correction leaves no difference to the baseline a chance below LEVEL; "" else.

    It names the smallest value that so many differences and seeds allow, and how many seeds would allow LEVEL.
    """
    seeds = [each.to_baseline.n for each in found.values() if each.to_baseline is not None]
    least = min(statistics.holm([min(1.0, 2 / 2**n) for n in seeds]), default=0.0)
    if least <= LEVEL:
        return ""
    needed = next(n for n in count(1) if len(seeds) * 2 / 2**n <= LEVEL)
    return (
        f"Chance (Holm) can decide nothing here: with {counted(len(seeds), 'difference')} and "
        f"{counted(max(seeds), 'seed')} it can't fall below {least:.3g}, whatever is found. A value of {LEVEL} takes "
        f"{needed} seeds of each."
    )


def curve_of(record: Mapping[str, Any], figure: str) -> list[Point]:
    """The figure at each look of a run, step 0 included, unrounded; looks without it are left out."""
    found = []
    for look in record["curve"]:
        value = flat(dict(look)).get(figure)
        if isinstance(value, (int, float)) and np.isfinite(value):
            spent = float(look.get("training_seconds") or 0.0)
            found.append(Point(step=int(look["step"]), seconds=spent, value=float(value)))
    return found


def standings(
    records: Mapping[str, Mapping[int, Mapping[str, Any]]], figure: str, baseline: str, others: Collection[str] = ()
) -> dict[str, Standing]:
    """Where each method stands. `records`: by label and seed; a label without runs may be there.

    others   labels whose teacher isn't the condition's
    """
    runs = _with_equal({label: _runs(by_seed, figure) for label, by_seed in records.items()})
    values = {label: {seed: run.value for seed, run in found.items()} for label, found in runs.items()}
    base = baseline if values.get(baseline) else ""
    order = _order(values, base, higher_is_better(figure))
    gaps = _gaps(values, base)
    bests = {label: {seed: run.best for seed, run in found.items()} for label, found in runs.items()}
    equals = {label: _equal(found) for label, found in runs.items()}
    gaps_best, gaps_equal = _gaps(bests, base), _gaps(equals, base)
    domains = _domains(records, base)
    found = {}
    for label in records:
        rank = order.index(label) if label in order else None
        behind = order[rank + 1] if rank is not None and rank + 1 < len(order) else None
        found[label] = Standing(
            runs={seed: _kept(run) for seed, run in runs[label].items()},
            rank=None if rank is None else rank + 1,
            value=interval(list(values[label].values())),
            to_baseline=gaps.get(label),
            to_best=difference(values[label], values[order[0]]) if order and label != order[0] else None,
            to_others=_to_others(values, label, base),
            against_next=difference(values[label], values[behind]) if behind else None,
            gap_closed=_gap_closed(records, label, base, figure, others) if label != base else None,
            best=interval(list(bests[label].values())),
            best_to_baseline=gaps_best.get(label),
            equal=interval(list(equals[label].values())),
            equal_to_baseline=gaps_equal.get(label),
            seconds_per_step=_seconds_per_step(runs[label].values()),
            cpu_seconds_per_step=_cpu_seconds_per_step(records[label].values()),
            domains=domains[label],
        )
    return found


def mean_start(records: Mapping[str, Mapping[int, Mapping[str, Any]]], figure: str) -> float | None:
    """The mean value before the first step."""
    looks = [
        point.value
        for by_seed in records.values()
        for record in by_seed.values()
        for point in curve_of(record, figure)
        if point.step == 0
    ]
    return rounded(fmean(looks)) if looks else None


def mean_teacher(
    records: Mapping[str, Mapping[int, Mapping[str, Any]]], figure: str, others: Collection[str] = ()
) -> float | None:
    """The mean value of the condition's teacher on the same text; `others`: labels that have another one."""
    found = [
        value
        for label, by_seed in records.items()
        if label not in others
        for record in by_seed.values()
        if (value := _teacher(record, figure)) is not None
    ]
    return rounded(fmean(found)) if found else None


def _runs(by_seed: Mapping[int, Mapping[str, Any]], figure: str) -> dict[int, TriedRun]:
    """The runs that have the figure, unrounded."""
    found = {}
    pick = max if higher_is_better(figure) else min
    for seed, record in sorted(by_seed.items()):
        if figure not in record["figures"]:
            continue
        value, curve = float(record["figures"][figure]), curve_of(record, figure)
        found[seed] = TriedRun(
            seed=seed,
            value=value,
            best=pick([value, *(point.value for point in curve)]),
            curve=curve,
            run=str(record.get("run") or ""),
            revision=str((record.get("environment") or {}).get("revision") or ""),
            finished=str(record.get("finished") or ""),
            seconds=record.get("seconds"),
        )
    return found


def _with_equal(runs: dict[str, dict[int, TriedRun]]) -> dict[str, dict[int, TriedRun]]:
    """The same runs with their values at the seconds of the quickest one of their seed."""
    shortest: BySeed = {}
    for by_seed in runs.values():
        for seed, run in by_seed.items():
            if run.curve and run.curve[-1].seconds > 0:
                shortest[seed] = min(shortest.get(seed, np.inf), run.curve[-1].seconds)

    def at(run: TriedRun) -> float | None:
        if run.seed not in shortest or len(run.curve) < LEAST_LOOKS:
            return None
        seconds, values = [p.seconds for p in run.curve], [p.value for p in run.curve]
        return float(np.interp(shortest[run.seed], seconds, values))

    return {
        label: {seed: run.model_copy(update={"equal": at(run)}) for seed, run in by_seed.items()}
        for label, by_seed in runs.items()
    }


def _kept(run: TriedRun) -> TriedRun:
    """A run as a digest keeps it: every value of its figure rounded."""
    return run.model_copy(
        update={
            "value": rounded(run.value),
            "best": rounded(run.best),
            "equal": None if run.equal is None else rounded(run.equal),
            "curve": [point.model_copy(update={"value": rounded(point.value)}) for point in run.curve],
        }
    )


def _equal(runs: Mapping[int, TriedRun]) -> BySeed:
    return {seed: run.equal for seed, run in runs.items() if run.equal is not None}


def _gaps(values: Mapping[str, BySeed], base: str) -> dict[str, Difference | None]:
    if not base:
        return {}
    return adjusted({label: difference(found, values[base]) for label, found in values.items() if label != base})


def _to_others(values: Mapping[str, BySeed], label: str, base: str) -> dict[str, Difference]:
    """Differences to every other method but the baseline; left out where no seed is shared."""
    found = {other: difference(values[label], values[other]) for other in values if other not in (label, base)}
    return {other: gap for other, gap in found.items() if gap is not None}


def _order(values: Mapping[str, BySeed], base: str, higher: bool) -> list[str]:
    """The labels that can be ranked, best first: those that have all seeds of the label with most (first: `base`)."""
    most = max(values, key=lambda label: (len(values[label]), label == base), default="")
    seeds = set(values[most]) if most else set()
    ranked = [label for label, found in values.items() if seeds and seeds <= set(found)]
    return sorted(ranked, key=lambda label: fmean(values[label][seed] for seed in sorted(seeds)), reverse=higher)


def _gap_closed(
    records: Mapping[str, Mapping[int, Mapping[str, Any]]], label: str, base: str, figure: str, others: Collection[str]
) -> float | None:
    if not base:
        return None
    closed, whole = [], []
    for seed in sorted(set(records[label]) & set(records[base])):
        own, sft = (records[name][seed]["figures"].get(figure) for name in (label, base))
        known = [_teacher(records[name][seed], figure) for name in (label, base) if name not in others]
        teacher = next((value for value in known if value is not None), None)
        if own is not None and sft is not None and teacher is not None:
            closed.append(sft - own)
            whole.append(sft - teacher)
    better = -1.0 if higher_is_better(figure) else 1.0
    return rounded(fmean(closed) / fmean(whole)) if whole and better * fmean(whole) > 0 else None


def _teacher(record: Mapping[str, Any], figure: str) -> float | None:
    value = flat(dict(record.get("teacher") or {})).get(f"teacher_{figure}", record["figures"].get(f"teacher_{figure}"))
    return float(value) if isinstance(value, (int, float)) and np.isfinite(value) else None


def _seconds_per_step(runs: Any) -> float | None:
    each = [run.curve[-1].seconds / run.curve[-1].step for run in runs if run.curve and run.curve[-1].step > 0]
    return rounded(median(each)) if each else None


def _cpu_seconds_per_step(records: Any) -> float | None:
    each = [
        spent / record["config"]["steps"]
        for record in records
        if (spent := record["figures"].get("training_cpu_seconds")) and record["config"].get("steps")
    ]
    return rounded(median(each)) if each else None


def _domains(records: Mapping[str, Mapping[int, Mapping[str, Any]]], base: str) -> dict[str, dict[str, Domain]]:
    by_domain: dict[str, dict[str, BySeed]] = {}
    for label, by_seed in records.items():
        for seed, record in by_seed.items():
            for name, value in record["figures"].items():
                if name.startswith(BY_DOMAIN):
                    domain = name.removeprefix(BY_DOMAIN)
                    by_domain.setdefault(domain, {}).setdefault(label, {})[seed] = value
    found: dict[str, dict[str, Domain]] = {label: {} for label in records}
    for domain in sorted(by_domain):
        values = by_domain[domain]
        gaps = _gaps(values, base if base in values else "")
        for label, by_seed in values.items():
            mean = interval(list(by_seed.values()))
            if mean is not None:
                found[label][domain] = Domain(value=mean, to_baseline=gaps.get(label))
    return found
