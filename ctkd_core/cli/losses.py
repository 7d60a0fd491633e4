"""`ctkd losses`: the methods that train, with the options of their losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctkd_core import methods
from ctkd_core.cli.common import Output
from ctkd_core.cli.display import table

if TYPE_CHECKING:
    from rich.console import RenderableType


def run() -> Output:
    """Rows of the methods table that have a loss."""
    rows = methods.training()
    return Output(lambda: [_row(row) for row in rows], lambda: [_table(rows)])


def _row(row: methods.Method) -> dict[str, Any]:
    full = row.to_dict()
    keys = ("name", "title", "paper", "url", "formula", "cannot_see", "needs", "variants", "variant_note")
    return {key: full[key] for key in keys} | {"options": full["loss_options"]}


def _table(rows: list[methods.Method]) -> RenderableType:
    return table(
        ["loss", "option", "default", "takes", "meaning"],
        [
            [row.name if i == 0 else "", *cells]
            for row in rows
            for i, cells in enumerate(
                [[o.name, o.default_text(), o.expected(), o.about()] for o in row.loss_options]
                or [["-", "-", "-", "no options"]]
            )
        ],
    )
