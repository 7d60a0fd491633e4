"""An experiment: one question in a folder of its own, with the conditions under which it is asked.

`experiments/NAME/experiment.yaml`:

    title: Does a teacher help, and whose method best?
    question: ...
    minutes: 90                        # what all runs take on two cores; said beforehand
    base: {student: smollm2, ...}      # a run config that all conditions share
    methods: {sft: {}, alm: {}}        # label: the run options that make it (`method` is the label where none is named)
    seeds: [0, 1, 2]
    conditions:
      - name: ru-few
        title: 24 pieces of Russian documentation, seen often
        kind: cross-family             # what kind of pair it is, for the advice
        regime: few samples            # see REGIMES
        train: {texts: [ru-desktop], count: 24, by_seed: true}
        held_out: {texts: [ru-desktop, ru-system], count: 12}
        base: {steps: 40}
    claims:                            # compared at equal seeds; experiments/digest.py gives the verdict
      - claim: The teacher helps where there are few samples.
        source: ours
        condition: ru-few
        better: bytes
        than: sft
        note: ...                      # what to know beside the verdict; may be left out
    tables:                            # figures of the runs beside that of the condition; experiments/tables.py
      - title: Bits per byte by language
        condition: ru-few
        figures: {Russian: bits_by_domain.ru-desktop}

An experiment that trains nothing has `analysis: NAME` instead of methods, seeds and conditions: running it calls
`experiments.analyses.NAME.run(experiment, say)`, which gives tables and claims (`results.Analysis`). What to know
beside the verdict of such a claim stands in `notes: {CLAIM: NOTE}`. `small: true`: it needs nothing that isn't
installed with the program, and `make evidence` runs it. `experiments/NAME/answer.md` answers the question in words
(`experiments/answers.py`).

Each condition has every method with every seed. `by_seed`: each seed learns from other samples, so that what is found
isn't about one draw of them; all methods have the same ones at one seed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ctkd_core import distill, files
from ctkd_core.distill.config import RunConfig
from ctkd_core.errors import CtkdError, unknown
from ctkd_core.files import documents
from ctkd_core.methods.evidence import KINDS, REGIMES
from experiments import texts

ROOT = Path(__file__).resolve().parent
BUNDLED = "bundled"
START = "start"  # what a claim may compare a method with: its own students before the first step
# Figures that a record has of every look at held-out text, the one before the first step included.
CURVE = ("bits_per_byte", "bits_by_domain", "mass_by_class", "arithmetic", "exposure", "agreement")
BUNDLED_DATA = Path(distill.__file__).resolve().parent / "data"
_STRICT = ConfigDict(extra="forbid", frozen=True)


class ExperimentError(CtkdError):
    """An experiment can't be read or run."""


class Texts(BaseModel):
    """Which samples a side of the data has.

    texts     LANGUAGE-DOMAIN of the packages, or bundled:NAME
    count     samples of each of them; 0: all
    longest   characters of a text (packages only)
    by_seed   whether each seed takes samples of its own
    """

    model_config = _STRICT
    texts: tuple[str, ...]
    count: int = Field(default=0, ge=0)
    longest: int = Field(default=texts.LONGEST, ge=20)
    by_seed: bool = False


class Claim(BaseModel):
    """Something that is said of methods, and the comparison that would show it.

    better, than   labels of methods, compared by `figure` (default: that of the condition) at equal seeds; than may be
                   "start": the students of `better` before the first step
    """

    model_config = _STRICT
    claim: str
    source: str
    condition: str
    better: str
    than: str
    figure: str = ""
    note: str = ""


class FiguresTable(BaseModel):
    """A table of figures that the runs of a condition have, a row a method.

    figures     {column: figure}; beside each stands the difference to the baseline
    over_steps  instead, the one figure at every look at held-out text, a column a step
    note        what to know of them
    """

    model_config = _STRICT
    title: str
    condition: str
    figures: dict[str, str] = Field(min_length=1)
    over_steps: bool = False
    note: str = ""


class Condition(BaseModel):
    """One setting in which all methods are tried. `kind` and `regime`: those of `ctkd_core.methods.evidence`."""

    model_config = _STRICT
    name: str
    title: str
    kind: str
    regime: str
    train: Texts
    held_out: Texts | None = None
    base: dict[str, Any] = Field(default_factory=dict)
    methods: tuple[str, ...] = ()  # none: all of the experiment
    seeds: tuple[int, ...] = ()  # none: those of the experiment
    figure: str = "bits_per_byte"


