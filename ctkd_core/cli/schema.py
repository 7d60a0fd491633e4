"""`ctkd schema`: what a command prints with --json, as a JSON Schema that programs can be checked or made with."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from ctkd_core.cli import COMMANDS, complete, module_of
from ctkd_core.cli.common import Output, UsageError
from ctkd_core.cli.display import table
from ctkd_core.errors import unknown

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def run(
    command: Annotated[
        str | None,
        typer.Argument(
            metavar="COMMAND", help="Of which command; none: those that there are.", autocompletion=complete.commands
        ),
    ] = None,
    action: Annotated[str | None, typer.Argument(metavar="ACTION", help="Of which of its actions.")] = None,
) -> Output:
    """The schema of one document, or {command: what it does}."""
    if command is None:
        rows = [[name, about] for name, about in COMMANDS.items()]
        return Output(lambda: dict(COMMANDS), lambda: [table(["command", "what it does"], rows)])
    if command not in COMMANDS:
        raise unknown("command", command, COMMANDS, UsageError)
    actions = getattr(module_of(command), "ACTIONS", {})
    if action is not None and action not in actions:
        raise unknown(f"action of {command}", action, actions, UsageError)
    found = schema(command, action or "")
    return Output(lambda: found, lambda: [json.dumps(found, indent=2, ensure_ascii=False)])


def schema(command: str, action: str) -> dict[str, Any]:
    """JSON Schema, draft 2020-12. Other keys than those it names may be there: later versions may add some."""
    from pydantic import TypeAdapter

    from ctkd_core.cli.printed import document_of

    title = " ".join(filter(None, ("ctkd", command, action)))
    found = TypeAdapter(document_of([command, action])).json_schema()
    return {"$schema": DIALECT} | found | {"title": title}
