"""Further teachers of a run, beside the one that RunConfig names: each with a method, a weight and a tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ctkd_core import methods
from ctkd_core.errors import RunError, unknown
from ctkd_core.methods.options import Option

WEIGHT = Option("weight", "float", 1.0, "Weight of this teacher's loss.", low=0.0, high=1000.0)


@dataclass(frozen=True)
class FurtherTeacher:
    """One more teacher.

    teacher       its tokenizer: a catalog name, hub id, folder or tokenizer.json
    teacher_path  folder or hub id of its weights; empty: the bundled model for smollm2, else `teacher`
    method, variant, method_options, align_options  how it is asked, as in RunConfig
    weight        of its loss in the sum
    name          in metrics; empty: its tokenizer's

    Raises RunError for a method that asks no teacher, and for options out of range.
    """

    teacher: str
    teacher_path: str = ""
    method: str = "gold"
    variant: str = "clean"
    weight: float = 1.0
    name: str = ""
    method_options: Mapping[str, Any] = field(default_factory=dict)
    align_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        row = methods.get(self.method, RunError)
        if not row.asks_teacher:
            able = ", ".join(m.name for m in methods.training() if m.asks_teacher)
            raise RunError(f"method {self.method!r} can't ask a further teacher; choose one of {able}.")
        row.check_variant(self.variant, RunError)
        for key in ("teacher_path", "name"):
            if not isinstance(getattr(self, key), str):
                raise RunError(f"{key} must be a text; got {getattr(self, key)!r}.")
        object.__setattr__(self, "weight", WEIGHT.parse(self.weight, RunError))
        loss, align = (option_table(key, getattr(self, key)) for key in ("method_options", "align_options"))
        object.__setattr__(self, "method_options", row.resolve_loss(loss, RunError))
        object.__setattr__(self, "align_options", row.resolve_groups(align, RunError))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, one entry of `teachers` in config.json."""
        return asdict(self)


def option_table(key: str, value: Any) -> dict[str, Any]:
    """`value` of the key `key` as a table of options; raises RunError for anything else (an empty YAML value)."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise RunError(f"{key} must be a table of options, name: value; got {value!r}. Leave it out to set none.")
    return dict(value)


def parse_teachers(value: Any) -> tuple[dict[str, Any], ...]:
    """The entries of a config's `teachers` with all defaults, checked.

    Raises RunError, with the number of the entry, for anything but a list of tables with known keys.
    """
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        raise RunError(f"teachers is a list of tables, one for each further teacher; got {type(value).__name__}.")
    known = {f.name for f in fields(FurtherTeacher)}
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
