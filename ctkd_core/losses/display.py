"""What a loss came to on one line, and as HTML for notebooks: its terms and the largest groups."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from ctkd_core.markup import blocks
from ctkd_core.markup.colours import BLUE, VERMILLION
from ctkd_core.markup.visible import counted, one_line

if TYPE_CHECKING:
    from ctkd_core.losses.base import LossOutput

LARGEST = 8
BAR_WIDTH = 160  # pixels


def loss_line(output: LossOutput) -> str:
    """Its value, its terms and how many groups it has, in one line without arrays."""
    terms = "".join(f", {one_line(name)} {_number(value)}" for name, value in output.terms.items())
    return f"<LossOutput {_number(output.loss)}{terms}, {counted(len(output.per_group), 'group')}>"


def loss_card(output: LossOutput) -> str:
    """The value, the means it is mixed from, figures about the step, and the groups that cost most."""
    named: dict[str, torch.Tensor | float] = {**output.terms, **output.diagnostics}
    return blocks.card(
        f"Loss {_number(output.loss)}",
        blocks.table(("term", "value"), [(name, _number(value)) for name, value in named.items()]) if named else "",
        _groups(output),
    )


def _groups(output: LossOutput) -> str:
    values = output.per_group.detach().double().cpu()
    if not len(values):
        return blocks.note("There are no groups in this batch.")
    largest = torch.argsort(values.abs().nan_to_num(nan=float("inf")), descending=True, stable=True)[:LARGEST]
    whole, top = float(values.abs().sum()), float(values.abs().max())
    rows = []
    for g in largest.tolist():
        value = float(values[g])
        share = f"{100 * abs(value) / whole:.1f} %" if whole and math.isfinite(whole) else "–"
        rows.append((g, _number(value), share, _bar(value, top)))
    shown = f"The largest {len(rows):,} of {counted(len(values), 'group')}, numbered as the rows of batch.groups:"
    return blocks.note(shown) + blocks.table(("group", "value", "share", ""), rows)


def _bar(value: float, top: float) -> blocks.Html:
    if not top or not math.isfinite(top):
        return blocks.Html("")
    colour = BLUE if value >= 0 else VERMILLION
    width = round(BAR_WIDTH * abs(value) / top)
    return blocks.Html(f'<span style="display:inline-block;height:10px;width:{width}px;background:{colour}"></span>')


def _number(value: torch.Tensor | float) -> str:
    return f"{float(value.detach() if isinstance(value, torch.Tensor) else value):.6g}"
