"""Data files, one record after another: lines of JSON, a JSON array, Parquet. What a record says is not looked at here.

The one reader of training data and corpora. All of them are streamed: lines, the elements of an array, objects that go
over several lines (`json_text`), batches of rows; JSON packed by gzip, too (`packed`). Nulls of Parquet come back as
None, and as nothing at all inside of nested tables, where Arrow writes them into every record for what only some have.
"""

from __future__ import annotations

import codecs
import json
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ctkd_core.errors import CtkdError
from ctkd_core.files import packed
from ctkd_core.files.json_text import BLANKS, JsonFault, JsonText, NotUtf8, TooLong
from ctkd_core.markup.visible import one_line, shorten

JSON_FILES = (".jsonl", ".ndjson", ".json")  # with .gz, too
RECORD_FILES = (*JSON_FILES, ".parquet")
MAX_RECORD = 16_000_000  # characters of one record
MAX_WHOLE = packed.MOST_UNPACKED  # bytes of a file whose records are held together
MAX_DEPTH = 100  # lists and tables in one another; the deepest records that people have are descriptions of tools
MAX_DIGITS = 4300  # of a whole number; Python reads no longer ones
_HEAD = 8192  # bytes looked at to tell text from binary data
_PACKED = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip", ".tgz", ".tar", ".7z")
# What files begin with whose name says something else.
_BEGINNINGS = {
    b"\x1f\x8b": "is compressed (gzip); unpack it first.",
    b"BZh": "is compressed (bzip2); unpack it first.",
    b"\xfd7zXZ": "is compressed (xz); unpack it first.",
    b"\x28\xb5\x2f\xfd": "is compressed (zstd); unpack it first.",
    b"PK\x03\x04": "is a ZIP archive; unpack it first.",
    b"PAR1": "is a Parquet file; give it the ending .parquet.",
    b"ARROW1": "is an Arrow file; convert it to Parquet first.",
}
LFS_POINTER = b"version https://git-lfs.github.com/spec/"  # what Git has in the place of a large file
POINTS = "is only a pointer of Git LFS to the file; fetch that with `git lfs pull`."


@dataclass(frozen=True)
class Record:
    """One record: its number (from 1, without blank lines), the line it begins in (None in Parquet), its content."""

    number: int
    line: int | None
    value: Any

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        return place(self.number, self.line)


@dataclass(frozen=True)
class Unreadable:
    """A record that is no JSON, or more than is read: where it stands and what is wrong, as the end of a sentence."""

    number: int
    line: int
    fault: str

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        return f"line {self.line}"


def place(number: int, line: int | None) -> str:
    """ "record 3", with the line where that has another number."""
    return f"record {number}" if line in (None, number) else f"record {number} (line {line})"


def wrong_ending(suffix: str, advice: str) -> str:
    """What is wrong with a file of this ending, as the end of a sentence."""
    unpack = "unpack it first, then " if suffix.lower() in _PACKED else ""
    return f"ends in {suffix or 'nothing'!r}; {unpack}{advice}."


def binary(head: bytes) -> str:
    """Why a file with these first bytes is no UTF-8 text, as the end of a sentence; "" where it may be one."""
    for beginning, said in _BEGINNINGS.items():
        if head.startswith(beginning) and (b"\0" in head or not beginning.isascii()):
            return said
    return "is binary or UTF-16, not UTF-8 text; convert it first." if b"\0" in head else ""


def read_head(path: Path, what: str, error: type[CtkdError]) -> bytes:
    """The first bytes of a file. Raises `error` for a folder, and for a file that isn't there or can't be read.

    Also for a pointer of Git LFS, whatever the file's name says, as it is neither packed nor Parquet.
    """
    name = f"{what} {shown_name(path)!r}"
    try:
        if path.is_dir():
            raise error(f"{name} is a folder; name its files one by one.")
        with path.open("rb") as file:
            if file.read(len(LFS_POINTER)) == LFS_POINTER:
                raise error(f"{name} {POINTS}")
        with packed.opened(path) as file:
            return file.read(_HEAD)
    except FileNotFoundError:
        raise error(f"no {what} file {one_line(str(path))!r}; check the path.") from None
    except CtkdError:
        raise
    except (OSError, ValueError) as fault:  # ValueError: a NUL byte in the name
        raise error(f"{name} can't be read: {getattr(fault, 'strerror', None) or fault}.") from None


