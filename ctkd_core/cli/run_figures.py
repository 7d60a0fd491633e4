"""The figures that a run was asked for, as lines for people: each before the first step and after the last one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ctkd_core.cli.display import cell
from ctkd_core.figures.evaluation import NAMES
from ctkd_core.markup.visible import counted

MOST_PARTS = 12  # domains, languages, classes, lengths of one line
# Tables whose parts share a line; those of others have a line each.
_OF_PARTS = {
    "bits_by_domain": "bits per byte by domain",
    "bits_by_language": "bits per byte by language",
    "bits_by_class": "bits per byte by class of token",
    "exposure": "excess error behind own words in %, by length",
}
_COUNTED = {"arithmetic": "exercise", "completions": "completion", "exposure": "prompt"}


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
            text = ", ".join(named[:MOST_PARTS]) + (f", {more} more" if more > 0 else "")
            lines.append((_OF_PARTS[table], text + _count(table, next(iter(parts.values())))))
        elif table == "arithmetic" and "" in parts:
            lines.append(("right results of exercises", _with_teacher(parts[""]) + _count(table, parts[""])))
        elif table in ("agreement", "completions"):
            lines += [
                (NAMES.get(part, part), _with_teacher(figure) + _count(table, figure)) for part, figure in parts.items()
            ]
    return lines


def _count(table: str, figure: Mapping[str, Any]) -> str:
    """How many answers of the student a line stands on; "" where that isn't known."""
    count = figure.get("count")
    return "" if count is None else f"; of {counted(int(count), _COUNTED[table])}"


def _with_teacher(figure: Mapping[str, Any]) -> str:
    beside = "" if figure["teacher"] is None else f" (teacher {cell(figure['teacher'])})"
    return _change(figure) + beside


def _change(figure: Mapping[str, Any]) -> str:
    return f"{cell(figure['before'])} -> {cell(figure['after'])}"
