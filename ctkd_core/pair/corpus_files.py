"""Reading a corpus: text files by paragraph, files of records by record (`files.data_files`), one text at a time."""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from ctkd_core.errors import CtkdError
from ctkd_core.files.data_files import BINARY, MAX_RECORD, RECORD_FILES, RecordFile, Unreadable, read_head, shown_name
from ctkd_core.files.data_shapes import Misfit, shape_of, text_of

TEXT_FILES = (".txt", ".md")
MAX_PARAGRAPH = 100_000  # characters; a longer one (a file without line breaks, say) is cut here


@dataclass(frozen=True)
class Skipped:
    """Something in a corpus that is no text to measure, and why."""

    reason: str


def read_texts(source: str | Path) -> Iterator[str | Skipped]:
    """The texts of a file: paragraphs (between blank lines) of .txt and .md, one text a record of RECORD_FILES.

    A record has `text`, `prompt` and `completion`, or chat `messages`; one without is a Skipped. The file is checked
    now and read while the texts are used. Raises CtkdError, now or on the way, for a file that isn't there, is empty,
    isn't UTF-8 text, holds a line that isn't JSON, or nothing to measure at all.
    """
    path = Path(source).expanduser()
    if path.suffix.lower() in RECORD_FILES and not path.is_dir():
        return _texts(path, _records(path, RecordFile(path, "corpus", CtkdError, MAX_RECORD)))
    _check(path)
    return _texts(path, _paragraphs(path))


def _check(path: Path) -> None:
    name = shown_name(path)
    if path.suffix.lower() not in TEXT_FILES and not path.is_dir():
        known = ", ".join(TEXT_FILES + RECORD_FILES)
        raise CtkdError(f"corpus {name!r} ends in {path.suffix or 'nothing'!r}; give a file that ends in {known}.")
    head = read_head(path, "corpus", CtkdError)
    if not head:
        raise CtkdError(f"corpus {name!r} is empty; there is nothing to measure.")
    if b"\0" in head:
        raise CtkdError(f"corpus {name!r} {BINARY}")


def _texts(path: Path, read: Iterator[str | Skipped]) -> Iterator[str | Skipped]:
    """The texts; raises CtkdError at the end when there was none."""
    found, skipped = False, Counter[str]()
    for text in read:
        if isinstance(text, Skipped):
            skipped[text.reason] += 1
        elif text.strip():
            found = True
        yield text
    if not found:
        why = ", ".join(f"{reason}: {count}" for reason, count in skipped.items()) or "only blank lines"
        raise CtkdError(f"corpus {shown_name(path)!r} holds no text to measure ({why}).")


def _records(path: Path, file: RecordFile) -> Iterator[str | Skipped]:
    for record in file:
        if isinstance(record, Unreadable):
            raise CtkdError(f"corpus {shown_name(path)!r}, {record.place} {record.fault}.")
        try:
            yield text_of(shape_of(record.value))
        except Misfit as fault:
            yield Skipped(fault.reason)


def _paragraphs(path: Path) -> Iterator[str]:
    name = shown_name(path)
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from _of_lines(file)
    except UnicodeDecodeError as fault:
        byte = fault.object[fault.start]
        raise CtkdError(
            f"corpus {name!r} isn't UTF-8 text in line {_broken_line(path)}: byte 0x{byte:02x} ({fault.reason}); "
            "convert it first, for example with iconv."
        ) from None
    except OSError as fault:
        raise CtkdError(f"can't read corpus {name!r}: {fault.strerror}.") from None


def _broken_line(path: Path) -> int:
    """Number of the first line that isn't UTF-8 (reading ahead, the text layer doesn't know)."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    number = 1
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as fault:
                return number + fault.object[: fault.start].count(b"\n")
            number += chunk.count(b"\n")
    return number


def _of_lines(file: TextIO) -> Iterator[str]:
    lines: list[str] = []
    size = 0
    while line := file.readline(MAX_PARAGRAPH):
        if line.strip():
            lines.append(line)
            size += len(line)
        if lines and (not line.strip() or size >= MAX_PARAGRAPH):
            yield "".join(lines).rstrip("\n")
            lines, size = [], 0
    if lines:
        yield "".join(lines).rstrip("\n")