class RecordFile:
    """The records of one file. `what` it is ("corpus") and the class of its errors go into what is raised.

    longest  characters of a record
    Raises `error` at once for a folder, a file that isn't there or can't be read, another ending, a file that is empty,
    binary or UTF-16; while reading, for a broken Parquet file and a broken array.
    """

    def __init__(
        self, path: Path, what: str = "data", error: type[CtkdError] = CtkdError, longest: int = MAX_RECORD
    ) -> None:
        self._path, self._error, self._longest = path, error, longest
        self._name = f"{what} {shown_name(path)!r}"
        self._decoder = _Decoder()
        self._ending = packed.ending(path, JSON_FILES)
        self._check(what)

    def __iter__(self) -> Iterator[Record | Unreadable]:
        try:
            if self._ending == ".parquet":
                yield from self._parquet()
            elif self._begins_with("["):
                yield from self._array()
            else:
                yield from self._lines()
        except OSError as fault:
            raise self._fault(f"can't be read: {fault.strerror or fault}.") from None

    @property
    def has_lines(self) -> bool:
        """Whether each record is a line of its own, so that parts of the file can be read alone."""
        if self._ending == ".parquet" or packed.is_packed(self._path) or self._begins_with("["):
            return False
        for text in self._decoded_lines():
            if not isinstance(text, str):
                return True
            if text.strip(BLANKS):
                spread = isinstance(self._value(text, 1, 1), Unreadable) and text.lstrip(BLANKS).startswith("{")
                return not (spread and self._is_spread())
        return True

    def row_groups(self, size: int) -> list[tuple[int, int]]:
        """Ranges of a Parquet file's row groups, each of about `size` bytes or more; none for a file without rows."""
        found, first, weight = [], 0, 0
        with self._readable_parquet() as file:
            count = file.num_row_groups
            for number in range(count):
                weight += file.metadata.row_group(number).total_byte_size
                if weight >= size or number + 1 == count:
                    found.append((first, number + 1))
                    first, weight = number + 1, 0
        return found

    def part(self, start: int, end: int, columns: Collection[str] = ()) -> Iterator[Record | Unreadable]:
        """The records of lines that begin in a range of bytes, or of a range of row groups; end -1: all of the file.

        columns  of Parquet, that are looked at; none: all. Numbers of records and lines count within the part, but for
        lines of what can't be read
        """
        if self._ending == ".parquet":
            yield from self._parquet((start, end) if end >= 0 else None, columns)
        elif end < 0:
            yield from self
        else:
            for found in self._lines_between(start, end):
                if isinstance(found, Unreadable):
                    before = line_at(self._path, start - 1) if start > 0 else 0
                    found = replace(found, line=found.line + before)
                yield found

    def _fault(self, fault: str) -> CtkdError:
        return self._error(f"{self._name} {fault}")

    def _check(self, what: str) -> None:
        head = read_head(self._path, what, self._error)
        if self._ending not in RECORD_FILES:
            raise self._fault(wrong_ending(self._ending, "use .jsonl or .parquet (or .ndjson, .json)"))
        if self._ending == ".parquet":
            return
        if not head.removeprefix(codecs.BOM_UTF8).strip():
            if len(head) < _HEAD:
                raise self._fault("is empty; it holds no examples and no texts.")
        elif said := binary(head):
            raise self._fault(said)

    def _begins_with(self, sign: str) -> bool:
        with packed.opened(self._path) as file:
            head = file.read(_HEAD)
        return head.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == sign.encode()

    # lines

    def _lines(self) -> Iterator[Record | Unreadable]:
        number = 0
        for line, text in enumerate(self._decoded_lines(), start=1):
            if isinstance(text, str) and not text.strip(BLANKS):
                continue
            number += 1
            if not isinstance(text, str):
                yield Unreadable(number, line, text.fault)
                continue
            found = self._value(text, number, line)
            broken = number == 1 and isinstance(found, Unreadable) and text.lstrip(BLANKS).startswith("{")
            if broken and self._is_spread():  # objects over several lines, or several in one
                yield from self._sequence()
                return
            yield found

    def _lines_between(self, start: int, end: int) -> Iterator[Record | Unreadable]:
        number = 0
        for line, text in enumerate(self._decoded_lines(start, end), start=1):
            if isinstance(text, str) and not text.strip(BLANKS):
                continue
            number += 1
            yield self._value(text, number, line) if isinstance(text, str) else Unreadable(number, line, text.fault)

    def _decoded_lines(self, start: int = 0, end: int | None = None) -> Iterator[str | _Broken]:
        """The lines as text, those that begin in a range; one that isn't UTF-8 or too long as what is wrong with it."""
        most = 4 * self._longest + 4  # bytes
        with packed.opened(self._path) as file:
            if start > 0:
                file.seek(start - 1)
                while (rest := file.readline(most)) and not rest.endswith(b"\n"):
                    pass
            while (end is None or file.tell() < end) and (line := file.readline(most)):
                cut = len(line) == most and not line.endswith(b"\n")
                while cut and (rest := file.readline(most)) and not rest.endswith(b"\n"):
                    pass
                try:
                    # A byte order mark stands in the middle, too, where files were put together.
                    text = "" if cut else line.decode("utf-8").lstrip("\ufeff")
                except UnicodeDecodeError as fault:
                    said = f"byte 0x{line[fault.start]:02x} ({fault.reason})"
                    yield _Broken(f"isn't UTF-8 text: {said}; save the file as UTF-8")
                    continue
                if cut or len(text.rstrip("\r\n")) > self._longest:
                    yield _Broken(f"is longer than {self._longest:,} characters; give one record a line")
                    continue
                yield text

    def _value(self, text: str, number: int, line: int) -> Record | Unreadable:
        try:
            value = self._decoder.read(text)
        except _Limit as fault:
            return Unreadable(number, line, str(fault))
        except json.JSONDecodeError as fault:
            said = f"isn't JSON: {fault.msg} at column {fault.colno}; give one JSON record a line"
            return Unreadable(number, line, said)
        return Record(number, line, value)

    # values over several lines

    @contextmanager
    def _streamed(self) -> Iterator[JsonText]:
        """The text of the file; what keeps it from being read becomes an error of ours."""
        with packed.opened(self._path) as file:
            try:
                yield JsonText(file, self._decoder, self._longest)
            except NotUtf8 as fault:
                raise self._fault(
                    f"isn't UTF-8 text near line {fault.line}: byte 0x{fault.byte:02x} ({fault.why}); save it as UTF-8."
                ) from None

    def _is_spread(self) -> bool:
        """Whether the first record is a JSON object that ends in a later line, or has another one behind it."""
        try:
            with self._streamed() as text:
                text.sign()
                first = text.line
                text.value()
                if text.line > first or text.sign() != "{":
                    return text.line > first
                text.value()  # a broken one is a fault of this line alone
                return True
        except (CtkdError, JsonFault, TooLong, RecursionError):
            return False

    def _sequence(self) -> Iterator[Record | Unreadable]:
        with self._streamed() as text:
            number = 0
            while text.sign():
                number += 1
                yield self._next(text, number)

    def _array(self) -> Iterator[Record | Unreadable]:
        with self._streamed() as text:
            text.sign()
            text.skip()
            number = 0
            while text.sign() != "]":
                number += 1
                yield self._next(text, number)
                if text.sign() == ",":
                    text.skip()
                elif text.sign() != "]":
                    raise self._fault(f"isn't JSON: its list breaks off or lacks a comma behind record {number}.")
            text.skip()
            if text.sign():
                raise self._fault(
                    f"goes on in line {text.line} behind its list of records; give one list, or one record a line."
                )

    def _next(self, text: JsonText, number: int) -> Record | Unreadable:
        """The record at the position of a text. Raises where its end can't be found."""
        line = text.line
        try:
            value = text.value()
        except JsonFault as fault:
            raise self._fault(
                f"isn't JSON in line {fault.line}, in record {number}: {fault.message} at column {fault.column}."
            ) from None
        except TooLong:
            raise self._fault(
                f"has a record of more than {self._longest:,} characters, or one without an end: {place(number, line)}."
            ) from None
        except RecursionError:
            raise self._error(f"{self._name}, line {line} {TOO_DEEP}.") from None
        try:
            self._decoder.check(value)
        except _Limit as fault:
            return Unreadable(number, line, str(fault))
        return Record(number, line, value)

    # Parquet

    def _parquet(self, groups: tuple[int, int] | None = None, columns: Collection[str] = ()) -> Iterator[Record]:
        number = 0
        for rows in self._batches(groups, columns):
            for row in rows:
                number += 1
                yield Record(number, None, {key: without_nulls(value) for key, value in row.items()})

    def _batches(
        self, groups: tuple[int, int] | None = None, columns: Collection[str] = ()
    ) -> Iterator[list[dict[str, Any]]]:
        with self._readable_parquet() as file:
            if twice := [name for name, count in Counter(file.schema_arrow.names).items() if count > 1]:
                raise self._fault(f"has the column {shorten(one_line(twice[0]), 40)!r} twice; keep one of them.")
            chosen = [name for name in file.schema_arrow.names if name in columns] or None
            maps = {column.name: column.type for column in file.schema_arrow if "map<" in str(column.type)}
            numbers = None if groups is None else list(range(*groups))
            for batch in file.iter_batches(batch_size=1024, row_groups=numbers, columns=chosen):
                rows = self._rows(batch)
                for row in rows if maps else ():
                    row |= {name: maps_as_tables(row[name], kind) for name, kind in maps.items() if name in row}
                yield rows

    def _rows(self, batch: Any) -> list[dict[str, Any]]:
        """The rows of a batch. Raises for values that Python has no place for: days after the year 9999, say."""
        try:
            return list(batch.to_pylist())
        except (ValueError, LookupError, OverflowError):
            for name, column in zip(batch.schema.names, batch.columns):
                try:
                    column.to_pylist()
                except (ValueError, LookupError, OverflowError) as fault:
                    said = shorten(one_line(str(fault)), 100).rstrip(".")
                    which = shorten(one_line(name), 40)
                    raise self._fault(
                        f"has values in column {which!r} that can't be read ({said}); mend it or leave it out."
                    ) from None
            raise

    @contextmanager
    def _readable_parquet(self) -> Iterator[Any]:
        """The open file; what the library says of a broken one becomes an error of ours."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self._path) as file:
                yield file
        except CtkdError:
            raise
        except (pa.ArrowException, OSError, ValueError, TypeError, LookupError, OverflowError, MemoryError) as fault:
            said = shorten(one_line((str(fault).strip().split("\n") or [""])[0]), 200)
            raise self._fault(f"isn't a readable Parquet file: {said.rstrip('.')}.") from None


TOO_DEEP = "is nested too deeply to read"


@dataclass(frozen=True)
class _Broken:
    """A line that is no text: the end of a sentence that says why."""

    fault: str


class _Limit(Exception):  # noqa: N818 - what is read has limits; no fault of this program
    """More than is read of one record."""


class _Decoder(json.JSONDecoder):
    """JSON without numbers and depths that Python itself stumbles over, and without records that say a thing twice."""

    def __init__(self) -> None:
        super().__init__(parse_int=self._whole_number, object_pairs_hook=self._table)
        self._digits = 0
        self._twice: str | None = None  # a key of the table that was read last: that of a record ends behind its parts

    def _table(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        several = Counter(key for key, _ in pairs) if len(table) < len(pairs) else {}
        self._twice = next((key for key, count in several.items() if count > 1), None)
        return table

    def _whole_number(self, text: str) -> int:
        if len(text) > MAX_DIGITS:
            self._digits = max(self._digits, len(text))
            return 0
        return int(text)

    def read(self, text: str) -> Any:
        """The one value in a text. Raises JSONDecodeError and _Limit."""
        self._digits = 0
        try:
            value = self.decode(text)
        except RecursionError:
            self._digits = 0
            raise _Limit(TOO_DEEP) from None
        self.check(value)
        return value

    def check(self, value: Any) -> None:
        """Raise _Limit where what was read last holds too long a number, is too deep, or has a key twice."""
        digits, self._digits = self._digits, 0
        twice, self._twice = self._twice, None
        if twice is not None and isinstance(value, dict):
            raise _Limit(f"has the key {shorten(one_line(twice), 40)!r} twice; keep one of them")
        if digits:
            raise _Limit(f"has a number of {digits:,} digits, which is too long to read")
        if deeper_than(value, MAX_DEPTH):
            raise _Limit(TOO_DEEP)


def deeper_than(value: Any, most: int) -> bool:
    """Whether lists and tables lie more than `most` deep in one another. Never recurses, so any depth will do."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(most + 1):
        inside = (inner for one in level for inner in (one.values() if isinstance(one, dict) else one))
        # By identity: what a YAML file repeats by a name is one object, however often it stands there.
        level = list({id(inner): inner for inner in inside if isinstance(inner, (dict, list))}.values())
        if not level:
            return False
    return True