class Experiment(BaseModel):
    """The content of an experiment.yaml."""

    model_config = _STRICT
    name: str
    title: str
    question: str
    minutes: int
    needs: tuple[str, ...] = ()
    base: dict[str, Any] = Field(default_factory=dict)
    methods: dict[str, dict[str, Any]] = Field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    conditions: tuple[Condition, ...] = ()
    analysis: str = Field(default="", pattern=r"^([a-z][a-z0-9_]*)?$")
    small: bool = False
    claims: tuple[Claim, ...] = ()
    tables: tuple[FiguresTable, ...] = ()
    notes: dict[str, str] = Field(default_factory=dict)
    baseline: str = "sft"

    @property
    def folder(self) -> Path:
        """Where its definition and its results lie."""
        return ROOT / self.name


@dataclass(frozen=True)
class Planned:
    """A run that an experiment asks for. `key` names what its result depends on, wherever its files lie."""

    condition: Condition
    label: str
    seed: int
    config: RunConfig
    key: str


def names() -> list[str]:
    """The names of all experiments."""
    return sorted(path.parent.name for path in ROOT.glob("*/experiment.yaml"))


def load(name: str) -> Experiment:
    """The experiment in folder `name`. Raises ExperimentError with what is wrong."""
    path = ROOT / name / "experiment.yaml"
    if name not in names():
        raise ExperimentError(f"there is no experiment {name!r}; there are {', '.join(names())}.")
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
        found = Experiment(name=name, **table)
    except (yaml.YAMLError, ValidationError, TypeError) as fault:
        said = documents.sentences(fault) if isinstance(fault, ValidationError) else str(fault)
        raise ExperimentError(f"{name}/experiment.yaml: {said}") from None
    _check(found)
    return found


def _check(found: Experiment) -> None:
    """Raises ExperimentError for parts that don't fit together."""
    trains = (found.methods, found.seeds, found.conditions)
    if bool(found.analysis) == all(trains) or (found.analysis and any(trains)):
        raise ExperimentError(f"{found.name}: an experiment has methods, seeds and conditions, or else an analysis.")
    known = {condition.name for condition in found.conditions}
    if len(known) < len(found.conditions):
        raise ExperimentError(f"{found.name}: two conditions have one name.")
    for condition in found.conditions:
        if missing := set(condition.methods) - set(found.methods):
            raise ExperimentError(f"{found.name}: condition {condition.name} names unknown methods {sorted(missing)}.")
        if condition.kind not in KINDS:
            raise unknown("kind of pair", condition.kind, KINDS, ExperimentError)
        if condition.regime not in REGIMES:
            raise unknown("regime", condition.regime, REGIMES, ExperimentError)
    for claim in found.claims:
        figure = claim.figure or next((c.figure for c in found.conditions if c.name == claim.condition), "")
        if claim.than == START and figure.partition(".")[0] not in CURVE:
            raise ExperimentError(
                f"{found.name}: the claim {claim.claim!r} compares {figure} with the start, where that isn't kept; of "
                f"{', '.join(CURVE)} it is."
            )
    if START in found.methods:
        raise ExperimentError(f"{found.name}: no method can have the label {START!r}, which claims have a use for.")
    for table in found.tables:
        if table.condition not in known or (table.over_steps and len(table.figures) != 1):
            raise ExperimentError(
                f"{found.name}: the table {table.title!r} wants a condition that is there, and over steps one figure."
            )
    if found.notes and not found.analysis:
        raise ExperimentError(f"{found.name}: `notes` are of an analysis; the note of another claim stands with it.")
    for claim in found.claims:
        others = {claim.than} - {START}
        if claim.condition not in known or {claim.better, *others} - set(found.methods):
            raise ExperimentError(
                f"{found.name}: the claim {claim.claim!r} names a condition or method that isn't there."
            )


