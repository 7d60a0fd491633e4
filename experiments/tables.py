"""Tables of figures that runs have beside that of their condition: by language, by length, by class, over training.

Means are over the seeds that have the figure, so cells may rest on different numbers of runs; each says its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ctkd_core.methods import evidence
from experiments.definition import FiguresTable
from experiments.phrases import short, signed, value
from experiments.standing import curve_of, difference, interval

Records = Mapping[str, Mapping[int, Mapping[str, Any]]]
LACKING = "–"
NOTE = "Means with 95 % intervals over n runs, differences at equal seeds; rows in the order of the ranking."


def tables_of(
    asked: FiguresTable, condition: evidence.Condition, records: Records, baseline: str
) -> list[evidence.Table]:
    """The table of one `FiguresTable`; none where nothing was run. condition: as the digest has it."""
    labels = [tried.label for tried in condition.methods if records.get(tried.label)]
    if not labels:
        return []
    titles = {tried.label: tried.title for tried in condition.methods}
    columns, rows = (_over_steps if asked.over_steps else _at_the_end)(asked, labels, titles, records, baseline)
    note = " ".join(filter(None, (NOTE, asked.note)))
    return [evidence.Table(title=asked.title, columns=columns, rows=rows, note=note)]


def _at_the_end(
    asked: FiguresTable, labels: list[str], titles: Mapping[str, str], records: Records, baseline: str
) -> tuple[list[str], list[list[Any]]]:
    """Each figure after the last step, the difference to the baseline beside it; above them the start."""
    base = titles.get(baseline, "")
    columns = ["method"]
    for name in asked.figures:
        columns += [name, f"{name}, minus {base}"] if base else [name]
    start = ["before training"]
    for figure in asked.figures.values():
        looks = starts(records, figure)
        start += [_cell(looks), LACKING] if base else [_cell(looks)]
    rows: list[list[Any]] = [start]
    for label in labels:
        row = [titles[label]]
        for figure in asked.figures.values():
            own = ends(records[label], figure)
            row.append(_cell(own))
            if base:
                row.append(LACKING if label == baseline else _gap(own, ends(records.get(baseline, {}), figure)))
        rows.append(row)
    return columns, rows


def _over_steps(
    asked: FiguresTable,
    labels: list[str],
    titles: Mapping[str, str],
    records: Records,
    baseline: str,  # noqa: ARG001 - as the other form has it
) -> tuple[list[str], list[list[Any]]]:
    """One figure at every look."""
    (name, figure), *_ = asked.figures.items()
    steps = sorted({p.step for label in labels for record in records[label].values() for p in curve_of(record, figure)})
    rows = []
    for label in labels:
        row: list[Any] = [titles[label]]
        for step in steps:
            found = {
                seed: point.value
                for seed, record in records[label].items()
                for point in curve_of(record, figure)
                if point.step == step
            }
            row.append(_cell(found))
        rows.append(row)
    return ["method", *(f"{name}, step {step}" for step in steps)], rows


def ends(by_seed: Mapping[int, Mapping[str, Any]], figure: str) -> dict[int, float]:
    """The figure of each run after the last step; runs without it are left out."""
    return {seed: record["figures"][figure] for seed, record in by_seed.items() if figure in record["figures"]}


def starts(records: Records, figure: str) -> dict[int, float]:
    """The figure at each seed before the first step, which all methods share (that of the first one is taken)."""
    found: dict[int, float] = {}
    for by_seed in records.values():
        for seed, record in by_seed.items():
            for point in curve_of(record, figure):
                if point.step == 0:
                    found.setdefault(seed, point.value)
    return found


def _cell(values: Mapping[int, float]) -> str:
    found = interval(list(values.values()))
    return LACKING if found is None else value(found, count=True)


def _gap(own: Mapping[int, float], base: Mapping[int, float]) -> str:
    found = difference(own, base)
    if found is None:
        return LACKING
    ends_ = "" if found.low is None or found.high is None else f" ({short(found.low)} to {short(found.high)})"
    return f"{signed(found.mean)}{ends_}, n = {found.n}"
