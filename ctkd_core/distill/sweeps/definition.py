"""What a sweep is told (a table in YAML or JSON, or flags), and the runs that it comes to.

    name: learning rates
    base: {preset: quick, steps: 60}
    methods: [sft, gold, alm]
    seeds: [0, 1, 2]
    grid:
      learning_rate: [1e-4, 2e-4]
      gold.temperature: [1, 2]        # an option of one method; the others don't have it
      trainer.optim: [adamw_torch, sgd]

Every combination of method, values of the grid and seed is a run; `runs` lists changes one by one instead of a grid.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic import field_validator as validated
from pydantic.dataclasses import dataclass

from ctkd_core import methods
from ctkd_core.distill.config import RUN_OPTIONS, RunConfig
from ctkd_core.distill.config_file import flat, read_table
from ctkd_core.distill.consistency import LATEST, check_texts
from ctkd_core.distill.estimate import estimate
from ctkd_core.distill.further import CONFIG, option_table
from ctkd_core.distill.option_labels import distinct, option_label
from ctkd_core.distill.settings import fields_of, refusing, schema_of
from ctkd_core.distill.training.table import read_value
from ctkd_core.errors import RunError, short, unknown

MOST_RUNS = 2000  # of one sweep; more is a slip in a grid
MOST_LABEL = 80  # characters of a run's name but for its seed
_OPTIONS = tuple(option.name for option in RUN_OPTIONS)
TRAINER = "trainer"
_TABLES = ("method_options", "align_options", TRAINER, "state_learning_rates")


@refusing("key of a sweep")
@dataclass(frozen=True, config=CONFIG)
class SweepDefinition:
    """What a sweep runs. Raises RunError for unknown keys, and values that don't fit."""

    name: str = Field(default="", description="A name for people.")
    base: dict[str, Any] = Field(
        default_factory=dict, description="A run config (see `ctkd distill`), `preset` included: what all runs share."
    )
    methods: tuple[str, ...] = Field(default=(), description="Methods; none: that of the base.")
    seeds: tuple[int, ...] = Field(default=(), description="Seeds; none: that of the base.")
    grid: dict[str, tuple[Any, ...]] = Field(
        default_factory=dict,
        description="Values by run option, method_options.NAME, align_options.NAME, trainer.NAME (of the trainer's own "
        "options) or METHOD.NAME: all combinations.",
    )
    runs: tuple[dict[str, Any], ...] = Field(
        default=(), description="Tables of such changes, one by one, each with every method and seed."
    )
    baseline: str = Field(default="sft", description="The method that the others are compared with.")
    reuse: bool = Field(
        default=False, description="Take finished runs with the same config instead of training them again."
    )

    @validated("methods", "seeds", "runs", mode="before")
    @classmethod
    def _a_list(cls, value: Any) -> Any:
        if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Sequence):
            raise RunError(f"methods, seeds and runs of a sweep are lists; got {short(value)}.")
        return tuple(value)

    @validated("grid", mode="before")
    @classmethod
    def _lists_of_values(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise RunError(f"grid of a sweep is a table of lists; got {short(value)}.")
        for key, values in value.items():
            if not isinstance(values, (list, tuple)) or not values:
                raise RunError(f"grid {short(key)} must be a list of values; got {short(values)}.")
        return {key: tuple(values) for key, values in value.items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in a sweep's file."""
        return asdict(self)

    @classmethod
    def from_file(cls, path: str | Path) -> SweepDefinition:
        """The definition in a .yaml, .yml or .json file. Raises RunError."""
        table = read_table(path)
        for key in table:
            if key not in fields_of(cls):
                raise unknown("key of a sweep", key, fields_of(cls), RunError)
        return cls(**table)


def json_schema() -> dict[str, Any]:
    """JSON schema of a sweep's definition."""
    return schema_of(SweepDefinition) | {"description": "A sweep of CTKD Lab: runs that differ in what it lists."}


def refuse_dropped(definition: SweepDefinition) -> None:
    """Raise RunError for values that `plan` drops, and names that mean nothing: asked of a new sweep only, those of
    before go on."""
    methods.get(definition.baseline, RunError)
    if definition.name == LATEST:
        raise RunError(f"name {LATEST!r} would mean the newest sweep wherever sweeps are named; give another name.")
    if len(definition.grid.get("name", ())) > 1:
        raise RunError("a name makes no other run: the runs of a sweep are named by what varies; leave name out of it.")
    for key in ("seed", "method"):
        if getattr(definition, f"{key}s") and key in definition.grid:
            raise RunError(f"the sweep has {key}s twice, in {key}s and as {key} in its grid; give them once.")
    every: list[Any] = []  # methods of its runs
    for listed in definition.runs or ({},):
        asked = definition.methods or (RunConfig.from_dict(definition.base).method,)
        own = definition.grid.get("method") or ([listed["method"]] if "method" in listed else asked)
        _refuse_idle(listed, own)
        every += own
    _refuse_idle(definition.grid, every)


def _refuse_idle(changes: Iterable[str], trained: Collection[Any]) -> None:
    """Raise RunError for options of a method that none of the runs has; `plan` leaves them out of runs of others."""
    for key in changes:
        method = key.rpartition(".")[0]
        if method in methods.METHODS and method not in trained:
            raise RunError(
                f"{short(key)} is an option of method {method!r}, and no run that gets it has that method; add the "
                "method, or leave the option out."
            )


def plan(definition: SweepDefinition) -> list[RunConfig]:
    """The runs of a sweep, each once: all kinds with the first seed, then with the next, so that results come early.

    Raises RunError for what no run could be told, and for more than 2,000 runs.
    """
    check_texts({"name": definition.name})  # all else goes through the configs of runs
    base = RunConfig.from_dict(definition.base)
    # Most of these are checked anew for each run; a number that is far too large is told before.
    combinations = len(definition.methods or (1,)) * len(definition.seeds or (1,))
    for values in definition.grid.values():
        combinations *= len(values)
    if combinations * max(1, len(definition.runs)) > MOST_RUNS:
        raise RunError(f"the sweep has {combinations * max(1, len(definition.runs)):,} runs; at most {MOST_RUNS:,}.")
    every = list(_changes(definition))
    varied = _varied(every)
    kinds: list[tuple[str, RunConfig]] = []  # with what they share whatever their seed
    labels: dict[str, str] = {}
    for changes in every:
        for method in definition.methods or ("",):
            config = _changed(base, method, changes)
            kinds.append((_but_for_seed(config), config))
            labels.setdefault(kinds[-1][0], _label(method or base.method, changes, varied))
    labels = dict(zip(labels, distinct(list(labels.values()))))
    found: dict[str, RunConfig] = {}
    for asked in definition.seeds or (None,):
        for key, kind in kinds:
            seed = kind.seed if asked is None else asked
            config = kind.replace(seed=seed, name=f"{labels[key]}, seed {seed}")
            found.setdefault(result_fingerprint(config), config)
    return list(found.values())


def result_fingerprint(config: RunConfig) -> str:
    """The fingerprint of a config without what no result depends on: its name, and which server writes the student's
    text (`kinds` has such runs as one too).
    """
    server = {"on_policy_server": "https://server", "on_policy_server_model": "it"} if config.on_policy_server else {}
    return config.replace(name="", **server).fingerprint


def _but_for_seed(config: RunConfig) -> str:
    return result_fingerprint(config.replace(seed=0))


def kinds_of(configs: Iterable[RunConfig]) -> list[list[RunConfig]]:
    """The configs, those that differ in the seed alone together."""
    found: dict[str, list[RunConfig]] = {}
    for config in configs:
        found.setdefault(_but_for_seed(config), []).append(config)
    return list(found.values())


def duration(configs: Sequence[RunConfig]) -> tuple[float, float]:
    """Shortest and longest time to expect for all runs one after another, in seconds."""
    low = high = 0.0
    for kind in kinds_of(configs):
        shortest, longest = estimate(kind[0]).between
        low, high = low + len(kind) * shortest, high + len(kind) * longest
    return low, high


def values_in(text: str) -> list[str]:
    """The values in a text with commas between them; each option parses its own."""
    return [part.strip() for part in text.split(",") if part.strip()]


def values_of(key: str, text: str) -> list[Any]:
    """The values of a grid's key in a text with commas between them; those of the trainer's options as YAML reads them.

    The other options parse their texts themselves.
    """
    found = values_in(text)
    if not key.startswith(f"{TRAINER}."):
        return found
    if set(text) & set("[]{}"):
        raise RunError(f"{key}: lists and tables can't be told apart by commas; write the sweep as a file, under grid.")
    return [read_value(value) for value in found]


def seeds_in(text: str) -> list[int]:
    """The seeds in "0,1,2" or "0-4". Raises RunError for anything else."""
    found: list[int] = []
    for part in values_in(text):
        first, dash, last = part.partition("-")
        if len(part) > 24 or not first.isdecimal() or (dash and not last.isdecimal()):
            raise RunError(f"seeds are numbers and ranges, 0,1,2 or 0-4; got {short(text)}.")
        end = int(last or first)
        if not int(first) <= end < int(first) + MOST_RUNS:
            raise RunError(f"seeds {short(part)} are no range of 1 to {MOST_RUNS:,} numbers.")
        found += range(int(first), end + 1)
    return found


def _changes(definition: SweepDefinition) -> Iterator[dict[str, Any]]:
    for listed in definition.runs or ({},):
        keys = list(definition.grid)
        for values in itertools.product(*definition.grid.values()):
            yield {**listed, **dict(zip(keys, values))}


def _changed(base: RunConfig, method: str, changes: Mapping[str, Any]) -> RunConfig:
    config = base.replace(method=method) if method else base
    first = {key: changes[key] for key in ("method", "variant") if key in changes}
    config = config.replace(**first) if first else config  # what options there are depends on them
    fields: dict[str, Any] = {}
    tables = {table: dict(getattr(config, table)) for table in _TABLES}
    for key, value in changes.items():
        if key not in first:
            _note_change(config.method, key, value, fields, tables)
    # All at once: an option may be read only with the value that another one gets.
    changed = {table: given for table, given in tables.items() if given != dict(getattr(config, table))}
    return config.replace(**fields, **changed) if fields or changed else config


def _note_change(method: str, key: str, value: Any, fields: dict[str, Any], tables: dict[str, dict[str, Any]]) -> None:
    """Put one change into the fields, or into the table of options that it belongs to."""
    head, _, name = str(key).partition(".")
    if key in _OPTIONS:
        fields[key] = value
    elif key in _TABLES:  # a whole table, in a list of runs
        tables[key] |= option_table(key, value)
    elif head in _TABLES and name:
        tables[head][name] = value
    elif head in methods.METHODS and name:
        table = _table_of(head, name)
        if head == method:
            tables[table][name] = value
    else:
        known = (
            *_OPTIONS,
            *("method_options.NAME", "align_options.NAME", "state_learning_rates.NAME", "trainer.NAME", "METHOD.NAME"),
        )
        raise unknown("option of a sweep", key, known, RunError)


def _table_of(method: str, name: str) -> str:
    """Which table of a config an option of a method belongs to."""
    row = methods.get(method, RunError)
    for table, options in (("method_options", row.loss_options), ("align_options", row.align_options)):
        if name in {option.name for option in options}:
            return table
    known = [option.name for option in (*row.loss_options, *row.align_options)]
    raise unknown(f"option of method {method!r}", name, known, RunError)


def _varied(every: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The different values of the options, with dotted names, that aren't the same in all of these changes."""
    values: dict[str, list[Any]] = {}
    for changes in every:
        for key, value in flat(dict(changes)).items():
            values.setdefault(key, []).append(value)
    different = {key: {repr(value): value for value in own} for key, own in values.items()}
    return {k: list(own.values()) for k, own in different.items() if len(values[k]) < len(every) or len(own) > 1}


def _label(method: str, changes: Mapping[str, Any], varied: Mapping[str, Sequence[Any]]) -> str:
    """The method and the options that vary between the runs of the sweep."""
    method = str(changes.get("method", method))
    mine, beside = [], {}
    for key, value in flat(dict(changes)).items():
        head, _, name = key.rpartition(".")
        of_another = head in methods.METHODS and head != method
        if key in varied and key not in ("method", "seed") and not of_another:
            mine.append((name, value))
            beside[name] = varied[key]
    return option_label(method, mine, MOST_LABEL, beside)