def plan(experiment: Experiment) -> list[Planned]:
    """All runs: every condition and method with the first seed, then with the next, so that results come early.

    Fetches the texts that they need. Raises ExperimentError, TextsError, RunError.
    """
    seeds = {condition.name: condition.seeds or experiment.seeds for condition in experiment.conditions}
    return [
        _planned(experiment, condition, label, seeds[condition.name][number])
        for number in range(max(map(len, seeds.values()), default=0))
        for condition in experiment.conditions
        if number < len(seeds[condition.name])
        for label in condition.methods or tuple(experiment.methods)
    ]


def _planned(experiment: Experiment, condition: Condition, label: str, seed: int) -> Planned:
    table = {"method": label, **experiment.base, **condition.base, **experiment.methods[label]}
    data = _data(condition.train, seed)
    table |= {"seed": seed, "data": str(data), "name": f"{condition.name} {label} {seed}"}
    identity = dict(table) | {"data": _content(data)}
    if condition.held_out is not None:
        held_out = _data(condition.held_out, 0)
        table["eval_data"] = str(held_out)
        identity["eval_data"] = _content(held_out)
    config = RunConfig.from_dict(table)
    whole = config.to_dict() | {key: identity[key] for key in ("data", "eval_data") if key in identity}
    for aside in ("name", "version", "threads", "device"):
        whole.pop(aside, None)
    text = json.dumps(whole, sort_keys=True, default=str)
    return Planned(condition, label, seed, config, hashlib.sha256(text.encode()).hexdigest()[:16])


def texts_of(condition: Condition) -> dict[str, Any]:
    """What a record keeps of its text beside the names of files, and what the digest compares where a record has it.

    train, held_out   what the experiment asked for
    content           {name: sha256} of the bundled sets taken whole, of which a run's config has the name alone
    """
    sides = [side for side in (condition.train, condition.held_out) if side is not None]
    whole = {side.texts[0]: _bundled(side.texts[0]) for side in sides if _taken_whole(side)}
    return {
        "train": condition.train.model_dump(mode="json"),
        "held_out": condition.held_out and condition.held_out.model_dump(mode="json"),
        "content": {name: files.file_sha256(path) for name, path in whole.items()},
    }


def _taken_whole(wanted: Texts) -> bool:
    return len(wanted.texts) == 1 and wanted.texts[0].startswith(BUNDLED) and not wanted.count


def _bundled(name: str) -> Path:
    """The file of a bundled set. Raises ExperimentError where there is none."""
    path = BUNDLED_DATA / f"{name.partition(':')[2] or BUNDLED}.jsonl"
    if not path.is_file():
        raise ExperimentError(f"there is no bundled data {name!r}.")
    return path


def _content(path: str | Path) -> str:
    return f"sha256:{files.file_sha256(Path(path))[:16]}" if Path(path).is_file() else str(path)


def _data(wanted: Texts, seed: int) -> str | Path:
    """The file with these samples, or the name of a bundled set taken whole."""
    if _taken_whole(wanted):
        return wanted.texts[0]
    lines = [line for name in wanted.texts for line in _chosen(name, wanted, seed)]
    text = "".join(lines)
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    path = texts.folder().parent / "data" / f"{name}.jsonl"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomic(path, text)
    return path


def _chosen(name: str, wanted: Texts, seed: int) -> Iterator[str]:
    lines = _lines(name, wanted.longest)
    count = wanted.count or len(lines)
    first = seed * count if wanted.by_seed else 0
    if first + count > len(lines):
        raise ExperimentError(f"{name} has {len(lines)} texts; seed {seed} asks for those up to {first + count}.")
    for line in lines[first : first + count]:
        if name.startswith(BUNDLED):  # told apart by their own `kind` or `language`
            yield line + "\n"
            continue
        # Figures are told apart by where a text comes from.
        record: Mapping[str, Any] = json.loads(line)
        yield json.dumps({**record, "domain": name.removesuffix("-held")}, ensure_ascii=False) + "\n"


def _lines(name: str, longest: int) -> list[str]:
    """The samples of a text as JSON lines. Raises ExperimentError, TextsError."""
    if name.startswith(BUNDLED):
        return _bundled(name).read_text(encoding="utf-8").splitlines()
    language, _, domain = name.partition("-")
    train, held = texts.fetch(language, domain.removesuffix("-held"), longest)
    return (held if domain.endswith("-held") else train).read_text(encoding="utf-8").splitlines()
