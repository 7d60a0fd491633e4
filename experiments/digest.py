"""One digest of all experiments' results, which the Evidence page, the advice and the docs read.

It is a function of the experiments' files alone: whoever writes it anew gets the same bytes. A test holds the committed
one against the committed results.
"""

from __future__ import annotations

import json
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctkd_core import files, methods
from ctkd_core.distill.comparison.figures import higher_is_better
from ctkd_core.distill.config import RunConfig
from ctkd_core.methods import evidence
from ctkd_core.methods.evidence import store
from experiments import definition, results
from experiments.definition import Condition, Experiment
from experiments.standing import Standing, difference, mean_start, mean_teacher, standings

DOCS = Path(__file__).resolve().parents[1] / "docs" / "lists.py"
# What a run config has that says nothing about the kind of a run.
_ASIDE = ("version", "seed", "name", "data", "eval_data", "threads", "device", "keep_checkpoints")
SHARED = "Seconds are those of a machine that other work shared: they tell apart what differs much, and nothing finer."
Records = dict[str, dict[int, Mapping[str, Any]]]


def write(path: Path = store.PATH) -> Path:
    """Write the digest of all experiments, and the docs that read it; returns where.

    Raises ExperimentError for results that can't be read.
    """
    files.write_atomic(path, text())
    store.load.cache_clear()
    if path == store.PATH and DOCS.is_file():
        runpy.run_path(str(DOCS))["main"]()
    return path


def text() -> str:
    """The digest as it is written: UTF-8 JSON, one experiment, condition and method after another."""
    document = build([definition.load(name) for name in definition.names()]).model_dump(exclude_defaults=True)
    return json.dumps({"version": store.VERSION, **document}, ensure_ascii=False, indent=1) + "\n"


def build(experiments: list[Experiment]) -> evidence.Digest:
    """The digest of these experiments' results."""
    return evidence.Digest(version=store.VERSION, experiments=[_experiment(each) for each in experiments])


def _experiment(experiment: Experiment) -> evidence.Experiment:
    shared = {
        "name": experiment.name,
        "title": experiment.title,
        "question": " ".join(experiment.question.split()),
        "minutes": experiment.minutes,
        "small": experiment.small,
        "reproduce": f"make evidence NAME={experiment.name} AGAIN=1",
        "needs": list(experiment.needs),
    }
    if experiment.analysis:
        found = results.read_analysis(experiment)
        if found is None:
            return evidence.Experiment(**shared)
        parts = {"environment": found.environment, "tables": found.tables, "claims": found.claims}
        return evidence.Experiment(**shared, **parts)
    kept = list(results.read(experiment).values())
    chosen = {condition.name: _chosen(experiment, condition, kept) for condition in experiment.conditions}
    last = max(kept, key=lambda record: (record["finished"], record["key"]), default=None)
    return evidence.Experiment(
        **shared,
        environment=dict(last["environment"]) if last else {},
        conditions=[_condition(experiment, each, *chosen[each.name]) for each in experiment.conditions],
        claims=[_claim(experiment, claim, chosen[claim.condition][0]) for claim in experiment.claims],
    )


def _labels(experiment: Experiment, condition: Condition) -> tuple[str, ...]:
    return condition.methods or tuple(experiment.methods)


def _config(experiment: Experiment, condition: Condition, label: str) -> dict[str, Any]:
    """The run config of a method there, without what differs between its runs."""
    table = {"method": label, **experiment.base, **condition.base, **experiment.methods[label]}
    whole = json.loads(json.dumps(RunConfig.from_dict(table).to_dict()))  # as records hold it
    return {key: value for key, value in whole.items() if key not in _ASIDE}


def _chosen(experiment: Experiment, condition: Condition, kept: list[dict[str, Any]]) -> tuple[Records, list[str]]:
    """The records of a condition by label and seed, and sentences on those left out.

    Of two runs with one seed the later counts. Left out are runs whose config isn't what the experiment says now.
    """
    found: Records = {label: {} for label in _labels(experiment, condition)}
    wanted = {label: _config(experiment, condition, label) for label in found}
    seeds = condition.seeds or experiment.seeds
    others = repeated = 0
    for record in sorted(kept, key=lambda record: (record.get("finished", ""), record["key"])):
        label, seed = record["label"], record["seed"]
        if record["condition"] != condition.name:
            continue
        asked = wanted.get(label)
        if asked is None or seed not in seeds or any(asked[k] != v for k, v in record["config"].items() if k in asked):
            others += 1
            continue
        repeated += seed in found[label]
        found[label][seed] = record
    notes = [SHARED] if any(found.values()) else []
    if others:
        notes.append(f"{others} runs aren't counted: the experiment now says otherwise than their configs.")
    if repeated:
        notes.append(f"{repeated} runs aren't counted: there is a later one with the same seed.")
    return found, notes


