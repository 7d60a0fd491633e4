"""Documents that are stored or printed: each has a model, and a misfit is told as file, field, value and what to do.

Reading never gives half a result: what comes back fits the model, or a CtkdError says why not. pydantic is loaded with
this module, so `import ctkd_core` doesn't load it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import core_schema

from ctkd_core import files
from ctkd_core.errors import CtkdError, short, unknown

T = TypeVar("T")
MOST_FAULTS = 3  # that one message names; a document of another kind would misfit everywhere


PRINTED = ConfigDict(strict=True, extra="allow")  # of a TypedDict: nothing is missing, later versions may add keys


class Document(BaseModel):
    """A document as it lies on disk: never changed once read, and of exact types ("3" is no number).

    Keys that the model doesn't know are passed over, so that an older program reads what a newer one wrote.
    """

    model_config = ConfigDict(frozen=True, strict=True)


@dataclass(frozen=True, config=ConfigDict(extra="ignore"))
class FileDigest:
    """What a manifest notes of one file, by which it is known again."""

    bytes: Annotated[int, Field(ge=0)]
    sha256: str

    @classmethod
    def of(cls, path: Path) -> FileDigest:
        """As the file is now. Raises OSError."""
        return cls(path.stat().st_size, files.sha256_of(path))


class Shape:
    """Marks a plain value that must have the shape of a type: `Annotated[dict[str, Any], Shape(SomeTypedDict)]`.

    The value itself stays as it is, numbers included: what is printed is what was computed.
    """

    def __init__(self, kind: Any) -> None:
        self.kind = kind

    def __get_pydantic_core_schema__(self, _source: Any, handler: Any) -> core_schema.CoreSchema:
        def unchanged(value: Any, check: Any) -> Any:
            check(value)
            return value

        return core_schema.no_info_wrap_validator_function(unchanged, handler.generate_schema(self.kind))


class Array:
    """Marks a field that holds an array: `Annotated[NDArray[np.float32], Array("float32", 1)]`."""

    def __init__(self, dtype: str, ndim: int) -> None:
        self.dtype, self.ndim = dtype, ndim

    def __get_pydantic_core_schema__(self, _source: Any, _handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def _check(self, value: Any) -> Any:
        if getattr(value, "dtype", None) != self.dtype or getattr(value, "ndim", None) != self.ndim:
            found = f"{getattr(value, 'dtype', type(value).__name__)} {list(getattr(value, 'shape', ()))}"
            raise ValueError(f"should be an array of {self.ndim} dimensions of type {self.dtype}, not {found}")
        return value


def read_json(path: Path, what: str, error: type[CtkdError] = CtkdError, advice: str = "") -> Any:
    """The document in a JSON file. `what` it is and the `advice` go into the message.

    Raises `error` when the file can't be read, isn't UTF-8 or isn't JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise error(_message(f"{what} {str(path)!r} can't be read: {fault.strerror or fault}.", advice)) from None
    except RecursionError:
        raise error(_message(f"{what} {str(path)!r} is nested too deeply to read.", advice)) from None
    except ValueError as fault:  # not UTF-8, not JSON, a number of thousands of digits, a NUL byte in the path
        raise error(_message(f"{what} {str(path)!r} isn't whole JSON: {fault}.", advice)) from None


def fitting(kind: type[T], document: Any, where: str, error: type[CtkdError] = CtkdError, advice: str = "") -> T:
    """`document` as a `kind`: a model, TypedDict or data class.

    Raises `error` with `where` the document stands, the fields that don't fit (the first few) and the `advice`.
    """
    try:
        found: T = adapter(cast(Any, kind)).validate_python(document)
        return found
    except ValidationError as fault:
        raise error(_message(f"{where}: {sentences(fault)}", advice)) from None


def stored(kind: type[T], document: Any, where: str, error: type[CtkdError] = CtkdError, advice: str = "") -> T:
    """As `fitting`, of exact types throughout, for what was written from a `kind` with tuples: JSON has lists."""
    try:
        found: T = adapter(cast(Any, kind)).validate_json(json.dumps(document), strict=True)
        return found
    except ValidationError as fault:
        raise error(_message(f"{where}: {sentences(fault)}", advice)) from None
    except (RecursionError, TypeError, ValueError) as fault:
        raise error(_message(f"{where} is no JSON: {fault}.", advice)) from None


def misfits(kind: Any, document: Any) -> list[tuple[int | str, ...]]:
    """Where in a document something stands that isn't as `kind` says, each as the keys that lead there."""
    try:
        adapter(kind).validate_python(document)
    except ValidationError as fault:
        return [one["loc"] for one in fault.errors(include_url=False, include_context=False, include_input=False)]
    return []


def read(kind: type[T], path: Path, what: str, error: type[CtkdError] = CtkdError, advice: str = "") -> T:
    """The document in a JSON file as a `kind`. Raises `error` as `read_json` and `fitting` do."""
    return fitting(kind, read_json(path, what, error, advice), f"{what} {str(path)!r}", error, advice)


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """The validator of a type, built once."""
    return TypeAdapter(kind)


def sentences(fault: ValidationError, what: str = "key", known: Iterable[str] = ()) -> str:
    """What pydantic found, as sentences: our own errors word by word, its own as field, rule and value.

    An unknown name is called `what` (e.g. "option of a run") and gets the nearest of the `known` ones.
    """
    found = fault.errors(include_url=False)
    said = [_sentence(one, what, known) for one in found[:MOST_FAULTS]]
    more = len(found) - len(said)
    return " ".join([*said, *([f"({more} more.)"] if more > 0 else [])])


def _sentence(one: Any, what: str, known: Iterable[str]) -> str:
    own = one.get("ctx", {}).get("error")
    if isinstance(own, CtkdError):
        return str(own)
    if one["type"] in {"extra_forbidden", "unexpected_keyword_argument"} and known:
        return str(unknown(what, one["loc"][-1], known))
    field = ".".join(str(part) for part in one["loc"])
    if one["type"] == "missing":
        return f"it lacks {field!r}."
    rule = one["msg"][:1].lower() + one["msg"][1:]
    return f"{field!r}: {rule}; got {short(one['input'])}." if field else f"{rule}; got {short(one['input'])}."


def _message(text: str, advice: str) -> str:
    return f"{text} {advice}".rstrip()
