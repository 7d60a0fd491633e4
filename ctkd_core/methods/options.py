"""Options describe themselves: one record feeds CLI flags, page forms, JSON schemas, docs tables and tests."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ctkd_core.errors import CtkdError, unknown

Kind = str  # "int" | "float" | "bool" | "choice" | "str"


@dataclass(frozen=True)
class Option:
    """One named setting of a method or of a run.

    `low` and `high` are inclusive; `source` says where the default comes from (paper section or released code).
    """

    name: str
    kind: Kind
    default: Any
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    unit: str = ""
    source: str = ""
    advanced: bool = False  # folded away in forms

    def parse(self, value: Any, error: type[CtkdError] = CtkdError) -> Any:
        """`value` (possibly a string from a command line) as this option's type, checked.

        Raises `error` when the value has the wrong type or lies outside the range.
        """
        wrong = error(f"option {self.name!r} takes {self.expected()}; got {value!r}.")
        if value is None:
            if self.default is None:
                return None
            raise wrong
        match self.kind:
            case "bool":
                return _bool(value, wrong)
            case "int" | "float":
                number = _number(value, self.kind, wrong)
                if (self.low is not None and number < self.low) or (self.high is not None and number > self.high):
                    raise wrong
                return number
            case "choice":
                if value not in self.choices:
                    raise unknown(f"value of {self.name!r}", value, self.choices, error)
                return value
            case "str":
                if not isinstance(value, str):
                    raise wrong
                return value
        raise CtkdError(f"option {self.name!r} is declared with the unknown kind {self.kind!r}.")

    def expected(self) -> str:
        """What a valid value looks like, for error messages and help texts."""
        if self.kind == "choice":
            return "one of " + ", ".join(self.choices)
        names = {"bool": "true or false", "int": "a whole number", "float": "a number", "str": "a text"}
        text = names.get(self.kind, self.kind)
        if self.low is not None and self.high is not None:
            text += f" from {_plain(self.low)} to {_plain(self.high)}"
        elif self.low is not None:
            text += f" of at least {_plain(self.low)}"
        elif self.high is not None:
            text += f" of at most {_plain(self.high)}"
        return text + (f" ({self.unit})" if self.unit else "")

    def schema(self) -> dict[str, Any]:
        """JSON schema of this option."""
        kinds = {"int": "integer", "float": "number", "bool": "boolean", "choice": "string", "str": "string"}
        schema: dict[str, Any] = {"type": kinds[self.kind], "default": self.default, "description": self.help}
        if self.default is None:
            schema["type"] = [schema["type"], "null"]
        if self.choices:
            schema["enum"] = list(self.choices)
        if self.low is not None:
            schema["minimum"] = self.low
        if self.high is not None:
            schema["maximum"] = self.high
        if self.unit:
            schema["unit"] = self.unit
        if self.source:
            schema["source"] = self.source
        return schema


def resolve(
    options: Iterable[Option],
    given: Mapping[str, Any],
    owner: str,
    error: type[CtkdError] = CtkdError,
) -> dict[str, Any]:
    """Every option with its given or default value; unknown names fail with the nearest ones.

    `owner` names whose options these are, e.g. "method 'sedi'".
    """
    table = {option.name: option for option in options}
    for name in given:
        if name not in table:
            raise unknown(f"option of {owner}", name, table, error)
    return {
        name: option.parse(given[name], error) if name in given else option.default for name, option in table.items()
    }


def _plain(number: float) -> str:
    """A bound as people write it: 1,000,000 rather than 1e+06."""
    return f"{int(number):,}" if float(number).is_integer() else f"{number:g}"


def _bool(value: Any, wrong: CtkdError) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in {"true", "false", "yes", "no", "1", "0"}:
        return value.lower() in {"true", "yes", "1"}
    raise wrong


def _number(value: Any, kind: Kind, wrong: CtkdError) -> int | float:
    if isinstance(value, bool):
        raise wrong
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):  # the last: a whole number of hundreds of digits
        raise wrong from None
    if not math.isfinite(number):
        raise wrong
    if kind == "int":
        if number != int(number):
            raise wrong
        return int(number)
    return number
