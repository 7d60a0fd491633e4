"""The comparison itself: one row a kind with mean, interval, difference to the baseline and rank; frames for files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from ctkd_core.distill.comparison.figures import DEFAULT, figures_of, higher_is_better, on_held_out_text
from ctkd_core.distill.comparison.kinds import PROCESSES, Kind, kinds_of, options_of
from ctkd_core.distill.comparison.statistics import LEVEL, Difference, Estimate, difference, estimate, holm
from ctkd_core.distill.comparison.unequal import changed_files, ids_of, unequal
from ctkd_core.distill.held_out_source import differing_in
from ctkd_core.distill.runs import Run
from ctkd_core.errors import RunError, short, unknown
from ctkd_core.markup.visible import counted

if TYPE_CHECKING:
    import pandas as pd

BASELINE = "sft"
LEAST_SEEDS = 2  # of a probability: with one, either sign of the only difference is as far from 0
ONE_SEED_NOTE = (
    "Kinds that share one seed alone have no probability: whether their difference is chance takes two or more seeds "
    "to say."
)
INTERVALS_NOTE = (
    "Intervals are Student's, over seeds. The probability is that of a two-sided sign-flip test of the differences at "
    "equal seeds; with n seeds it can't fall below 2 / 2^n. Where intervals are shown, they end at what a figure can "
    "be (a share at 0 and 1, bits at 0): those of few seeds may reach beyond, and do so in JSON and files."
)


@dataclass(frozen=True)
class RankedKind:
    """One kind: its figures by name and, for the figure that is compared, difference and rank.

    rank         1 is best, equal means share one; None where the figure wasn't measured, or can't be compared
    against_next difference to the kind that comes next in the order; its probability is that of the order being chance
    """

    kind: Kind
    figures: dict[str, Estimate]
    difference: Difference | None = None
    rank: int | None = None
    against_next: Difference | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in `ctkd runs compare --json`."""
        return {
            "label": self.kind.label,
            "method": self.kind.config.method,
            "runs": [run.id for run in self.kind.runs],
            "seeds": sorted(self.kind.by_seed),
            "figures": {name: asdict(value) for name, value in self.figures.items()},
            "difference": self.difference and self.difference.to_dict(),
            "rank": self.rank,
            "against_next": self.against_next and self.against_next.to_dict(),
        }


