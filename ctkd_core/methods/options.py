"""Options describe themselves: one record feeds CLI flags, page forms, JSON schemas, docs tables and tests.

pydantic checks the record itself, converts values and writes the JSON schema; this file says the same in sentences.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ctkd_core.errors import CtkdError, short, unknown

Kind = Literal["int", "float", "bool", "choice", "str"]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Is:
    """A condition on another option of the same table: it has one of `values`, or with `but` any other value.

    `variant`: asked of this variant alone; empty: of all.
    """

    option: str
    values: tuple[Any, ...]
    but: bool = False
    variant: str = ""

    def holds(self, values: Mapping[str, Any], variant: str) -> bool:
        """Whether it is met by a table of options of this variant, or isn't asked of it."""
        if self.variant not in ("", variant) or self.option not in values:
            return True
        return (values[self.option] in self.values) is not self.but

    def text(self) -> str:
        """The condition in words: "divergence is jsd"."""
        return f"{self.option} is {'not ' if self.but else ''}{_either(self.values)}"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Option:
    """One named setting of a method or of a run.

    `low` and `high` are inclusive; `source` says where the default comes from (paper section or released code).
    `variants`: which variants of the method read it; empty: all. `released`: the default of the variant "released",
    where that is another one. `later`: it came after runs were kept, so a run's config leaves it out at its default.
    `read_if`: conditions on other options, all of which must hold for it to be read (of a tuple of them, one);
    elsewhere it stays at its default, or is refused.
    Raises ValueError for fields of the wrong type and for a choice without choices.
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
    variants: tuple[str, ...] = ()
    released: Any = None
    later: bool = False
    read_if: tuple[Is | tuple[Is, ...], ...] = ()

    def __post_init__(self) -> None:
        if (self.kind == "choice") != bool(self.choices):
            raise ValueError(f"option {self.name!r} of kind {self.kind!r} has the choices {self.choices!r}.")

    def parse(self, value: Any, error: type[CtkdError] = CtkdError) -> Any:
        """`value` (possibly a string from a command line) as this option's type, checked.

        Raises `error` when the value has the wrong type or lies outside the range.
        """
        try:
            return _adapter(self).validate_python(value)
        except ValidationError:
            if self.kind == "choice" and value is not None:
                raise unknown(f"value of {self.name!r}", value, self.choices, error) from None
            raise error(f"option {self.name!r} takes {self.expected()}; got {short(value, 500)}.") from None

    def read_by(self, variant: str) -> bool:
        """Whether this variant of the method looks at the option."""
        return not self.variants or variant in self.variants

    @property
    def conditions(self) -> tuple[tuple[Is, ...], ...]:
        """`read_if`, each condition as a tuple of alternatives."""
        return tuple(one if isinstance(one, tuple) else (one,) for one in self.read_if)

    def unmet(self, values: Mapping[str, Any], variant: str) -> tuple[Is, ...]:
        """The first condition that a table of options of this variant doesn't meet; () where all hold."""
        return next((one for one in self.conditions if not any(c.holds(values, variant) for c in one)), ())

    def of(self, variant: str) -> Option:
        """The option with the default that it has in this variant."""
        other = variant == "released" and self.released is not None
        return replace(self, default=self.released) if other else self

    def default_text(self) -> str:
        """The default as lists show it, with that of the variant "released" where it has another one."""
        shown = "none" if self.default is None else str(self.default)
        return shown if self.released is None else f"{shown} (released: {self.released})"

    def about(self) -> str:
        """The help, which variants read the option where not all do, and where they do."""
        variants = f" Read by variant {' and '.join(self.variants)} alone." if self.variants else ""
        return self.help + variants + self.where()

    def where(self) -> str:
        """A sentence about the conditions; "" without any."""
        found = [
            " or ".join(c.text() for c in one) + (f" (variant {one[0].variant})" if one[0].variant else "")
            for one in self.conditions
        ]
        return f" Read only where {' and '.join(found)}." if found else ""

    def expected(self) -> str:
        """What a valid value looks like, for error messages and help texts."""
        if self.kind == "choice":
            return "one of " + ", ".join(self.choices)
        names = {"bool": "true or false", "int": "a whole number", "float": "a number", "str": "a text"}
        text = names[self.kind]
        if self.low is not None and self.high is not None:
            text += f" from {_plain(self.low)} to {_plain(self.high)}"
        elif self.low is not None:
            text += f" of at least {_plain(self.low)}"
        elif self.high is not None:
            text += f" of at most {_plain(self.high)}"
        return text + (f" ({self.unit})" if self.unit else "")

    def schema(self) -> dict[str, Any]:
        """JSON schema of this option, with what else is known of it: unit, source, variants that read it."""
        schema = dict(_adapter(self).json_schema())
        if "anyOf" in schema:  # the type or null, written in one line
            (one, _) = schema.pop("anyOf")
            schema |= one | {"type": [one["type"], "null"]}
        if "const" in schema:  # a single choice
            schema["enum"] = [schema.pop("const")]
        facts = {
            "unit": self.unit,
            "source": self.source,
            "variants": list(self.variants),
            "released": self.released,
            "read_if": [
                [
                    {"option": c.option, "not" if c.but else "in": list(c.values)} | _named(variant=c.variant)
                    for c in one
                ]
                for one in self.conditions
            ],
        }
        return (
            {"default": self.default, "description": self.help}
            | schema
            | {k: v for k, v in facts.items() if v not in ("", None, [])}
        )


