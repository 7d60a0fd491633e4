"""`ctkd methods`: the table of methods, from `ctkd_core.methods`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ctkd_core import methods
from ctkd_core.cli import complete
from ctkd_core.cli.common import Output
from ctkd_core.cli.display import facts, styled, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ctkd_core.methods.options import Option


def run(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Show one method in full.", autocompletion=complete.every_method),
    ] = None,
) -> Output:
    """All rows, or one."""
    if name is not None:
        row = methods.get(name)
        return Output(row.to_dict, lambda: describe(row))
    rows = list(methods.METHODS.values())
    return Output(lambda: [row.to_dict() for row in rows], lambda: _overview(rows))


def _overview(rows: list[methods.Method]) -> list[RenderableType]:
    cells = [
        [
            styled(row.name, "cyan"),
            row.can_align,
            row.can_train,
            row.cached_teacher if row.asks_teacher else "",
            row.idea,
        ]
        for row in rows
    ]
    return [
        table(["method", "aligns", "trains", "from a cache", "idea"], cells),
        "from a cache: whether it trains from a cached teacher, exactly or closely (see `ctkd cache-teacher`).",
        "`ctkd methods NAME` shows paper, formula and options.",
    ]


def describe(row: methods.Method) -> list[RenderableType]:
    """One method as a page."""
    lines = [("paper", row.paper)]
    lines += [("", row.url)] if row.url else []
    lines += [("formula", row.formula), ("cannot see", row.cannot_see)]
    lines += list(row.requirements().items())
    lines.append(("variants", ", ".join(row.variants)))
    lines += [("", row.variant_note)] if row.variant_note else []
    parts: list[RenderableType] = [styled(row.title, "bold"), row.idea, facts(lines)]
    for title, options in (("alignment options", row.align_options), ("loss options", row.loss_options)):
        if options:
            parts += [styled(title, "bold"), option_table(options)]
    return parts


def option_table(options: Sequence[Option]) -> RenderableType:
    """Options with what they take, default, meaning and where the default comes from."""
    return table(
        ["option", "takes", "default", "meaning", "default from"],
        [[o.name, o.expected(), o.default_text(), o.about(), o.source or "this project"] for o in options],
    )
