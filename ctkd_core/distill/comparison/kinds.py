"""Runs that differ in the seed alone are of one kind: one experiment, done several times."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ctkd_core import methods
from ctkd_core.distill.addresses import addresses_in, with_stand_ins
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.config_file import flat
from ctkd_core.distill.option_labels import distinct, option_label
from ctkd_core.distill.runs import Run

# What changes no result, or where a run was done; and the seed.
ASIDE = (
    *("seed", "name", "version", "threads", "device", "keep_checkpoints", "save_every", "save_student"),
    "on_policy_server_model",
)
_WHETHER = {"on_policy_server": "server"}  # which one it was changes nothing, but that it was one
MOST_LABEL = 90  # characters
FROM_A_FILE = "opened"
PROCESSES = "processes"  # no option: whoever starts a run decides it


@dataclass(frozen=True)
class Kind:
    """Runs of one kind. `by_seed`: one run a seed; `repeated`: older runs of a seed that has a newer one."""

    label: str
    config: RunConfig
    by_seed: dict[int, Run] = field(default_factory=dict)
    repeated: tuple[Run, ...] = ()

    @property
    def runs(self) -> list[Run]:
        """Its runs by seed."""
        return [self.by_seed[seed] for seed in sorted(self.by_seed)]


def kinds_of(runs: Iterable[Run]) -> list[Kind]:
    """The kinds of runs in the order of their first one. Raises RunError for a damaged run.

    Runs that a file brought (`Run.is_opened`) are kinds of their own beside those of this machine, and are called so:
    nobody here measured them. Of two runs with one seed the finished one counts, of two finished ones the newer.
    """
    grouped: dict[tuple[str, bool], list[Run]] = {}
    for run in runs:
        grouped.setdefault((_key(run), run.is_opened), []).append(run)
    found, mixed = list(grouped.values()), len({opened for _, opened in grouped}) > 1
    labels = labels_of(
        [table_of(group[0]) for group in found], [FROM_A_FILE if mixed and opened else "" for _, opened in grouped]
    )
    kinds = []
    for label, group in zip(labels, found):
        by_seed: dict[int, Run] = {}
        for run in sorted(group, key=lambda run: (run.status().state == "finished", run.id)):
            by_seed[run.config.seed] = run
        kept = {run.id for run in by_seed.values()}
        kinds.append(Kind(label, group[0].config, by_seed, tuple(run for run in group if run.id not in kept)))
    return kinds


def labels_of(tables: Sequence[dict[str, Any]], origins: Sequence[str] = ()) -> list[str]:
    """A name for each kind: its method, options in which it differs from others that have them, where it is from.

    tables: `table_of` a run of each
    """
    labels = []
    tables = servers_numbered(tables)
    for mine, origin in zip(tables, origins or [""] * len(tables)):
        # Options of a method are compared within the method: others have options of their own.
        alike = [table for table in tables if table["method"] == mine["method"]]
        differing = [key for key in mine if _differs(key, mine[key], alike if _of_method(key) else tables)]
        parts = [(key.rpartition(".")[2], mine[key]) for key in differing if key != "method"]
        beside = {key.rpartition(".")[2]: [table[key] for table in tables if key in table] for key in differing}
        ending = f", {origin}" if origin else ""
        title = methods.get(mine["method"]).label
        labels.append(option_label(title, parts, MOST_LABEL - len(ending), beside) + ending)
    return distinct(labels)


def servers_numbered(tables: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tables with "server 1", "server 2" in place of addresses: labels and reports leave this machine.

    The numbers are the same in whatever order the tables come.
    """
    addresses = sorted({address for _, address in addresses_in(tables) if "://" in address})
    numbers = {address: f"server {k}" for k, address in enumerate(addresses, start=1)}
    return [with_stand_ins(table, lambda _, address: numbers.get(address, address)) for table in tables]


def _of_method(key: str) -> bool:
    return key.startswith(("method_options.", "align_options."))


def _differs(key: str, value: Any, tables: Sequence[dict[str, Any]]) -> bool:
    """Whether another kind has another value; one at its default may be left out of a config, and so of its table."""
    by_default = not _of_method(key) and not isinstance(value, (list, tuple))
    return any(table[key] != value if key in table else by_default for table in tables)


def options_of(config: RunConfig) -> dict[str, Any]:
    """The options of a config that make its kind, as one table with dotted names."""
    return {key: _WHETHER.get(key, value) for key, value in flat(config.to_dict()).items() if key not in ASIDE}


def table_of(run: Run) -> dict[str, Any]:
    """All that makes a run's kind: `options_of` its config, and in how many processes it trained.

    Nobody knows it of some runs of older versions; they count as having had one.
    """
    return options_of(run.config) | {PROCESSES: run.processes or 1}


def _key(run: Run) -> str:
    return json.dumps(table_of(run), sort_keys=True, default=str)
