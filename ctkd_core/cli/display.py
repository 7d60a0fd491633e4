"""Plain-text output: tables, visible whitespace, token rows, JSON that is always valid.

Text of tokens is untrusted: control characters never reach the terminal as they are.
"""

from __future__ import annotations

import math
import shutil
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from ctkd_core.markup.visible import visible, visible_bytes

__all__ = [
    "cell",
    "pad",
    "table",
    "terminal_columns",
    "token_rows",
    "visible",
    "visible_bytes",
    "width",
]


def width(text: str) -> int:
    """Columns that `text` takes in a terminal."""
    return sum(
        0 if unicodedata.combining(c) or c in "\u200d\ufe0f" else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def pad(text: str, columns: int) -> str:
    """`text` with blanks up to `columns`."""
    return text + " " * max(0, columns - width(text))


def cell(value: Any) -> str:
    """One value of a table."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "-" if not math.isfinite(value) else f"{value:.4f}".rstrip("0").rstrip(".") or "0"
    return visible(str(value)).replace("·", " ") if isinstance(value, str) else str(value)


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table with aligned columns; numbers stand to the right."""
    values = [list(row) for row in rows]
    shown = [[cell(v) for v in row] for row in values]
    widths = [max([width(h), *(width(row[i]) for row in shown)]) for i, h in enumerate(headers)]
    numeric = [
        bool(values) and all(isinstance(row[i], (int, float)) or row[i] is None for row in values)
        for i in range(len(headers))
    ]

    def line(cells: Sequence[str]) -> str:
        parts = [
            " " * (w - width(c)) + c if right else pad(c, w) for c, w, right in zip(cells, widths, numeric, strict=True)
        ]
        return "  ".join(parts).rstrip()

    rule = "  ".join("-" * w for w in widths)
    return "\n".join([line(list(headers)), rule, *(line(row) for row in shown)])


def terminal_columns() -> int:
    """Columns to fill: the terminal's, at most 160."""
    return min(160, max(40, shutil.get_terminal_size((100, 24)).columns))


def token_rows(columns: Sequence[Sequence[str]], names: Sequence[str], limit: int) -> str:
    """Several rows of cells that share columns, wrapped together so that no column is cut apart.

    `columns` holds one sequence of cells per column, `names` one label per row.
    """
    label = max(width(name) for name in names) + 2
    blocks: list[str] = []
    current: list[Sequence[str]] = []
    used = label

    def flush() -> None:
        lines = []
        for row, name in enumerate(names):
            cells = [pad(column[row], max(width(c) for c in column)) for column in current]
            lines.append((pad(name, label) + " ".join(cells)).rstrip())
        blocks.append("\n".join(lines))

    for column in columns:
        needed = max(width(c) for c in column) + 1
        if current and used + needed > limit:
            flush()
            current, used = [], label
        current.append(column)
        used += needed
    if current:
        flush()
    return "\n\n".join(blocks)
