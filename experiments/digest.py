"""One digest of all experiments' results, which the Evidence page, the advice and the docs read.

It is a function of the experiments' files alone: whoever writes it anew gets the same bytes. A test holds the committed
one against the committed results.
"""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ctkd_core import files, methods
from ctkd_core.distill.comparison.figures import higher_is_better
from ctkd_core.distill.config import RunConfig
from ctkd_core.methods import evidence
from ctkd_core.methods.evidence import store
from ctkd_core.methods.evidence.figures import in_words
from experiments import context, definition, results
from experiments.answers import Source, answer_of
from experiments.definition import Condition, Experiment, texts_of
from experiments.held_out import BytesOf, bytes_by_domain, held_out_text
from experiments.shared_settings import Asked, Records, in_common, pooled, shared_settings
from experiments.standing import (
    LEAST_LOOKS,
    Standing,
    curve_of,
    difference,
    mean_start,
    mean_teacher,
    out_of_reach,
    standings,
)
from experiments.tables import Records as Tabled
from experiments.tables import tables_of

DOCS = Path(__file__).resolve().parents[1] / "docs" / "lists.py"
# What a run config has that says nothing about the kind of a run; which text it had is compared on its own.
_ASIDE = ("version", "seed", "name", "data", "eval_data", "threads", "device", "keep_checkpoints")
SHARED = (
    "Seconds, CPU seconds too, are those of a machine that other work shared: they tell apart what differs much, and "
    "nothing finer."
)
FEW_LOOKS = (
    f"No values at equal seconds: runs have fewer than {LEAST_LOOKS} looks at held-out text, too few for a line."
)
# Options that a config leaves out at their defaults: a run without one had that default.
_LEFT_OUT = frozenset(asdict(RunConfig())) - frozenset(RunConfig().to_dict()) - frozenset(_ASIDE)


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
    """The digest as it is written: UTF-8 JSON, each experiment and each shared setting on a line of its own."""
    document = build([definition.load(name) for name in definition.names()]).model_dump(exclude_defaults=True)

    def compact(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    parts = [
        f"{compact(key)}:"
        + ("[\n" + ",\n".join(map(compact, value)) + "\n]" if isinstance(value, list) else compact(value))
        for key, value in {"version": store.VERSION, **document}.items()
    ]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def build(experiments: list[Experiment]) -> evidence.Digest:
    """The digest of these experiments' results."""
    sources = {each.name: _source(each) for each in experiments}
    records = [found for source, _ in sources.values() for found in source.records.values()]
    asked = [condition for _, conditions in sources.values() for condition in conditions]
    pool = pooled(asked)
    told = {name: _with_claims(source, pool) for name, (source, _) in sources.items()}

    def spread(figure: str) -> evidence.Spread | None:
        return context.spread_of([ratio for found in records for ratio in context.ratios(found, figure)])

    return evidence.Digest(
        version=store.VERSION,
        experiments=[
            source.found.model_copy(update={"answer": answer_of(name, told)}) for name, source in told.items()
        ],
        shared=shared_settings(asked),
        seconds_spread=spread("training_seconds"),
        cpu_spread=spread("training_cpu_seconds"),
    )


def _source(experiment: Experiment) -> tuple[Source, list[Asked]]:
    """What was found, and what its conditions may share.

    Without the answer, and without claims on runs: both may rest on runs of other experiments.
    """
    shared: dict[str, Any] = {
        "name": experiment.name,
        "title": experiment.title,
        "question": " ".join(experiment.question.split()),
        "minutes": experiment.minutes,
        "small": experiment.small,
        "reproduce": f"make evidence NAME={experiment.name} AGAIN=1",
        "needs": list(experiment.needs),
        **context.minutes_of(experiment),
    }
    if experiment.analysis:
        found = results.read_analysis(experiment)
        if found is None:
            return Source(experiment, evidence.Experiment(**shared), {}), []
        claims = context.noted(found.claims, experiment.notes, experiment.name)
        parts: dict[str, Any] = {"environment": found.environment, "tables": found.tables, "claims": claims}
        return Source(experiment, evidence.Experiment(**shared, **parts), {}), []
    kept = list(results.read(experiment).values())
    chosen = {condition.name: _chosen(experiment, condition, kept) for condition in experiment.conditions}
    last = max(kept, key=lambda record: (record["finished"], record["key"]), default=None)
    bytes_of = bytes_by_domain(kept)
    conditions = {
        each.name: _condition(experiment, each, *chosen[each.name], bytes_of) for each in experiment.conditions
    }
    document = evidence.Experiment(
        **shared,
        environment=dict(last["environment"]) if last else {},
        conditions=list(conditions.values()),
        tables=[
            table
            for asked in experiment.tables
            for table in tables_of(asked, conditions[asked.condition], chosen[asked.condition][0], experiment.baseline)
        ],
    )
    source = Source(experiment, document, {name: records for name, (records, _) in chosen.items()})
    return source, [
        Asked(experiment.name, conditions[each.name], records, _configs(experiment, each, records), texts_of(each))
        for each in experiment.conditions
        if any((records := chosen[each.name][0]).values())
    ]


def _with_claims(source: Source, pool: Mapping[tuple[str, str], Records]) -> Source:
    """The same with all records of the settings that its conditions share, and with the verdicts on its claims."""
    asked = source.asked
    records = {name: pool.get((asked.name, name), own) for name, own in source.records.items()}
    if asked.analysis:
        return source
    claims = [_claim(asked, claim, records[claim.condition]) for claim in asked.claims]
    return Source(asked, source.found.model_copy(update={"claims": claims}), records)


def _labels(experiment: Experiment, condition: Condition) -> tuple[str, ...]:
    return condition.methods or tuple(experiment.methods)


def _config(experiment: Experiment, condition: Condition, label: str) -> dict[str, Any]:
    """The run config of a method there, without what differs between its runs."""
    table = {"method": label, **experiment.base, **condition.base, **experiment.methods[label]}
    whole = json.loads(json.dumps(RunConfig.from_dict(table).to_dict()))  # as records hold it
    return {key: value for key, value in whole.items() if key not in _ASIDE}


def _configs(experiment: Experiment, condition: Condition, labels: Iterable[str]) -> dict[str, dict[str, Any]]:
    return {label: _config(experiment, condition, label) for label in labels}


def _teachers(experiment: Experiment, condition: Condition) -> tuple[str, dict[str, str], dict[str, list[str]]]:
    """The teacher of most labels (among equals the baseline's); by label its first teacher, and its further ones."""
    configs = _configs(experiment, condition, _labels(experiment, condition))
    first = {label: str(config["teacher"]) for label, config in configs.items()}
    among = list(first.values())
    usual = max(among, key=lambda name: (among.count(name), name == first.get(experiment.baseline)))
    further = {label: [each["teacher"] for each in config.get("teachers") or ()] for label, config in configs.items()}
    return usual, first, further


def _others(experiment: Experiment, condition: Condition) -> set[str]:
    """Labels that have another teacher than the condition, or further ones."""
    usual, first, further = _teachers(experiment, condition)
    return {label for label in first if first[label] != usual or further[label]}


def _chosen(experiment: Experiment, condition: Condition, kept: list[dict[str, Any]]) -> tuple[Records, list[str]]:
    """The records of a condition by label and seed, and sentences on those left out.

    Of two runs with one seed the later counts. Left out are runs whose config or text isn't what the experiment says
    now, and those measured on other held-out text than most, or trained on other text than most with their seed.
    """
    wanted = _configs(experiment, condition, _labels(experiment, condition))
    texts = texts_of(condition)
    there = [record for record in kept if record["condition"] == condition.name]
    seeds = condition.seeds or experiment.seeds
    fit = [r for r in there if r["seed"] in seeds and _as_planned(r, wanted.get(r["label"]), texts)]
    on_text = _of_most(fit, "eval_data")
    same = [r for seed in seeds for r in _of_most([r for r in on_text if r["seed"] == seed], "data")]
    found: Records = {label: {} for label in wanted}
    for record in sorted(same, key=_age):
        found[record["label"]][record["seed"]] = record
    others, apart = len(there) - len(fit), len(fit) - len(same)
    repeated = len(same) - sum(map(len, found.values()))
    notes = [SHARED] if any(found.values()) else []
    if others:
        notes.append(f"{others} runs aren't counted: the experiment now says otherwise than their configs.")
    if apart:
        notes.append(
            f"{apart} runs aren't counted: they had other text than the runs that they would be compared with."
        )
    if repeated:
        notes.append(f"{repeated} runs aren't counted: there is a later one with the same seed.")
    if any(len(record["curve"]) < LEAST_LOOKS for by_seed in found.values() for record in by_seed.values()):
        notes.append(FEW_LOOKS)
    return found, notes


def _age(record: Mapping[str, Any]) -> tuple[str, str]:
    return record.get("finished", ""), record["key"]


def _as_planned(record: Mapping[str, Any], asked: Mapping[str, Any] | None, texts: Mapping[str, Any]) -> bool:
    """Whether a run's config, and its text as far as it was noted, are what the experiment says now."""
    if asked is None or any(asked[key] != value for key, value in record["config"].items() if key in asked):
        return False
    if any((key in asked) != (key in record["config"]) for key in _LEFT_OUT):
        return False
    return all(record.get(key) in (None, value) for key, value in texts.items())


def _of_most(records: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """The records with the text that most methods have at most seeds (among equals: the latest).

    A file of samples is named by its content, so equal names are equal text.
    """
    by_text: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        by_text.setdefault(str(record["config"].get(key) or ""), []).append(record)

    def weight(found: list[dict[str, Any]]) -> tuple[int, tuple[str, str]]:
        return len({(r["label"], r["seed"]) for r in found}), max(map(_age, found))

    return max(by_text.values(), key=weight, default=[])


def _condition(
    experiment: Experiment, condition: Condition, records: Records, notes: list[str], bytes_of: BytesOf
) -> evidence.Condition:
    configs = _configs(experiment, condition, records)
    config, shared = next(iter(configs.values())), in_common(configs)
    others = _others(experiment, condition)
    found = standings(records, condition.figure, experiment.baseline, others)
    order = sorted(found, key=lambda label: (found[label].rank or len(found) + 1, not found[label].runs))
    held_out = condition.held_out.texts if condition.held_out else ()
    document = evidence.Condition(
        name=condition.name,
        title=condition.title,
        kind=condition.kind,
        regime=condition.regime,
        teacher=_teachers(experiment, condition)[0],
        **{key: config[key] for key in ("student", "student_model", "steps", "batch_size", "learning_rate")},
        figure=condition.figure,
        higher_is_better=higher_is_better(condition.figure),
        baseline=experiment.baseline if experiment.baseline in records else "",
        samples=condition.train.count * len(condition.train.texts),
        train=list(condition.train.texts),
        held_out=list(held_out),
        held_out_text=held_out_text(condition, records, config["eval_samples"], bytes_of),
        start=mean_start(records, condition.figure),
        teacher_value=mean_teacher(records, condition.figure, others),
        config=shared,
        methods=[_tried(experiment, condition, label, found[label], shared) for label in order],
        notes=[*notes, *filter(None, [out_of_reach(found)])],
        text_files=context.text_files(records),
    )
    return context.with_bits(document, records)


def _tried(
    experiment: Experiment, condition: Condition, label: str, found: Standing, shared: Mapping[str, Any]
) -> evidence.Tried:
    config = _config(experiment, condition, label)
    usual, first, further = _teachers(experiment, condition)
    values = vars(found) | {"runs": list(found.runs.values())}
    seeds = condition.seeds or experiment.seeds
    return evidence.Tried(
        label=label,
        title=_title(experiment, condition, label),
        method=config["method"],
        options=_options(experiment, condition, label),
        teacher=first[label] if first[label] != usual else "",
        further_teachers=further[label],
        missing=[seed for seed in seeds if seed not in found.runs],
        config={key: value for key, value in config.items() if key not in shared},
        **values,
    )


def _title(experiment: Experiment, condition: Condition, label: str) -> str:
    """The short name of the method, with its options and a teacher that isn't the condition's in brackets."""
    options = _options(experiment, condition, label)
    usual, first, further = _teachers(experiment, condition)
    parts = [
        f"{name.rpartition('.')[2].replace('_', ' ')} {value}" for name, value in options.items() if name != "teachers"
    ]
    parts += [f"teacher {first[label]}"] if first[label] != usual else []
    said = ", ".join([*parts, *(f"with teacher {name}" for name in further[label])])
    short = methods.get(experiment.methods[label].get("method", label)).label
    return f"{short} ({said})" if said else short


def _options(experiment: Experiment, condition: Condition, label: str) -> dict[str, Any]:
    """What a label sets that the method alone wouldn't have, with dotted names; its teacher is no option of it."""
    from ctkd_core.distill.comparison.kinds import flat

    given = {**experiment.methods[label]}
    method = given.pop("method", label)
    given.pop("teacher", None)
    plain = {"method": method, **experiment.base, **condition.base}
    usual = flat(RunConfig.from_dict(plain).to_dict())
    defaults = {f"method_options.{k}": v for k, v in methods.get(method).resolve_loss({}).items()}
    return {name: value for name, value in flat(given).items() if (defaults | usual).get(name) != value}


def _claim(experiment: Experiment, claim: definition.Claim, records: Tabled) -> evidence.Claim:
    condition = next(each for each in experiment.conditions if each.name == claim.condition)
    figure = claim.figure or condition.figure
    better, from_start = records.get(claim.better, {}), claim.than == definition.START
    than = _starts(better, figure) if from_start else _values(records.get(claim.than, {}), figure)
    gap = difference(_values(better, figure), than)
    were_run = bool(better) and (from_start or bool(records.get(claim.than)))
    names = [_title(experiment, condition, claim.better)]
    names.append("its start" if from_start else _title(experiment, condition, claim.than))
    return evidence.Claim(
        claim=claim.claim,
        source=claim.source,
        ours=_ours(gap, *names, figure, condition, were_run),
        verdict=evidence.verdict_of(gap, higher_is_better(figure)),
        condition=claim.condition,
        better=claim.better,
        than=claim.than,
        figure=figure,
        difference=gap,
        note=claim.note,
    )


def _values(by_seed: Mapping[int, Mapping[str, Any]], figure: str) -> dict[int, float]:
    return {seed: record["figures"][figure] for seed, record in by_seed.items() if figure in record["figures"]}


def _starts(by_seed: Mapping[int, Mapping[str, Any]], figure: str) -> dict[int, float]:
    """The figure of each run before the first step."""
    return {
        seed: point.value for seed, record in by_seed.items() for point in curve_of(record, figure) if point.step == 0
    }


def _ours(
    gap: evidence.Difference | None, better: str, than: str, figure: str, condition: Condition, were_run: bool
) -> str:
    if gap is None and were_run:
        return f"not measured: no {in_words(figure)} of both at one seed ({condition.title})"
    if gap is None:
        return f"not run: {condition.title}"
    ends = "" if gap.low is None else f" ({gap.low:+.3g} to {gap.high:+.3g})"
    return (
        f"{better} minus {than}: {gap.mean:+.3g}{ends} in {in_words(figure)}, n = {gap.n}, probability of "
        f"chance {gap.probability:.3g} ({condition.title})"
    )
