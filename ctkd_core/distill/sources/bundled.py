"""The data sets that come along: what each holds, and how it is named (`bundled:NAME`).

All were written or generated for this project and are CC0-1.0; `make_data` writes those that are generated.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ctkd_core.errors import RunError, unknown

FOLDER = Path(__file__).resolve().parents[1] / "data"
PREFIX = "bundled:"
LICENCE = "CC0-1.0"


@dataclass(frozen=True)
class BundledSet:
    """One set. `tokens`: of a usual sample on either side, for estimates."""

    name: str
    file: str
    title: str
    tokens: int
    licence: str = LICENCE

    @property
    def path(self) -> Path:
        """Its file."""
        return FOLDER / self.file


SETS = {
    row.name: row
    for row in (
        BundledSet("tasks", "bundled.jsonl", "short tasks of twenty kinds, the same as `bundled`", 30),
        BundledSet("languages", "languages.jsonl", "questions and answers in Russian, German, Korean and English", 80),
        BundledSet("arithmetic", "arithmetic.jsonl", "sums, differences and products by operand length", 30),
        BundledSet("copying", "copying.jsonl", "numbers of 1 to 12 digits to be written once more", 25),
        BundledSet("code", "code.jsonl", "small Python functions and what they are asked for", 60),
        BundledSet("prose", "prose.jsonl", "paragraphs in six languages on four subjects", 240),
    )
}
NAMES = ("bundled", *(PREFIX + name for name in SETS))


def bundled_set(source: str) -> BundledSet | None:
    """The set that `bundled` or `bundled:NAME` names, None for any other source; RunError for an unknown NAME."""
    if source == "bundled":
        return SETS["tasks"]
    if not source.startswith(PREFIX):
        return None
    name = source.removeprefix(PREFIX)
    if name not in SETS:
        raise unknown("bundled data set", name, SETS, RunError)
    return SETS[name]
