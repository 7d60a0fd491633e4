"""The figures that a run was asked for, as lines for people: each before the first step and after the last one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ctkd_core.cli.display import cell
from ctkd_core.figures.evaluation import NAMES

MOST_PARTS = 12  # domains, languages, classes, lengths of one line
# Tables whose parts share a line; those of others have a line each.
_OF_PARTS = {
    "bits_by_domain": "bits per byte by domain",
    "bits_by_language": "bits per byte by language",
    "bits_by_class": "bits per byte by class of token",
    "exposure": "excess error behind own words in %, by length",
}


def figure_lines(figures: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Name and value of each line; `figures` as `last_figures` gives them.

    Left out are the probabilities of classes and results by length: --json has them.
    """
    tables: dict[str, dict[str, Mapping[str, Any]]] = {}
    for name, figure in figures.items():
        table, _, part = name.partition(".")
        tables.setdefault(table, {})[part] = figure
    lines = []
    for table, parts in tables.items():
        if table in _OF_PARTS:
            named = [f"{part} {_change(figure)}" for part, figure in parts.items()]
            more = len(named) - MOST_PARTS
            lines.append((_OF_PARTS[table], ", ".join(named[:MOST_PARTS]) + (f", {more} more" if more > 0 else "")))
        elif table == "arithmetic" and "" in parts:
            lines.append(("right results of exercises", _with_teacher(parts[""])))
        elif table in ("agreement", "completions"):
            lines += [(NAMES.get(part, part), _with_teacher(figure)) for part, figure in parts.items()]
    return lines


def _with_teacher(figure: Mapping[str, Any]) -> str:
    beside = "" if figure["teacher"] is None else f" (teacher {cell(figure['teacher'])})"
    return _change(figure) + beside


def _change(figure: Mapping[str, Any]) -> str:
    return f"{cell(figure['before'])} -> {cell(figure['after'])}"
