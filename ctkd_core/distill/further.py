"""Further teachers of a run, beside the one that RunConfig names: each with a method, a weight and a tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict
from typing import Any

from pydantic import ConfigDict, Field, ValidationInfo, model_validator
from pydantic import field_validator as validated
from pydantic.dataclasses import dataclass

from ctkd_core import methods
from ctkd_core.distill.settings import fields_of, options_of, parsed, refusing, setting
from ctkd_core.distill.teachers import access
from ctkd_core.errors import RunError, short, unknown

CONFIG = ConfigDict(extra="forbid", validate_default=True)


@refusing("key of a further teacher")
@dataclass(frozen=True, config=CONFIG)
class FurtherTeacher:
    """One more teacher. `method`, `variant` and the two tables of options say how it is asked, as in RunConfig.

    Raises RunError for a method that asks no teacher, and for options out of range.
    """

    teacher: str = setting(..., "Its tokenizer: a catalog name, hub id, folder or tokenizer.json.")
    teacher_path: str = setting(
        "", "Folder or hub id of its weights; empty: the bundled model for smollm2, else `teacher`."
    )
    method: str = setting("gold", "How it is asked.")
    variant: str = setting("clean", "Clean reading or the released program.")
    weight: float = setting(1.0, "Weight of this teacher's loss.", low=0.0, high=1000.0)
    name: str = setting("", "Its name in metrics; empty: its tokenizer's.")
    teacher_cache: str = access.cache_setting()
    teacher_precision: str = access.precision_setting()
    teacher_loading: str = access.loading_setting()
    teacher_server: str = access.server_setting()
    teacher_server_model: str = access.server_model_setting()
    teacher_server_k: int = access.server_k_setting()
    state_learning_rate: float = setting(
        0.0, "Learning rate of what its loss learns itself; 0: as the run says of such parts.", low=0.0, high=1.0
    )
    method_options: dict[str, Any] = Field(default_factory=dict, description="Loss options of the method.")
    align_options: dict[str, Any] = Field(default_factory=dict, description="Alignment options of the method.")

    @validated("method", mode="before")
    @classmethod
    def _asks(cls, value: Any) -> str:
        row = methods.get(value, RunError)
        if not row.asks_teacher:
            able = ", ".join(m.name for m in methods.training() if m.asks_teacher)
            raise RunError(f"method {short(value)} can't ask a further teacher; choose one of {able}.")
        return row.name

    @validated(*("teacher", "teacher_path", "name", "variant"), *access.TEXTS, mode="before")
    @classmethod
    def _a_text(cls, value: Any, field: ValidationInfo) -> Any:
        if not isinstance(value, str):
            raise RunError(f"{field.field_name} must be a text; got {short(value)}.")
        return value

    @validated("weight", "state_learning_rate", *access.CHOSEN, mode="before")
    @classmethod
    def _as_its_option(cls, value: Any, field: ValidationInfo) -> Any:
        return parsed(_OPTIONS, field.field_name, value)

    @validated("method_options", "align_options", mode="before")
    @classmethod
    def _of_the_method(cls, value: Any, field: ValidationInfo) -> dict[str, Any]:
        return of_the_method(value, field)

    @model_validator(mode="after")
    def _has_the_variant(self) -> FurtherTeacher:
        methods.get(self.method, RunError).check_variant(self.variant, RunError)
        return self

    def to_dict(self) -> dict[str, Any]:
        """Plain data, one entry of `teachers` in config.json."""
        return asdict(self)


_OPTIONS = {option.name: option for option in options_of(FurtherTeacher)}


_AS_RECORDED: ContextVar[bool] = ContextVar("as recorded", default=False)


@contextmanager
def as_recorded() -> Iterator[None]:
    """Within it, configs may hold options without effect, as runs of earlier versions do; they still can't be run."""
    token = _AS_RECORDED.set(True)
    try:
        yield
    finally:
        _AS_RECORDED.reset(token)


def of_the_method(value: Any, field: ValidationInfo) -> dict[str, Any]:
    """The field `method_options` or `align_options` of a model that has a `method`, with all defaults, checked.

    Raises RunError for anything but a table of options that the method has and its variant reads.
    """
    given = option_table(str(field.field_name), value)
    if "method" not in field.data:  # refused already
        return given
    row = methods.get(field.data["method"], RunError)
    if _AS_RECORDED.get():
        align = field.field_name == "align_options"
        return row.recorded(align, given, RunError, field.data.get("variant", "clean"))
    table = row.loss_table if field.field_name == "method_options" else row.groups_table
    return table(given, RunError, field.data.get("variant", "clean"))


def older_form(data: Mapping[str, Any]) -> dict[str, Any]:
    """`data` of a run or of a further teacher without the method's options that came later, where at their default.

    So a config of before an option existed keeps its content and its fingerprint.
    """
    row, found = methods.get(data["method"]), dict(data)
    # Of a further teacher; a run leaves out its own by their defaults, too.
    for name in (*access.FIELDS, "state_learning_rate"):
        if name in found and found[name] == fields_of(FurtherTeacher)[name].default:
            del found[name]
    for key, options in (("method_options", row.loss_options), ("align_options", row.align_options)):
        later = {option.name: option.of(data["variant"]).default for option in options if option.later}
        found[key] = {k: v for k, v in data[key].items() if k not in later or v != later[k]}
    return found


def option_table(key: str, value: Any) -> dict[str, Any]:
    """`value` of the key `key` as a table of options; raises RunError for anything else (an empty YAML value)."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise RunError(f"{key} must be a table of options, name: value; got {short(value)}. Leave it out to set none.")
    return dict(value)


def parse_teachers(value: Any) -> tuple[dict[str, Any], ...]:
    """The entries of a config's `teachers` with all defaults, checked.

    Raises RunError, with the number of the entry, for anything but a list of tables with known keys.
    """
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        raise RunError(f"teachers is a list of tables, one for each further teacher; got {type(value).__name__}.")
    known = fields_of(FurtherTeacher)
    found = []
    for number, entry in enumerate(value, start=1):
        if not isinstance(entry, Mapping) or not isinstance(entry.get("teacher"), str) or not entry["teacher"]:
            raise RunError(f"entry {number} of teachers must be a table that names its tokenizer as `teacher`.")
        for key in entry:
            if key not in known:
                raise unknown(f"key of entry {number} of teachers", key, known, RunError)
        try:
            found.append(FurtherTeacher(**entry).to_dict())
        except RunError as fault:
            raise RunError(f"entry {number} of teachers: {fault}") from None
    return tuple(found)


def further_teachers(teachers: Sequence[Mapping[str, Any]]) -> list[FurtherTeacher]:
    """The entries as records."""
    return [FurtherTeacher(**entry) for entry in teachers]