def options_of(options: Iterable[Option], variant: str) -> tuple[Option, ...]:
    """The options that a variant of a method reads, each with the default that it has there."""
    return tuple(option.of(variant) for option in options if option.read_by(variant))


def resolve(
    options: Iterable[Option],
    given: Mapping[str, Any],
    owner: str,
    error: type[CtkdError] = CtkdError,
    variant: str = "clean",
) -> dict[str, Any]:
    """Every option with its given or default value; unknown names fail with the nearest ones.

    `owner` names whose options these are, e.g. "method 'sedi'". Raises `error` too for a value that another option
    leaves without effect.
    """
    table = {option.name: option for option in options}
    for name in given:
        if name not in table:
            raise unknown(f"option of {owner}", name, table, error)
    values = {
        name: option.parse(given[name], error) if name in given else option.default for name, option in table.items()
    }
    for name, option in table.items():
        if values[name] != option.default and (unmet := option.unmet(values, variant)):
            raise error(_without_effect(option, values, unmet, owner))
    return values


def only_read(options: Iterable[Option], given: Mapping[str, Any], variant: str) -> dict[str, Any]:
    """`given` without the values that other options of the table leave without effect."""
    table = {option.name: option for option in options}
    found = dict(given)
    while True:  # what goes back to its default may take others with it
        values = {name: found.get(name, option.default) for name, option in table.items()}
        idle = [n for n in found if n in table and values[n] != table[n].default and table[n].unmet(values, variant)]
        if not idle:
            return found
        for name in idle:
            del found[name]


def _without_effect(option: Option, values: Mapping[str, Any], unmet: tuple[Is, ...], owner: str) -> str:
    others = list(dict.fromkeys(c.option for c in unmet))
    here = " and ".join(f"{name!r} is {_word(values[name])}" for name in others)
    return (
        f"option {option.name!r} of {owner} is read only where {' or '.join(c.text() for c in unmet)}; here {here}, so "
        f"{short(values[option.name], 100)} would have no effect. Leave out {option.name!r}, or change "
        f"{' or '.join(map(repr, others))}."
    )


def _either(values: Iterable[Any]) -> str:
    words = [_word(value) for value in values]
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, int | float) else str(value)[:100]


def _named(**facts: str) -> dict[str, str]:
    return {name: value for name, value in facts.items() if value}


@lru_cache(maxsize=1024)
def _adapter(option: Option) -> TypeAdapter[Any]:
    """What pydantic needs to convert a value of this option and to describe it; made at first use."""
    bounds: dict[str, float | None] = {"ge": option.low, "le": option.high}
    if option.kind == "int":  # JSON shows whole bounds without a point
        bounds = {name: None if bound is None else int(bound) for name, bound in bounds.items()}
    limits: Any = Field(ge=bounds["ge"], le=bounds["le"])
    kinds: dict[str, Any] = {
        "int": Annotated[int, limits, BeforeValidator(_whole)],
        "float": Annotated[FiniteFloat, limits, BeforeValidator(_number)],
        "bool": bool,
        "choice": Literal[option.choices] if option.choices else None,
        "str": str,
    }
    kind = kinds[option.kind]
    if option.default is None:
        open_or: Any = Annotated[kind | None, BeforeValidator(_nothing)]
        return TypeAdapter(open_or)
    return TypeAdapter(kind)


def _nothing(value: Any) -> Any:
    """An option that may be left open is open again with "none" on a command line."""
    return None if isinstance(value, str) and value.strip().lower() in ("none", "null", "") else value


def _number(value: Any) -> Any:
    """Neither True and False nor bytes are numbers here, whatever pydantic would make of them."""
    if isinstance(value, bool | bytes):
        raise ValueError("a number is wanted")
    return value


def _whole(value: Any) -> Any:
    """As `_number`; "1e3" of a command line is a whole number too."""
    if isinstance(value, str) and "e" in value.lower():
        return float(value)
    return _number(value)


def _plain(number: float) -> str:
    """A bound as people write it: 1,000,000 rather than 1e+06."""
    return f"{int(number):,}" if float(number).is_integer() else f"{number:g}"


def option_words(options: Mapping[str, Any], between: str = " ") -> list[str]:
    """Run options with their values, "top_k 8" each: of a dotted name (`method_options.top_k`) the last part."""
    return [f"{name.rpartition('.')[2]}{between}{value}" for name, value in options.items()]