def maps_as_tables(value: Any, kind: Any) -> Any:
    """A value of an Arrow type, with what that calls maps, lists of pairs in Python, as tables where keys are texts.

    Of a key that stands twice the last one counts, as in JSON.
    """
    import pyarrow as pa

    if value is None or not pa.types.is_nested(kind):
        return value
    if pa.types.is_map(kind):
        pairs = [(key, maps_as_tables(inner, kind.item_type)) for key, inner in value]
        return dict(pairs) if all(isinstance(key, str) for key, _ in pairs) else pairs
    if pa.types.is_struct(kind):
        return {field.name: maps_as_tables(value[field.name], field.type) for field in kind}
    if not isinstance(value, list):
        return value
    return [maps_as_tables(inner, kind.value_type) for inner in value]


def without_nulls(value: Any) -> Any:
    """Nested tables without the entries that are null."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


def line_at(path: Path, place: int) -> int:
    """The line that holds the byte at a place, from 1. Raises OSError."""
    line, left = 1, place
    with packed.opened(path) as file:
        while left > 0 and (data := file.read(min(left, 1 << 20))):
            line += data.count(b"\n")
            left -= len(data)
    return line


def shown_name(path: Path) -> str:
    """A file's name for messages: on one line, not too long."""
    return shorten(one_line(path.name), 80)
