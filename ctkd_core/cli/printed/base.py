"""What the types of printed documents have in common."""

from __future__ import annotations

from typing_extensions import TypedDict

from ctkd_core.files import documents

Number = float | None  # null where a figure is none or wasn't measured
Metrics = dict[str, float]  # docs/metrics.md
Region = list[int]  # student start and end, teacher start and end, in tokens


class Printed(TypedDict):
    """Of exact types; keys that aren't named here may be there."""

    __pydantic_config__ = documents.PRINTED  # type: ignore[misc]


class Removed(Printed):
    """Names of what was removed."""

    removed: list[str]
