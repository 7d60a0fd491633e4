"""Append-only files of a run: one JSON document a line, readable while they are being written.

A process that is killed may leave half a line at the end. Readers leave it for later; the next writer ends it, so
that what follows is whole again. A row counts when it has what its kind must have, of the right type; one that hasn't
is passed over like a torn line, so that no reader has to look twice, and is damage: `read_part` says what and where.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, ValidationError
from typing_extensions import TypedDict

from ctkd_core.distill.headline import number
from ctkd_core.errors import short
from ctkd_core.files import documents, open_regular

if TYPE_CHECKING:
    import pandas as pd

TORN = "it isn't whole JSON"  # what is wrong with a line that its writer didn't end, as with some others
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
    joules: NotRequired[Number]
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
    held_out_bytes: NotRequired[int]
    bits_by_domain: NotRequired[Figures]
    teacher_bits_by_domain: NotRequired[Figures]
    bytes_by_domain: NotRequired[Figures]
    bits_by_language: NotRequired[Figures]
    teacher_bits_by_language: NotRequired[Figures]
    bytes_by_language: NotRequired[Figures]
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
    exposure_texts: NotRequired[int]


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
        line = json.dumps(finite(row), ensure_ascii=False, default=str, allow_nan=False) + "\n"
        data = line.encode("utf-8", errors="backslashreplace")
        if self._file is None:
            torn = self._path.exists() and (before := self._path.read_bytes()) and not before.endswith(b"\n")
            self._file = self._path.open("ab")
            data = b"\n" + data if torn else data  # in one piece: nobody reads an ended half line with nothing after
        self._file.write(data)
        self._file.flush()
        return self._file.tell()

    def close(self) -> None:
        """Close the file; a later row opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None


@dataclass(frozen=True)
class RowsRead:
    """What stands in a file of rows from some byte on.

    rows    those whose figures are figures and whose step is one, so that whoever draws them needn't look again; keys
            that this program doesn't know are left out unless they hold figures
    end     where the next look begins
    damage  the first row that isn't as its kind must be, "line 3: ...", and how many more; "" when all are
    """

    rows: list[dict[str, Any]]
    end: int
    damage: str = ""


def read_part(path: Path, offset: int = 0) -> RowsRead:
    """The rows from byte `offset` on, which begins a line.

    No damage is half a line at the end of the file or before a row of kind "resume" (its writer was killed), nor a row
    of a kind that this program doesn't know. A missing file has no rows. Raises OSError for what is no plain file.
    """
    data, end = _whole_lines(path, offset)
    rows: list[dict[str, Any]] = []
    wrong: list[tuple[int, str]] = []
    torn: list[tuple[int, str]] = []
    for line, (row, fault) in enumerate(_rows_in(data), 1):
        if row is None and not fault:
            continue
        what = fault if row is None else _unsound(row)
        if what == TORN:
            torn.append((line, what))
            continue
        if row is None or row.get("kind") != "resume":
            wrong += torn
        torn = []
        if row is not None and what is None:
            rows.append(row)
        elif what and (row is None or row.get("kind") in (None, *_ROWS)):
            wrong.append((line, what))
    return RowsRead(rows, end, _told(path, offset, wrong + torn))


def _told(path: Path, offset: int, wrong: list[tuple[int, str]]) -> str:
    """The first of what is wrong, with its line counted from the beginning of the file."""
    if not wrong:
        return ""
    before = 0
    if offset:
        with open_regular(path) as file:
            before = file.read(offset).count(b"\n")
    more = f"; {len(wrong) - 1:,} more" if len(wrong) > 1 else ""
    return f"line {before + wrong[0][0]:,}: {wrong[0][1].rstrip('.')}{more}"


def _whole_lines(path: Path, offset: int) -> tuple[bytes, int]:
    try:
        with open_regular(path) as file:
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return b"", offset
    whole = data.rfind(b"\n") + 1
    return data[:whole], offset + whole


def _rows_in(data: bytes) -> Iterator[tuple[dict[str, Any] | None, str]]:
    """Of each whole line its row, or None and what is wrong with it ("" for an empty line)."""
    for line in data.split(b"\n")[:-1]:
        try:
            row = json.loads(line)
            if b"\\ud" in line.lower():  # half a character, which no table of text takes
                row = json.loads(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace"))
        except RecursionError:
            yield None, "it is nested too deeply to read"
            continue
        except ValueError:
            yield None, TORN if line.strip() else ""
            continue
        kind = row.get("kind") if isinstance(row, dict) else None
        try:
            documents.adapter(_ROWS.get(kind, Row) if isinstance(kind, str) else Row).validate_python(row)
        except ValidationError as fault:
            known = not isinstance(kind, str) or kind in _ROWS
            yield None, documents.sentences(fault) if known else ""
            continue
        known = _ROWS.get(kind, Row).__annotations__.keys() | WORDS
        yield {key: value for key, value in row.items() if key in known or _figure(value)}, ""


def _unsound(row: dict[str, Any]) -> str | None:
    """What in a row isn't a figure, None where all are; every row has a step and may have a kind."""
    step, kind = row.get("step"), row.get("kind", "")
    if not isinstance(step, int) or isinstance(step, bool) or not -1 <= step < 2**53:
        return f"'step' is no number of a step: {short(step)}" if "step" in row else "it lacks 'step'"
    if not isinstance(kind, str):
        return f"'kind' is no word: {short(kind)}"
    found = next((key for key, value in row.items() if key not in WORDS and not _figure(value)), None)
    return None if found is None else f"{short(found)} holds something else than figures: {short(row[found])}"


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
