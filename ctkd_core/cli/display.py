"""What people see: tables, facts, token rows, and text that can't do anything to a terminal.

In a terminal, rich lays tables out for its width and colours them. Anywhere else (a file, a pipe) the same table is
plain: one row a line, however long, without colours.

Text of tokens and files is untrusted: control characters never reach the terminal as they are, and nothing is read as
rich's markup. rich loads when something is shown, so that `--json` doesn't wait for it.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from ctkd_core.markup.terminal import safe, unguarded
from ctkd_core.markup.visible import visible, visible_bytes

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table
    from rich.text import Text

__all__ = [
    "TokenRows",
    "cell",
    "console_of",
    "facts",
    "plain_text",
    "render",
    "safe",
    "styled",
    "table",
    "visible",
    "visible_bytes",
    "width",
]

UNBOUNDED = 1_000_000  # columns of what is no terminal: no row is wrapped there
PAGE = 100  # columns of token rows where there is no terminal
WIDEST = 160  # token rows in a very wide terminal are hard to follow

# A table without lines but for the rule below its header; of rich's own boxes none keeps the columns apart there.
_PLAIN_BOX = "    \n    \n -  \n    \n    \n    \n    \n    \n"


def width(text: str) -> int:
    """Columns that `text` takes in a terminal."""
    from rich.cells import cell_len

    return cell_len(text)


def cell(value: Any) -> str:
    """One value of a table."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "-" if not math.isfinite(value) else f"{value:.4f}".rstrip("0").rstrip(".") or "0"
    return safe(str(value))


def styled(value: Any, style: str = "") -> Text:
    """One value as text in a style; never read as markup."""
    from rich.text import Text

    return Text(cell(value), style)


def paragraph(text: str, style: str = "") -> Text:
    """Prose, its line breaks kept; a terminal wraps it between words."""
    from rich.text import Text

    return Text(safe(text, lines=True), style)


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """A table with aligned columns; numbers stand to the right. Cells are values or `styled` ones."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    values = [list(row) for row in rows]
    made = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for i, header in enumerate(headers):
        number = bool(values) and all(isinstance(row[i], (int, float)) or row[i] is None for row in values)
        # Nothing is ever cut off: what is too wide for the terminal goes on in the next line of its cell.
        made.add_column(styled(header), justify="right" if number else "left", overflow="fold")
    for row in values:
        made.add_row(*(value if isinstance(value, Text) else styled(value) for value in row))
    return made


def facts(rows: Iterable[Sequence[Any]], indent: int = 0) -> Table:
    """Names and values in two columns, without a header."""
    from rich.table import Table
    from rich.text import Text

    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(style="bold", overflow="fold")
    made.add_column(overflow="fold")
    for name, value in rows:
        label = name if isinstance(name, Text) else Text(" " * indent + cell(name))
        made.add_row(label, value if isinstance(value, Text) else paragraph(str(value)))
    return made


class TokenRows:
    """Several rows of cells that share columns, wrapped together so that no column is cut apart.

    `columns` holds one sequence of cells per column, `names` one label per row; the first row is the ruler.
    """

    def __init__(self, columns: Sequence[Sequence[str]], names: Sequence[str]) -> None:
        self.columns = columns
        self.names = [safe(name) for name in names]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        from rich.cells import set_cell_size
        from rich.text import Text

        limit = PAGE if options.max_width >= UNBOUNDED else max(40, min(WIDEST, options.max_width))
        label = max(map(width, self.names)) + 2
        for number, block in enumerate(self._blocks(limit - label)):
            if number:
                yield Text()
            widths = [max(map(width, column)) for column in block]
            for row, name in enumerate(self.names):
                cells = " ".join(set_cell_size(column[row], w) for column, w in zip(block, widths, strict=True))
                line = Text.assemble((set_cell_size(name, label), "bold"), (cells.rstrip(), "" if row else "dim"))
                line.no_wrap, line.overflow = True, "ignore"
                yield line

    def _blocks(self, limit: int) -> Iterator[list[Sequence[str]]]:
        block: list[Sequence[str]] = []
        used = 0
        for column in self.columns:
            needed = max(map(width, column)) + 1
            if block and used + needed > limit:
                yield block
                block, used = [], 0
            block.append(column)
            used += needed
        if block:
            yield block


def console_of(stream: TextIO, columns: int | None = None) -> Console:
    """rich's console on a stream: as wide as the terminal, without bounds where the stream is none."""
    from rich.console import Console

    bounds = None if stream.isatty() else UNBOUNDED
    return Console(file=unguarded(stream), width=columns or bounds, markup=False, emoji=False, highlight=False)


def render(parts: Iterable[RenderableType], stream: TextIO, columns: int | None = None) -> str:
    """What to write on `stream`: the parts with a blank line between them, strings made safe and not wrapped.

    Colours and width are those of the stream; `columns` sets another width.
    """
    parts = list(parts)
    if all(isinstance(part, str) for part in parts):  # as it would come out below, without loading rich
        return "\n\n".join(safe(str(part), lines=True) for part in parts)
    from rich.table import Table

    console = console_of(stream, columns)
    console.file, terminal = io.StringIO(), console.is_terminal  # nothing is written before all of it is there
    for number, part in enumerate(parts):
        if number:
            console.print()
        if isinstance(part, Table) and not terminal and part.box is not None:
            part.box = _plain_box()
        console.print(paragraph(part) if isinstance(part, str) else part, soft_wrap=isinstance(part, str))
    lines = console.file.getvalue().rstrip("\n").split("\n")
    return "\n".join(lines if terminal else (line.rstrip() for line in lines))


def plain_text(*parts: RenderableType, columns: int | None = None) -> str:
    """The parts as they look in a file; with `columns` as wide as a terminal of that size."""
    return render(parts, io.StringIO(), columns)


def _plain_box() -> Any:
    from rich.box import Box

    return Box(_PLAIN_BOX, ascii=True)
