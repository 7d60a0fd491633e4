"""Append-only files of a run: one JSON document a line, readable while they are being written.

A process that is killed may leave half a line at the end. Readers leave it for later; the next writer ends it, so
that what follows is whole again. A row counts when it has what its kind must have, of the right type; one that hasn't
is passed over like a torn line, so that no reader has to look twice.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, ValidationError
from typing_extensions import TypedDict

from ctkd_core.distill.headline import number
from ctkd_core.files import documents, open_regular

if TYPE_CHECKING:
    import pandas as pd

WORDS = frozenset({"kind", "prompt", "reference", "student", "teacher"})  # columns of words, not of figures


Step = Annotated[int, Field(ge=-1, le=2**53)]  # -1: of a run that began anew
Number = float | None  # null where the figure wasn't finite
Figures = dict[str, Number]


class _Any(TypedDict):
    """What any row may have; keys that aren't named here are kept as they are."""

    __pydantic_config__ = ConfigDict(strict=True, extra="allow")  # type: ignore[misc]

    time: NotRequired[Number]


class Row(_Any):
    """A row of a kind that this program doesn't know, or of samples.jsonl: completions of one held-out prompt."""

    kind: NotRequired[str]
    step: NotRequired[Step]
    index: NotRequired[int]
    prompt: NotRequired[str]
    reference: NotRequired[str]
    student: NotRequired[str]
    teacher: NotRequired[str | None]


class TrainRow(_Any):
    """One logged step. `terms` of the loss; `by_kind`, `by_class`: the loss by shape of group and class of token."""

    kind: Literal["train"]
    step: Step
    loss: Number
    learning_rate: NotRequired[Number]
    gradient_norm: NotRequired[Number]
    tokens_per_second: NotRequired[Number]
    seconds: NotRequired[Number]
    cpu_seconds: NotRequired[Number]
    terms: NotRequired[Figures]
    by_kind: NotRequired[Figures]
    by_class: NotRequired[Figures]
    diagnostics: NotRequired[dict[str, Any]]


class EvalRow(_Any):
    """One look at the held-out examples; each table is the figures of one evaluation (`evaluation.evaluator`)."""

    kind: Literal["eval"]
    step: Step
    bits_per_byte: Number
    teacher_bits_per_byte: NotRequired[Number]
    repetition: NotRequired[Number]
    held_out: NotRequired[int]
    bits_by_domain: NotRequired[Figures]
    teacher_bits_by_domain: NotRequired[Figures]
    bytes_by_domain: NotRequired[Figures]
    bits_by_class: NotRequired[Figures]
    mass_by_class: NotRequired[Figures]
    teacher_bits_by_class: NotRequired[Figures]
    bytes_by_class: NotRequired[Figures]
    agreement: NotRequired[Figures]
    completions: NotRequired[Figures]
    teacher_completions: NotRequired[Figures]
    arithmetic: NotRequired[Figures]
    teacher_arithmetic: NotRequired[Figures]
    arithmetic_counts: NotRequired[Figures]
    exposure: NotRequired[Figures]


class ResumeRow(_Any):
    """A new attempt went on from `step`: rows after it that stand earlier in the file no longer count."""

    kind: Literal["resume"]
    step: Step
    attempt: NotRequired[int]


_ROWS: dict[Any, Any] = {"train": TrainRow, "eval": EvalRow, "resume": ResumeRow}


class RecordWriter:
    """Appends rows to one file and flushes each; OSError (a full disk) reaches the caller."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def write(self, row: dict[str, Any]) -> int:
        """Append one row; returns the size of the file. Numbers that JSON doesn't have (NaN, infinity) become null."""
        if self._file is None:
            self._file = self._open()
        line = json.dumps(finite(row), ensure_ascii=False, default=str, allow_nan=False) + "\n"
        self._file.write(line.encode("utf-8", errors="backslashreplace"))
        self._file.flush()
        return self._file.tell()

    def close(self) -> None:
        """Close the file; a later row opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> IO[bytes]:
        torn = self._path.exists() and (data := self._path.read_bytes()) and not data.endswith(b"\n")
        file = self._path.open("ab")
        if torn:
            file.write(b"\n")
        return file


def read_records(path: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Rows from byte `offset` on, and where the next call should begin.

    Half a line at the end isn't read and not passed over; a broken line in the middle (a torn one, ended by the
    next writer) and a row that lacks what its kind must have are passed over. A missing file has no rows.
    Raises OSError for what is no plain file.
    """
    try:
        with open_regular(path) as file:
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return [], offset
    whole = data.rfind(b"\n") + 1
    rows = [row for line in data[:whole].split(b"\n") if (row := _row(line)) is not None]
    return rows, offset + whole


def _row(line: bytes) -> dict[str, Any] | None:
    """The row in a line as it was written, None for anything else."""
    try:
        row = json.loads(line)
        if b"\\ud" in line.lower():  # half a character, which no table of text takes
            row = json.loads(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace"))
        kind = row.get("kind") if isinstance(row, dict) else None
        documents.adapter(_ROWS.get(kind, Row) if isinstance(kind, str) else Row).validate_python(row)
    except (ValueError, RecursionError, ValidationError):  # ValidationError is a ValueError; named for the reader
        return None
    return dict(row)


def sound_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows whose figures are figures and whose step is one: whoever draws them needn't look again."""
    return [row for row in rows if _sound(row)]


def _sound(row: dict[str, Any]) -> bool:
    step, kind = row.get("step"), row.get("kind", "")
    if not isinstance(step, int) or isinstance(step, bool) or not -1 <= step < 2**53 or not isinstance(kind, str):
        return False
    return all(_figure(value) for key, value in row.items() if key not in WORDS)


def _figure(value: Any) -> bool:
    """A finite number, null, or a table of them."""
    if isinstance(value, dict):
        return all(entry is None or number(entry) is not None for entry in value.values())
    return value is None or number(value) is not None


def current_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that count: what an attempt wrote after the checkpoint from which a later one went on is left out."""
    kept: list[dict[str, Any]] = []
    for row in rows:
        if row.get("kind") == "resume":
            kept = [r for r in kept if r.get("step", 0) <= row.get("step", -1)]
        else:
            kept.append(row)
    return kept


def metrics_frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a table: the named terms of a loss become columns `terms.<name>`; step, time, kind and loss come first.

    An empty list gives an empty table with those columns.
    """
    import pandas as pd

    flat = []
    for row in rows:
        plain = {k: v for k, v in row.items() if not isinstance(v, dict)}
        nested = {f"{k}.{name}": v for k, d in row.items() if isinstance(d, dict) for name, v in d.items()}
        flat.append(plain | nested)
    frame = pd.DataFrame(flat)
    first = ["step", "time", "kind", "loss"]
    rest = [c for c in frame.columns if c not in first]
    return frame.reindex(columns=first + rest)


def finite(value: Any) -> Any:
    """A document with null where a number isn't finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return value