@dataclass(frozen=True)
class Comparison:
    """Kinds compared by one figure, best first. `baseline`: label of the kind that differences are to, or None.

    Where the figure is of held-out text and the kinds don't share that text, they stand in the order given, without
    ranks and differences.
    """

    figure: str
    baseline: str | None
    rows: tuple[RankedKind, ...]
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in `ctkd runs compare --json`."""
        return {
            "figure": self.figure,
            "higher_is_better": higher_is_better(self.figure),
            "level": LEVEL,
            "baseline": self.baseline,
            "kinds": [row.to_dict() for row in self.rows],
            "notes": [*self.notes, INTERVALS_NOTE],
        }

    def frame(self) -> pd.DataFrame:
        """One row a kind; columns `<figure>`, `<figure>.low`, `.high`, `.n` for every figure."""
        import pandas as pd

        rows = []
        for row in self.rows:
            line: dict[str, Any] = {"rank": row.rank, "kind": row.kind.label, "method": row.kind.config.method}
            line["seeds"] = len(row.kind.by_seed)
            for name in self.names:
                found = row.figures.get(name)
                line[name] = found and found.mean
                line |= {f"{name}.{key}": getattr(found, key, None) for key in ("low", "high", "n")}
            for key, gap in (("difference", row.difference), ("against_next", row.against_next)):
                line[key] = gap and gap.mean
                line |= {f"{key}.{part}": getattr(gap, part, None) for part in ("low", "high", "probability")}
            rows.append(line)
        return pd.DataFrame(rows)


def compare(
    runs: Iterable[Run],
    figure: str = DEFAULT,
    baseline: str | None = None,
    figures: Callable[[Run], dict[str, float]] = figures_of,
) -> Comparison:
    """Compare runs by a figure of theirs; those that differ in the seed alone are one row.

    baseline  a method or a label; None: SFT where it is there
    figures   gives the figures of a run; by default they are read from its files

    Raises RunError for an unknown figure or baseline.
    """
    kinds = kinds_of(runs)
    values = {kind.label: {seed: figures(run) for seed, run in kind.by_seed.items()} for kind in kinds}
    names = list(dict.fromkeys(key for table in values.values() for found in table.values() for key in found))
    names.sort(key=lambda name: name != DEFAULT)
    if figure not in names and names and figure != DEFAULT:
        parts = [name for name in names if name.startswith(f"{figure}.")]
        if parts:
            raise RunError(f"figure {short(figure)} is a table; name one of its figures: {', '.join(parts)}.")
        word = figure.lower().replace("-", "_").replace(" ", "_")
        meant = [repr(name) for name in names if name.rpartition(".")[2] == word]
        if meant:
            raise RunError(f"unknown figure {short(figure)}; did you mean {' or '.join(meant)}?")
        raise unknown("figure", figure, names, RunError)
    chosen = {
        label: {seed: found[figure] for seed, found in table.items() if figure in found}
        for label, table in values.items()
    }
    base = _baseline(kinds, baseline)
    apart = on_held_out_text(figure) and bool(differing_in([kind.config for kind in kinds]))
    rows = [
        RankedKind(
            kind,
            {
                name: found
                for name in names
                if (found := estimate([f[name] for f in values[kind.label].values() if name in f])) is not None
            },
            None if base is None or kind.label == base or apart else difference(chosen[kind.label], chosen[base]),
        )
        for kind in kinds
    ]
    notes = unequal(kinds, figure if apart else "") + changed_files(run for kind in kinds for run in kind.runs)
    without = [
        run
        for kind in kinds
        for seed, run in sorted(kind.by_seed.items())
        if seed not in chosen[kind.label] and run.status().state == "finished"
    ]
    if without:
        notes.append(f"{counted(len(without), 'run')} didn't measure {figure}: {ids_of(without)}.")
    notes += [
        f"{len(kind.repeated)} older runs of {kind.label} with the same seed aren't counted."
        for kind in kinds
        if kind.repeated
    ]
    ranked = rows if apart else _ranked(_adjusted(rows), chosen, figure)
    gaps = [gap for row in ranked for gap in (row.difference, row.against_next) if gap is not None]
    if any(gap.n < LEAST_SEEDS for gap in gaps):
        notes.append(ONE_SEED_NOTE)
    return Comparison(figure, base, tuple(ranked), tuple(names), tuple(notes))


def run_frame(runs: Sequence[Run]) -> pd.DataFrame:
    """One row a run: id, state, sweep, kind, seed, all options with dotted names (`config.` before), all figures.

    Where some trained in several processes, a column `processes` says in how many; where a file brought some of them,
    a column `opened` says which.
    """
    import pandas as pd

    label = {run.id: kind.label for kind in kinds_of(runs) for run in (*kind.runs, *kind.repeated)}
    rows, any_opened = [], any(run.is_opened for run in runs)
    processes = {run.id: run.processes or 1 for run in runs}
    for run in runs:
        summary = run.summary()
        head = {key: summary[key] for key in ("run_id", "name", "status", "sweep", "seed")} | {"kind": label[run.id]}
        options = {f"config.{key}": _plain(value) for key, value in options_of(run.config).items()}
        head |= {"opened": run.is_opened} if any_opened else {}
        head |= {PROCESSES: processes[run.id]} if set(processes.values()) - {1} else {}
        rows.append(head | figures_of(run) | options)
    return pd.DataFrame(rows)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, (list, tuple, dict)) else value


def _baseline(kinds: Sequence[Kind], wanted: str | None) -> str | None:
    for kind in kinds:
        if wanted in (kind.label, kind.config.method) or (wanted is None and kind.config.method == BASELINE):
            return kind.label
    if wanted is not None and wanted != BASELINE:
        known = [name for kind in kinds for name in (kind.label, kind.config.method)]
        raise unknown("baseline", wanted, known, RunError)
    return None


def _adjusted(rows: list[RankedKind]) -> list[RankedKind]:
    gaps = [row.difference for row in rows if row.difference is not None]
    found = iter(holm([gap.probability for gap in gaps]))
    return [
        row if row.difference is None else replace(row, difference=replace(row.difference, adjusted=next(found)))
        for row in rows
    ]


def _ranked(rows: list[RankedKind], chosen: dict[str, dict[int, float]], figure: str) -> list[RankedKind]:
    sign = -1.0 if higher_is_better(figure) else 1.0
    known = sorted((row for row in rows if figure in row.figures), key=lambda row: sign * row.figures[figure].mean)
    ranked: list[RankedKind] = []
    for k, row in enumerate(known):
        behind = known[k + 1] if k + 1 < len(known) else None
        gap = None if behind is None else difference(chosen[row.kind.label], chosen[behind.kind.label])
        before = ranked[-1] if ranked else None
        equal = before is not None and before.figures[figure].mean == row.figures[figure].mean
        ranked.append(replace(row, rank=before.rank if before and equal else k + 1, against_next=gap))
    return [*ranked, *(row for row in rows if figure not in row.figures)]
