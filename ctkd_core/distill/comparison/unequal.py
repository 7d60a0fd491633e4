"""What kinds of runs have unequal besides their methods, as sentences: it moves figures, or makes them incomparable."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ctkd_core.distill.comparison.kinds import PROCESSES, Kind
from ctkd_core.distill.held_out_source import differing_in
from ctkd_core.distill.option_labels import short_value
from ctkd_core.distill.run_inputs import inputs_of
from ctkd_core.distill.runs import Run
from ctkd_core.errors import short
from ctkd_core.markup.visible import counted, one_line

_SAMPLES = ("batch_size", "accumulation", PROCESSES)  # of one step: their product
_TRAINING = {
    "steps": ("steps",),
    "samples of a step": _SAMPLES,
    "training data": ("data",),
    "pair of tokenizers": ("student", "teacher"),
}
_DEFAULTS = {"eval_data": "a share of data"}  # in words, of options that are empty at their default
MOST_SHOWN, MOST_VALUE = 4, 40  # values of one sentence, characters of one value


def unequal(kinds: Sequence[Kind], figure: str = "") -> list[str]:
    """A sentence for each of these that kinds don't share, and for runs that haven't finished; [] for one kind.

    figure  the one of held-out text that they are compared by; "" where it is of something else
    """
    if len(kinds) < 2:
        return []
    held_out = differing_in([kind.config for kind in kinds])
    names = {key for options in (*_TRAINING.values(), held_out) for key in options} - {PROCESSES}
    tables: list[dict[str, Any]] = [  # of all options: a config as a table leaves some out at their default
        {key: getattr(kind.config, key) for key in names} | {PROCESSES: kind.runs[0].processes or 1} for kind in kinds
    ]
    notes = []
    for what, options in _TRAINING.items():
        if figure and set(options) <= set(held_out):
            continue  # data, of which a share is held out: the sentence about that names it
        if options == _SAMPLES and len({math.prod(table[key] for key in options) for table in tables}) == 1:
            continue  # 4 is 2 x 2
        if values := _values(tables, options):
            notes.append(f"The kinds differ in {what} ({values}), which moves figures, too.")
    if values := _values(tables, held_out):
        notes.append(
            f"{figure} is measured on held-out text, which the kinds don't share ({values}): they have no ranks, "
            "differences and probabilities, and stand in the order given."
            if figure
            else f"The kinds are measured on different held-out text ({values}): figures of it can't be compared."
        )
    early = [run for kind in kinds for run in kind.runs if run.status().state != "finished"]
    if early:
        what = f"{counted(len(early), 'run')} {'has' if len(early) == 1 else 'have'}n't finished"
        notes.append(f"{what}: {ids_of(early)}.")
    return notes


def changed_files(runs: Iterable[Run]) -> list[str]:
    """A sentence for data, tokenizers and weights that weren't the same in all runs that name them.

    They were edited, or lie elsewhere.
    """
    found: dict[tuple[str, str], dict[str, list[Run]]] = {}
    for run in runs:
        environment = run.environment
        for one in inputs_of(run.config):
            if digest := one.before(environment):
                what = "model" if one.kind == "weights" else one.kind
                by_content = found.setdefault((one.source, what), {})
                if run not in by_content.setdefault(digest, []):
                    by_content[digest].append(run)
    return [
        f"{short(source)} wasn't the same {what} in all runs ({'; '.join(map(ids_of, by_content.values()))}), so their "
        "figures can't be compared."
        for (source, what), by_content in found.items()
        if len(by_content) > 1
    ]


def ids_of(runs: Sequence[Run]) -> str:
    """The ids of the first few runs."""
    return ", ".join(run.id for run in runs[:MOST_SHOWN]) + (" ..." if runs[MOST_SHOWN:] else "")


def _values(tables: Sequence[Mapping[str, Any]], options: Sequence[str]) -> str:
    """The different values of options, without options in which all tables are equal; "" where none is left."""
    differing = [key for key in options if len({table[key] for table in tables}) > 1]
    rows = [", ".join(f"{key} {_value(key, table[key], tables)}" for key in differing) for table in tables]
    distinct = list(dict.fromkeys(rows)) if differing else []
    more = len(distinct) - MOST_SHOWN
    return "; ".join(distinct[:MOST_SHOWN]) + (f"; {more} more" if more > 0 else "")


def _value(key: str, value: Any, tables: Sequence[Mapping[str, Any]]) -> str:
    every = [one_line(str(table[key])) for table in tables]
    return short_value(one_line(str(value)), MOST_VALUE, every) or _DEFAULTS.get(key, "none")
