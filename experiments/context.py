"""What the digest says around the standings: what runs took, how steady their times are, which text they had."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

from ctkd_core.methods import evidence
from experiments import results
from experiments.definition import Experiment, ExperimentError
from experiments.standing import difference, rounded
from experiments.tables import Records, ends

BITS = "bits_per_byte"
SEEDS = 3  # below which nothing is said of how far apart seeds lie


def minutes_of(experiment: Experiment) -> dict[str, float]:
    """`run_minutes` and `cpu_minutes` of the runs that the experiment itself has, or of its analysis as a whole."""
    if experiment.analysis:
        found = results.read_analysis(experiment)
        return {"run_minutes": _minutes([found.seconds])} if found and found.seconds else {}
    own = [record for record in results.read(experiment).values() if "of" not in record]
    spent = {
        "run_minutes": _minutes(record.get("seconds") for record in own),
        "cpu_minutes": _minutes(record.get("cpu_seconds") for record in own),
    }
    return {name: value for name, value in spent.items() if value}


def _minutes(seconds: Iterable[float | None]) -> float:
    return round(sum(value or 0.0 for value in seconds) / 60, 1)


def ratios(records: Records, figure: str) -> list[float]:
    """For each method with three seeds and more, the largest `figure` of its runs, a step, over the smallest."""
    found = []
    for by_seed in records.values():
        each = [
            spent / record["config"]["steps"]
            for record in by_seed.values()
            if (spent := record["figures"].get(figure)) and record["config"].get("steps")
        ]
        if len(each) >= SEEDS:
            found.append(max(each) / min(each))
    return found


def spread_of(ratios: list[float]) -> evidence.Spread | None:
    """These ratios together; None without any."""
    if not ratios:
        return None
    return evidence.Spread(cells=len(ratios), median=rounded(median(ratios)), most=rounded(max(ratios)))


def text_files(records: Records) -> list[str]:
    """What the first seed learnt from and was measured on, as its runs note it; see `Condition.text_files`."""
    first = min((seed for by_seed in records.values() for seed in by_seed), default=None)
    if first is None:
        return []
    config = next(by_seed[first]["config"] for by_seed in records.values() if first in by_seed)
    return [str(config[key]) for key in ("data", "eval_data") if config.get(key)]


def with_bits(condition: evidence.Condition, records: Records) -> evidence.Condition:
    """The condition with differences in bits per byte, where its own figure is none of bits."""
    if condition.figure.startswith("bits") or not condition.baseline:
        return condition
    bits = {each.label: ends(records.get(each.label, {}), BITS) for each in condition.methods}

    def gaps(label: str) -> dict[str, Any]:
        found = {other: difference(bits[label], bits[other]) for other in bits if other != label}
        there = {other: gap for other, gap in found.items() if gap is not None and other != condition.baseline}
        return {"bits_to_baseline": found.get(condition.baseline), "bits_to_others": there}

    tried = [each.model_copy(update=gaps(each.label)) for each in condition.methods]
    return condition.model_copy(update={"methods": tried})


def noted(claims: Iterable[evidence.Claim], notes: Mapping[str, str], name: str) -> list[evidence.Claim]:
    """The claims of an analysis with the notes of its experiment. Raises ExperimentError for one of no claim."""
    found = list(claims)
    if lost := set(notes) - {claim.claim for claim in found}:
        raise ExperimentError(f"{name}: there is no claim {sorted(lost)[0]!r} for its note.")
    return [claim.model_copy(update={"note": notes.get(claim.claim, claim.note)}) for claim in found]
