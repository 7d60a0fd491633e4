"""`ctkd methods`: the table of methods, from `ctkd_core.methods`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ctkd_core import methods
from ctkd_core.cli.common import Answer
from ctkd_core.cli.display import table
from ctkd_core.methods.options import Option


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `ctkd methods`."""
    parser.add_argument("name", nargs="?", help="show one method in full")


def run(args: argparse.Namespace) -> Answer:
    """All rows, or one."""
    if args.name is not None:
        row = methods.get(args.name)
        return Answer(row.to_dict, lambda: describe(row))
    rows = list(methods.METHODS.values())
    return Answer(lambda: [row.to_dict() for row in rows], lambda: _overview(rows))


def _overview(rows: list[methods.Method]) -> str:
    body = table(
        ["method", "aligns", "trains", "idea"], [[row.name, row.can_align, row.can_train, row.idea] for row in rows]
    )
    return body + "\n\n`ctkd methods NAME` shows paper, formula and options."


def describe(row: methods.Method) -> str:
    """One method as a page of text."""
    lines = [row.title, f"  {row.idea}", "", f"paper       {row.paper}"]
    if row.url:
        lines.append(f"            {row.url}")
    lines += [f"formula     {row.formula}", f"cannot see  {row.cannot_see}"]
    lines += [f"{what:<12}{words}" for what, words in row.requirements().items()]
    lines.append(f"variants    {', '.join(row.variants)}")
    if row.variant_note:
        lines.append(f"            {row.variant_note}")
    for title, options in (("alignment options", row.align_options), ("loss options", row.loss_options)):
        if options:
            lines += ["", title, option_table(options)]
    return "\n".join(lines)


def option_table(options: Sequence[Option]) -> str:
    """Options with what they take, default, meaning and where the default comes from."""
    return table(
        ["option", "takes", "default", "meaning", "default from"],
        [
            [o.name, o.expected(), "none" if o.default is None else str(o.default), o.help, o.source or "this project"]
            for o in options
        ],
    )
