"""What errors of an alignment cost: the runs of `alignment-price` beside the boundary F1 of their groups.

One loss is trained on byte-exact groups, on those of time warping and on pairs by index; the differences in bits per
byte are taken at equal seeds. F1 is that of `alignment-error`, for the same pair and language.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ctkd_core.distill.comparison.statistics import difference, estimate
from experiments import results
from experiments.analyses.intervals import verdict
from experiments.analyses.records import claim, table
from experiments.definition import load

NAME = "alignment-price"
# Label of a run: whose groups it trains on, as `alignment-error` names them, and the label with byte-exact ones.
GROUPS = {
    "gold-bytes": ("GOLD", "gold-bytes"),
    "gold-dtw": ("MinED", "gold-bytes"),
    "gold-positional": ("ULD, by index", "gold-bytes"),
    "uld-bytes": ("SeDi, bytes", "uld-bytes"),
    "uld-positional": ("ULD, by index", "uld-bytes"),
}
FIGURE = "bits_per_byte"

F1 = Mapping[tuple[str, str, str, str], float]


def beside(f1: F1) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Tables and claims of the runs that are done; none where there are none. f1: see `alignment_error.f1_of`."""
    runs = list(results.read(load(NAME)).values())
    return priced(runs, f1) if runs else ([], [])


def priced(runs: Sequence[Mapping[str, Any]], f1: F1) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """A table of all labels with F1 and bits per byte, one of the slopes between them, and what they say together.

    runs: records of results.json, with condition ("LANGUAGE-..."), label, seed, figures and config.
    """
    rows, points = [], []
    by_seed: dict[str, list[tuple[float, dict[int, float]]]] = {}
    for condition in dict.fromkeys(run["condition"] for run in runs):
        here = [run for run in runs if run["condition"] == condition]
        by_label = {label: _by_seed(here, label) for label in GROUPS}
        for label, (method, exact) in GROUPS.items():
            values = by_label[label]
            mean = estimate(list(values.values()))
            if mean is None:
                continue
            config = next(run["config"] for run in here if run["label"] == label)
            place = (config["teacher"], config["student"], condition.partition("-")[0], method)
            score = f1.get(place, float("nan"))
            change = difference(values, by_label[exact])
            rows.append([condition, label, _short(100 * score, 1), mean.n, _range(mean.mean, mean.low, mean.high),
                         "-" if change is None or label == exact else _range(change.mean, change.low, change.high),
                         "-" if change is None or label == exact else _short(change.probability, 2)])  # fmt: skip
            if change is not None and label != exact:
                points.append((1.0 - score, change))
                gaps = {seed: values[seed] - base for seed, base in by_label[exact].items() if seed in values}
                by_seed.setdefault(condition, []).append((1.0 - score, gaps))
    found = table(
        "What errors of the alignment cost",
        ["condition", "loss on groups", "boundary F1, percent", "seeds", "bits per byte", "minus byte-exact groups",
         "chance"],
        rows,
        "The same loss, data, steps and seeds; means with 95 % intervals over seeds, differences at equal seeds. "
        "Chance: of a sign-flip test; with n seeds it isn't below 2 / 2^n.",
    )  # fmt: skip
    return [found, slopes_of(by_seed)], [_claim(points)]


def slopes_of(points: Mapping[str, Sequence[tuple[float, Mapping[int, float]]]]) -> dict[str, Any]:
    """A table of what lost F1 costs: a line for each seed, and the mean of their slopes.

    points: by condition the lost F1 of each comparison, and its differences in bits per byte by seed.
    """
    whole = [point for found in points.values() for point in found]
    rows = []
    for name, found in (*points.items(), ("all", whole)):
        seeds = sorted({seed for _, gaps in found for seed in gaps})
        lines = []
        for seed in seeds:
            there = [(lost, gaps[seed]) for lost, gaps in found if seed in gaps]
            lines.append(slope([lost for lost, _ in there], [gap for _, gap in there]))
        mean = estimate([line for line in lines if np.isfinite(line)])
        if mean is not None:
            rows.append([name, len(found), mean.n, _range(mean.mean, mean.low, mean.high)])
    return table(
        "What boundary F1 buys in bits per byte",
        ["condition", "comparisons", "seeds", "bits per byte for all of F1"],
        rows,
        "Least-squares lines through 0 of the bits that inexact groups cost over the F1 that they lose, one a seed: "
        "the slope is what going from no common boundary to all of them would buy. Mean with 95 % interval over seeds. "
        "F1 is that of manuals in the language, not of the texts that were learnt.",
    )


def slope(missing: Sequence[float], cost: Sequence[float]) -> float:
    """Bits per byte that each unit of lost F1 costs: the least-squares line through 0; NaN without any loss."""
    x, y = np.asarray(missing, dtype=np.float64), np.asarray(cost, dtype=np.float64)
    kept = np.isfinite(x) & np.isfinite(y)
    x, y = x[kept], y[kept]
    return float((x * y).sum() / (x * x).sum()) if (x * x).sum() > 0 else float("nan")


def _claim(points: Sequence[tuple[float, Any]]) -> dict[str, str]:
    """Worse wherever the whole interval says so on most points, and nowhere better; or the other way round."""
    signs = [0 if d.low is None or d.high is None else int(d.low > 0) - int(d.high < 0) for _, d in points]
    line = slope([x for x, _ in points], [d.mean for _, d in points])
    return claim(
        "Errors of the alignment cost bits per byte: a loss learns worse on groups that join different text.",
        "SeDi, GOLD, CDM (each of its own alignment)",
        f"worse with an interval above 0 in {signs.count(1)} of {len(signs)} comparisons, better in {signs.count(-1)}; "
        f"{_short(line, 3)} bits per byte for each unit of lost F1 (least squares through 0)",
        verdict(signs),
    )


def _by_seed(runs: Sequence[Mapping[str, Any]], label: str) -> dict[int, float]:
    return {run["seed"]: run["figures"][FIGURE] for run in runs if run["label"] == label and FIGURE in run["figures"]}


def _range(mean: float, low: float | None, high: float | None) -> str:
    return f"{mean:.4f}" if low is None or high is None else f"{mean:.4f} ({low:.4f} to {high:.4f})"


def _short(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else "-"
