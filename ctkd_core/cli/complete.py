"""What a shell offers when somebody presses the tabulator: names from the tables, runs from the store."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Mapping

import typer

# What a shell takes as one word, as it stands.
_ONE_WORD = re.compile(r"[\w.%+][\w.%+=-]*")
# Shells evaluate what stands beside a word as well.
_UNSAFE = re.compile(r"[^\w .@%+=,-]")
_MOST_NAME = 60  # characters of a name beside an id


def commands() -> list[tuple[str, str]]:
    """Names of the commands."""
    from ctkd_core.cli import COMMANDS

    return list(COMMANDS.items())


def tokenizers() -> list[tuple[str, str]]:
    """Names of the catalog."""
    from ctkd_core.tokenizers.catalog import TOKENIZERS

    return [(row.name, row.title) for row in TOKENIZERS.values()]


def samples() -> list[str]:
    """Names of the texts that come along."""
    from ctkd_core.tokenizers.sample_texts import TEXTS

    return list(TEXTS)


def every_method() -> list[tuple[str, str]]:
    """All methods."""
    from ctkd_core import methods

    return [(row.name, row.title) for row in methods.METHODS.values()]


def aligning_methods() -> list[tuple[str, str]]:
    """Methods that align."""
    from ctkd_core import methods

    return [(row.name, row.title) for row in methods.aligning()]


def runs(ctx: typer.Context) -> list[tuple[str, str]]:
    """Runs of the store that the command line names, newest first: `latest`, ids, names."""
    from ctkd_core.distill.lookup import name_of
    from ctkd_core.distill.runs import RunStore

    with contextlib.suppress(Exception):  # whatever is wrong with the store, a tabulator is no place to tell
        every = RunStore(ctx.params.get("runs_dir")).list(archived=True)
        return _words({run.id: name_of(run) for run in every}, {run.id for run in every if run.archived})
    return _words({})


def training_methods() -> list[tuple[str, str]]:
    """Methods that train."""
    from ctkd_core import methods

    return [(row.name, row.title) for row in methods.training()]


def sweeps(ctx: typer.Context) -> list[tuple[str, str]]:
    """Sweeps of the store that the command line names, newest first: `latest`, ids, names."""
    from ctkd_core.distill.runs import RunStore
    from ctkd_core.distill.sweeps.sweep import sweeps as every

    with contextlib.suppress(Exception):  # whatever is wrong with the store, a tabulator is no place to tell
        found = every(RunStore(ctx.params.get("runs_dir")))
        return _words({sweep.id: sweep.definition.name for sweep in found})
    return _words({})


def kinds_of_pairs() -> list[tuple[str, str]]:
    """Kinds of pairs of the evidence."""
    from ctkd_core.methods.evidence import KINDS

    return list(KINDS.items())


def evidence_regimes() -> list[tuple[str, str]]:
    """Regimes of the evidence."""
    from ctkd_core.methods.evidence import REGIMES

    return list(REGIMES.items())


def experiments() -> list[tuple[str, str]]:
    """Experiments of the evidence; none where it is damaged."""
    from ctkd_core.methods.evidence import load

    with contextlib.suppress(Exception):  # whatever is wrong with the file, a tabulator is no place to tell
        return [(each.name, each.title) for each in load().experiments]
    return []


def _words(every: Mapping[str, str], hidden: Collection[str] = ()) -> list[tuple[str, str]]:
    """`latest`, ids with their names beside them, and names that mean one alone, if they are a word.

    every   the name of each, by its id
    hidden  ids that aren't offered
    """
    from ctkd_core.distill.lookup import named
    from ctkd_core.errors import RunError
    from ctkd_core.markup.visible import shorten

    shown = {key: name for key, name in every.items() if key not in hidden}
    ids = {key: key for key in every}
    beside = [(key, shorten(_UNSAFE.sub("_", name), _MOST_NAME)) for key, name in shown.items()]
    names: list[tuple[str, str]] = []
    for word in dict.fromkeys(name for name in shown.values() if name != "latest" and _ONE_WORD.fullmatch(name)):
        with contextlib.suppress(RunError):
            names.append((word, named("run", word, ids, every.__getitem__)))
    return [("latest", ""), *beside, *names]
