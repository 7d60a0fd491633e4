"""A setting of a run is declared once, as a field of a model; its Option, for flags and forms, is derived.

steps: int = setting(40, "Optimiser steps.", low=1, high=1_000_000)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from ctkd_core.errors import RunError
from ctkd_core.files import documents
from ctkd_core.methods.options import Option

C = TypeVar("C")
_KINDS = {str: "str", int: "int", float: "float", bool: "bool"}


def setting(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    **more: Any,
) -> Any:
    """A field with everything that flags, forms, schemas and docs say of it.

    `low` and `high` are inclusive. `more`: `unit`, `source` (where the default comes from), `advanced` (folded away
    in forms).
    """
    if choices:
        more["enum"] = list(choices)
    return Field(default, description=help, ge=low, le=high, json_schema_extra=more)


def refusing(what: str) -> Callable[[type[C]], type[C]]:
    """Decorates a pydantic data class: its constructor raises RunError; a name that it doesn't know is a `what`."""

    def decorated(cls: type[C]) -> type[C]:
        construct: Any = cls.__init__

        @wraps(construct)
        def construct_or_refuse(self: C, *values: Any, **named: Any) -> None:
            try:
                construct(self, *values, **named)
            except ValidationError as fault:
                raise RunError(documents.sentences(fault, what, fields_of(cls))) from None

        cls.__init__ = construct_or_refuse  # type: ignore[method-assign, assignment]
        return cls

    return decorated


def fields_of(model: Any) -> dict[str, FieldInfo]:
    """The fields of a pydantic data class by name."""
    return dict(model.__pydantic_fields__)


def schema_of(model: Any) -> dict[str, Any]:
    """The JSON schema of a pydantic data class, its settings as `Option.schema` writes them."""
    return TypeAdapter(model).json_schema(schema_generator=_PlainSchema)


def options_of(model: Any) -> tuple[Option, ...]:
    """The settings of a model in their order, as options; its other fields (tables) have none."""
    return tuple(_option(name, field) for name, field in fields_of(model).items() if field.annotation in _KINDS)


def _option(name: str, field: FieldInfo) -> Option:
    more: dict[str, Any] = dict(field.json_schema_extra) if isinstance(field.json_schema_extra, dict) else {}
    choices = tuple(more.pop("enum", ()))
    bounds = {side: getattr(rule, side) for rule in field.metadata for side in ("ge", "le") if hasattr(rule, side)}
    return Option(
        name=name,
        kind="choice" if choices else _KINDS[field.annotation],  # type: ignore[index, arg-type]
        default=field.default,
        help=field.description or "",
        low=bounds.get("ge"),
        high=bounds.get("le"),
        choices=choices,
        **more,
    )


def parsed(options: dict[str, Option], name: str | None, value: Any) -> Any:
    """`value` (possibly a string from a command line) as the setting `name` takes it; fields without one pass.

    Raises RunError with what is allowed.
    """
    return options[name].parse(value, RunError) if name in options else value


class _PlainSchema(GenerateJsonSchema):
    """Without titles, which only repeat the names."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        """No."""
        return False


def markdown_table(options: tuple[Option, ...]) -> str:
    """The options as a table for the docs: name, what it takes, default, help."""
    rows = ["| option | takes | default | |", "|---|---|---|---|"]
    for option in options:
        default = (
            "empty"
            if option.default == ""
            else str(option.default).lower()
            if option.kind == "bool"
            else option.default
        )
        text = option.help + (f" Source: {option.source}." if option.source else "")
        # The docs needn't change with each new method; they have a page for each.
        takes = "a method that trains" if option.name == "method" else option.expected()
        rows.append(f"| `{option.name}` | {takes} | {default} | {text} |")
    return "\n".join(rows) + "\n"