def _condition(experiment: Experiment, condition: Condition, records: Records, notes: list[str]) -> evidence.Condition:
    configs = {label: _config(experiment, condition, label) for label in records}
    config = next(iter(configs.values()))
    shared = {key: v for key, v in config.items() if all(key in c and c[key] == v for c in configs.values())}
    found = standings(records, condition.figure, experiment.baseline)
    order = sorted(found, key=lambda label: found[label].rank or len(found) + 1)
    held_out = condition.held_out.texts if condition.held_out else ()
    return evidence.Condition(
        name=condition.name,
        title=condition.title,
        kind=condition.kind,
        regime=condition.regime,
        **{key: config[key] for key in ("student", "teacher", "student_model", "steps", "batch_size", "learning_rate")},
        figure=condition.figure,
        higher_is_better=higher_is_better(condition.figure),
        baseline=experiment.baseline if experiment.baseline in records else "",
        samples=condition.train.count * len(condition.train.texts),
        train=list(condition.train.texts),
        held_out=list(held_out),
        start=mean_start(records, condition.figure),
        teacher_value=mean_teacher(records, condition.figure),
        config=shared,
        methods=[_tried(experiment, condition, label, found[label], shared) for label in order],
        notes=notes,
    )


def _tried(
    experiment: Experiment, condition: Condition, label: str, found: Standing, shared: Mapping[str, Any]
) -> evidence.Tried:
    config = _config(experiment, condition, label)
    values = vars(found) | {"runs": list(found.runs.values())}
    seeds = condition.seeds or experiment.seeds
    return evidence.Tried(
        label=label,
        title=_title(experiment, condition, label),
        method=config["method"],
        options=_options(experiment, condition, label),
        missing=[seed for seed in seeds if seed not in found.runs],
        config={key: value for key, value in config.items() if key not in shared},
        **values,
    )


def _title(experiment: Experiment, condition: Condition, label: str) -> str:
    """The short name of the method, with its options in brackets."""
    options = _options(experiment, condition, label)
    said = ", ".join(f"{name.rpartition('.')[2].replace('_', ' ')} {value}" for name, value in options.items())
    short = methods.get(experiment.methods[label].get("method", label)).label
    return f"{short} ({said})" if said else short


def _options(experiment: Experiment, condition: Condition, label: str) -> dict[str, Any]:
    """What a label sets that the method alone wouldn't have, with dotted names."""
    from ctkd_core.distill.comparison.kinds import flat

    given = {**experiment.methods[label]}
    method = given.pop("method", label)
    plain = {"method": method, **experiment.base, **condition.base}
    usual = flat(RunConfig.from_dict(plain).to_dict())
    defaults = {f"method_options.{k}": v for k, v in methods.get(method).resolve_loss({}).items()}
    return {name: value for name, value in flat(given).items() if (defaults | usual).get(name) != value}


def _claim(experiment: Experiment, claim: definition.Claim, records: Records) -> evidence.Claim:
    condition = next(each for each in experiment.conditions if each.name == claim.condition)
    figure = claim.figure or condition.figure
    values = [
        {seed: r["figures"][figure] for seed, r in records.get(label, {}).items() if figure in r["figures"]}
        for label in (claim.better, claim.than)
    ]
    gap = difference(*values)
    names = [_title(experiment, condition, label) for label in (claim.better, claim.than)]
    return evidence.Claim(
        claim=claim.claim,
        source=claim.source,
        ours=_ours(gap, *names, figure, condition),
        verdict=evidence.verdict_of(gap, higher_is_better(figure)),
        condition=claim.condition,
        better=claim.better,
        than=claim.than,
        figure=figure,
        difference=gap,
    )


def _ours(gap: evidence.Difference | None, better: str, than: str, figure: str, condition: Condition) -> str:
    if gap is None:
        return f"not run: {condition.title}"
    ends = "" if gap.low is None else f" ({gap.low:+.3g} to {gap.high:+.3g})"
    return (
        f"{better} minus {than}: {gap.mean:+.3g}{ends} in {figure.replace('_', ' ')}, n = {gap.n}, probability of "
        f"chance {gap.probability:.3g} ({condition.title})"
    )
