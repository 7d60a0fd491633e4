"""Further teachers on the command line: `--further-teacher NAME,key=value,...`, one flag for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from ctkd_core import methods
from ctkd_core.cli.common import UsageError
from ctkd_core.distill.further import FurtherTeacher
from ctkd_core.distill.settings import fields_of
from ctkd_core.errors import RunError, short, unknown

FurtherTeachers = Annotated[
    list[str] | None,
    typer.Option(
        "--further-teacher",
        metavar="NAME,KEY=VALUE,...",
        help="One more teacher by its tokenizer, with keys of an entry of `teachers` (method, weight, teacher_path, "
        "...) or options of its method: deepseek,teacher_path=/models/ds,method=alm,temperature=5. May be repeated; "
        "the config's own are replaced.",
    ),
]


def further_teachers(texts: Sequence[str]) -> tuple[dict[str, Any], ...]:
    """The flags' entries of a config's `teachers`, as they are written there.

    Raises UsageError for what isn't of that form, RunError for unknown keys, methods and options.
    """
    return tuple(_entry(text) for text in texts)


def _entry(text: str) -> dict[str, Any]:
    name, *pairs = text.split(",")
    given: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise UsageError(
                f"--further-teacher takes NAME,key=value,...; got {short(pair)} in {short(text)}. Values with a comma "
                "go into a config file, under teachers."
            )
        name_of_key = key.strip().replace("-", "_")
        if name_of_key in given:
            raise UsageError(f"--further-teacher names {name_of_key} twice in {short(text)}.")
        given[name_of_key] = value.strip()
    if not name.strip() or "=" in name:
        raise UsageError(f"--further-teacher begins with the name of a tokenizer; got {short(text)}.")
    own = {key for key in fields_of(FurtherTeacher) if key not in ("teacher", "method_options", "align_options")}
    entry: dict[str, Any] = {"teacher": name.strip()} | {key: given.pop(key) for key in list(given) if key in own}
    row = methods.get(entry.get("method", fields_of(FurtherTeacher)["method"].default), RunError)
    tables = {
        "method_options": {option.name for option in row.loss_options},
        "align_options": {option.name for option in row.align_options},
    }
    for table, names in tables.items():
        if found := {key: given.pop(key) for key in list(given) if key in names}:
            entry[table] = found
    for key in given:
        raise unknown(f"key of a further teacher (method {row.name})", key, own.union(*tables.values()), RunError)
    return entry
