"""Reading a corpus: text files by paragraph, JSONL by record, one text at a time and never the whole file."""

from __future__ import annotations

import codecs
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from ctkd_core.errors import CtkdError

TEXT_FILES = (".txt", ".md")
RECORD_FILES = (".jsonl", ".ndjson")
MAX_PARAGRAPH = 100_000  # characters; a longer one (a file without line breaks, say) is cut here
MAX_RECORD = 16_000_000  # characters of one JSONL line
_HEAD = 8192  # bytes looked at to tell text from binary data


@dataclass(frozen=True)
class Skipped:
    """Something in a corpus that is no text to measure, and why."""

    reason: str


def read_texts(source: str | Path) -> Iterator[str | Skipped]:
    """The texts of a file: paragraphs (between blank lines) of .txt and .md, one text a record of .jsonl.

    A record has `text`, `prompt` and `completion`, or chat `messages`; one without is a Skipped. The file is checked
    now and read while the texts are used. Raises CtkdError, now or on the way, for a file that isn't there, is empty,
    isn't UTF-8 text, holds a line that isn't JSON, or nothing to measure at all.
    """
    path = Path(source).expanduser()
    _check(path)
    return _texts(path)


def _check(path: Path) -> None:
    if path.is_dir():
        raise CtkdError(f"corpus {path.name!r} is a folder; name its files one by one.")
    if path.suffix.lower() not in TEXT_FILES + RECORD_FILES:
        known = ", ".join(TEXT_FILES + RECORD_FILES)
        raise CtkdError(f"corpus {path.name!r} ends in {path.suffix or 'nothing'!r}; give a file that ends in {known}.")
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except FileNotFoundError:
        raise CtkdError(f"no corpus file {str(path)!r}; check the path.") from None
    except OSError as fault:
        raise CtkdError(f"can't read corpus {path.name!r}: {fault.strerror}.") from None
    if not head:
        raise CtkdError(f"corpus {path.name!r} is empty; there is nothing to measure.")
    if b"\0" in head:
        raise CtkdError(f"corpus {path.name!r} is binary or UTF-16, not UTF-8 text; convert it first.")


def _texts(path: Path) -> Iterator[str | Skipped]:
    found, skipped = False, Counter[str]()
    try:
        with path.open(encoding="utf-8-sig") as file:
            read = _records if path.suffix.lower() in RECORD_FILES else _paragraphs
            for text in read(file):
                if isinstance(text, Skipped):
                    skipped[text.reason] += 1
                elif text.strip():
                    found = True
                yield text
    except UnicodeDecodeError as fault:
        byte = fault.object[fault.start]
        raise CtkdError(
            f"corpus {path.name!r} isn't UTF-8 text in line {_broken_line(path)}: byte 0x{byte:02x} ({fault.reason}); "
            "convert it first, for example with iconv."
        ) from None
    except OSError as fault:
        raise CtkdError(f"can't read corpus {path.name!r}: {fault.strerror}.") from None
    if not found:
        why = ", ".join(f"{reason}: {count}" for reason, count in skipped.items()) or "only blank lines"
        raise CtkdError(f"corpus {path.name!r} holds no text to measure ({why}).")


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


def _paragraphs(file: TextIO) -> Iterator[str]:
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


def _records(file: TextIO) -> Iterator[str | Skipped]:
    name, number = Path(file.name).name, 0
    while line := file.readline(MAX_RECORD + 1):
        number += 1
        if len(line) > MAX_RECORD:
            raise CtkdError(
                f"corpus {name!r}, line {number} is longer than {MAX_RECORD:,} characters; give one record a line."
            )
        if line.strip():
            try:
                yield _text_of(json.loads(line))
            except json.JSONDecodeError as fault:
                raise CtkdError(
                    f"corpus {name!r}, line {number} isn't JSON: {fault.msg} at column {fault.colno}; "
                    "a .jsonl file has one JSON record a line."
                ) from None
            except ValueError:
                raise CtkdError(f"corpus {name!r}, line {number} has a number of thousands of digits.") from None
            except RecursionError:
                raise CtkdError(f"corpus {name!r}, line {number} is nested too deeply to read.") from None


def _text_of(record: Any) -> str | Skipped:
    """What a record says: its text, prompt and completion together, or the contents of its messages, one a line."""
    if not isinstance(record, Mapping):
        return Skipped("not a record with text, prompt/completion or messages")
    match record:
        case {"messages": [*messages]}:
            contents = [m.get("content") if isinstance(m, Mapping) else None for m in messages]
            if all(isinstance(content, str) for content in contents):
                return "\n".join(str(content) for content in contents)
            return Skipped("messages without content")
        case {"prompt": str(prompt), "completion": str(completion)}:
            return f"{prompt}\n{completion}"
        case {"text": str(text)}:
            return text
    return Skipped("no text, prompt/completion or messages in the record")
