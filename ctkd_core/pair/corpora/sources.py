"""Where a corpus lies: text files, files of records, folders of both; and the pieces they are read in.

A piece is a range of bytes of lines, some row groups of Parquet, or several small files. Which pieces there are depends
on the files alone, so any number of processes, in any order, with pauses, counts the same ones.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ctkd_core.errors import CtkdError
from ctkd_core.files import expanded, packed
from ctkd_core.files.data_files import (
    JSON_FILES,
    MAX_RECORD,
    RECORD_FILES,
    RecordFile,
    Unreadable,
    binary,
    line_at,
    read_head,
    shown_name,
    wrong_ending,
)
from ctkd_core.files.data_shapes import FIELDS, Misfit, shape_of, text_of
from ctkd_core.pair.corpora.counting import CorpusDocument, Skipped, value_of

TEXT_FILES = (".txt", ".md")
ENDINGS = TEXT_FILES + RECORD_FILES  # all but Parquet with .gz, too
MAX_PARAGRAPH = 100_000  # characters; a longer one (a file without line breaks, say) is cut here
LEAST_PIECE, MOST_PIECE = 1_000_000, 8_000_000  # bytes; what a second or some seconds are needed for
PIECES_A_FILE = 64  # about, between these bounds
WINDOW = 400_000  # bytes of a text file behind a border in which a blank line is looked for; less than a piece has

# Bytes of UTF-8 that go on with a character, and how many one has at most.
_CONTINUING, _MOST_CONTINUING = bytes(range(0x80, 0xC0)), 3
BY_CONTENT = -1  # for the time of a file that lies under a name made of its content


@dataclass(frozen=True)
class FileRange:
    """A range of one file: of bytes, or of row groups of Parquet (`rows`); end -1: to its end.

    size, changed, inode, altered  of the file when the piece was planned: bytes, nanoseconds since the epoch, its
        number on the disk, nanoseconds of the change of its entry there; the last two tell a file apart that was
        replaced by one of the same size and time. With changed BY_CONTENT only the size counts
    """

    path: str
    start: int
    end: int
    size: int
    changed: int
    rows: bool = False
    inode: int = 0
    altered: int = 0

    def is_of(self, stat: os.stat_result) -> bool:
        """Whether a file is still as it was when the piece was planned."""
        return (self.size, self.changed, self.inode, self.altered) == _state(stat, self.changed == BY_CONTENT)


@dataclass(frozen=True)
class Piece:
    """What is counted at once; `weight` is its share of the work, in bytes of files."""

    parts: tuple[FileRange, ...]
    weight: int

    @property
    def key(self) -> str:
        """Names the piece by where it lies, and the state of its files."""
        return hashlib.sha256(json.dumps([asdict(part) for part in self.parts]).encode()).hexdigest()[:32]

    def documents(self, by: Sequence[str] = ()) -> Iterator[CorpusDocument]:
        """The texts, with the values of some fields. Raises CtkdError, also where a file changed since."""
        for part in self.parts:
            yield from _documents(part, tuple(by))

    def beginning(self, most: int) -> Piece | None:
        """A piece of about `most` bytes of this one: some of its files, else the first lines of its file.

        The piece itself where it isn't larger; None where its file is read as a whole, or by row groups.
        """
        if self.weight <= most:
            return self
        first = self.parts[0]
        if len(self.parts) > 1:
            return Piece((first,), max(1, first.size)).beginning(most)
        if first.rows or not _has_lines(Path(first.path)):
            return None
        return Piece((replace(first, end=first.start + most),), most)


class Corpus:
    """The texts of one file or folder: what `read_texts` gives. Iterating reads them one by one.

    Raises CtkdError at once for a file that isn't there, is empty, isn't UTF-8 text or of another kind, and for a
    folder without a file to read; while reading, for a line that isn't JSON, and at the end where there was no text.

    by_content  whether its place is named by its content, so that a file there is the same one whenever it was written
    """

    def __init__(self, source: str | Path, by_content: bool = False) -> None:
        self.path = expanded(source)
        self.by_content = by_content
        self.files = _files(self.path)
        for file in self.files:
            _check(file)

    def __iter__(self) -> Iterator[str | Skipped]:
        found, skipped = False, dict[str, int]()
        for piece in self.pieces():
            for text, _ in piece.documents():
                if isinstance(text, Skipped):
                    skipped[text.reason] = skipped.get(text.reason, 0) + 1
                elif text.strip():
                    found = True
                yield text
        if not found:
            raise self.without_text(skipped)

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(file.stat().st_size for file in self.files)

    def unpacked(self, most: int) -> int:
        """Bytes that its files hold; of a packed one that has more than `most`, as many and one are counted."""
        return sum(packed.size(file, most) if packed.is_packed(file) else file.stat().st_size for file in self.files)

    def pieces(self) -> list[Piece]:
        """All of it, in order. Small files are put together, large ones divided."""
        found: list[Piece] = []
        together: list[FileRange] = []
        for file in self.files:
            parts = _parts(file, self.by_content)
            small = len(parts) == 1 and parts[0].size < LEAST_PIECE
            together += parts if small else []
            weight = sum(part.size for part in together)
            if together and (not small or weight >= LEAST_PIECE):
                found.append(Piece(tuple(together), weight))
                together = []
            if not small:
                found += [Piece((part,), _weight(part, len(parts))) for part in parts]
        if together:
            found.append(Piece(tuple(together), sum(part.size for part in together)))
        return found

    def without_text(self, skipped: dict[str, int]) -> CtkdError:
        """What to raise where no text was found."""
        why = ", ".join(f"{reason}: {count}" for reason, count in skipped.items()) or "only blank lines"
        return CtkdError(f"corpus {shown_name(self.path)!r} holds no text to measure ({why}).")


def read_texts(source: str | Path, by_content: bool = False) -> Corpus:
    """The texts of a file or folder: paragraphs (between blank lines) of .txt and .md, one text a record of others.

    A record has `text`, `prompt` and `completion`, or chat `messages`; one without is a Skipped. Of a folder all files
    with such an ending are read, those in folders below it too, in the order of their names. `by_content` as in Corpus.
    """
    return Corpus(source, by_content)


def _files(path: Path) -> list[Path]:
    try:
        if not path.is_dir():
            return [path]
        found = sorted(
            file
            for file in path.rglob("*")
            if _ending(file) in ENDINGS
            and not any(name.startswith(".") for name in file.relative_to(path).parts)
            and file.is_file()
        )
    except (OSError, ValueError) as fault:
        said = getattr(fault, "strerror", None) or fault
        raise CtkdError(f"corpus {shown_name(path)!r} can't be read: {said}.") from None
    if not found:
        raise CtkdError(f"corpus {shown_name(path)!r} is a folder without a file that ends in {', '.join(ENDINGS)}.")
    return found


def _ending(path: Path) -> str:
    return packed.ending(path, TEXT_FILES + JSON_FILES)


def _check(path: Path) -> None:
    if _ending(path) in RECORD_FILES:
        _record_file(path)
        return
    name = shown_name(path)
    if _ending(path) not in TEXT_FILES:
        advice = f"give a file that ends in {', '.join(ENDINGS)}"
        raise CtkdError(f"corpus {name!r} {wrong_ending(path.suffix, advice)}")
    head = read_head(path, "corpus", CtkdError)
    if not head:
        raise CtkdError(f"corpus {name!r} is empty; there is nothing to measure.")
    if said := binary(head):
        raise CtkdError(f"corpus {name!r} {said}")


def _record_file(path: Path) -> RecordFile:
    return RecordFile(path, "corpus", CtkdError, MAX_RECORD)


def _state(stat: os.stat_result, by_content: bool) -> tuple[int, int, int, int]:
    """Of a file: size, changed, inode, altered, as a part has them."""
    if by_content:
        return stat.st_size, BY_CONTENT, 0, 0
    return stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_ctime_ns


def _parts(path: Path, by_content: bool) -> list[FileRange]:
    try:
        stat = path.stat()
    except OSError as fault:
        raise CtkdError(f"can't read corpus {shown_name(path)!r}: {fault.strerror}.") from None
    size, changed, inode, altered = _state(stat, by_content)
    whole = FileRange(str(path.absolute()), 0, -1, size, changed, False, inode, altered)
    most = min(max(stat.st_size // PIECES_A_FILE, LEAST_PIECE), MOST_PIECE)
    rows = _ending(path) == ".parquet"
    if rows:
        ranges = _record_file(path).row_groups(most)
    elif stat.st_size <= most or not _has_lines(path):
        return [whole]
    else:
        ranges = [(at, min(at + most, stat.st_size)) for at in range(0, stat.st_size, most)]
    return [replace(whole, start=start, end=end, rows=rows) for start, end in ranges]


def _has_lines(path: Path) -> bool:
    """Whether a file that isn't Parquet may be read from the middle."""
    if _ending(path) in TEXT_FILES:
        return not packed.is_packed(path)
    return _record_file(path).has_lines


def _weight(part: FileRange, of: int) -> int:
    return part.size // of if part.rows or part.end < 0 else part.end - part.start


def _documents(part: FileRange, by: tuple[str, ...]) -> Iterator[CorpusDocument]:
    path = Path(part.path)
    try:
        # Held open, so that its number can't go to another file meanwhile.
        with path.open("rb") as file:
            _unchanged(path, part, os.fstat(file.fileno()))
            if _ending(path) in RECORD_FILES:
                yield from _records(path, part, by)
            else:
                values = (value_of(None),) * len(by)
                for text in paragraphs(path, part.start, part.end):
                    yield CorpusDocument(text, values)
            _unchanged(path, part, path.stat())
    except OSError as fault:
        raise CtkdError(f"can't read corpus {shown_name(path)!r}: {fault.strerror or fault}.") from None


def _unchanged(path: Path, part: FileRange, stat: os.stat_result) -> None:
    if not part.is_of(stat):
        raise CtkdError(f"corpus {shown_name(path)!r} has changed while it was measured; measure it again.")


def _records(path: Path, part: FileRange, by: tuple[str, ...]) -> Iterator[CorpusDocument]:
    file = _record_file(path)
    for record in file.part(part.start, part.end, columns=(*FIELDS, *by)):
        if isinstance(record, Unreadable):
            raise CtkdError(f"corpus {shown_name(path)!r}, {record.place} {record.fault}.")
        values = tuple(_value(record.value, name) for name in by)
        try:
            yield CorpusDocument(text_of(shape_of(record.value)), values)
        except Misfit as fault:
            yield CorpusDocument(Skipped(fault.reason), values)


def _value(record: Any, name: str) -> str:
    return value_of(record.get(name) if isinstance(record, dict) else None)


def paragraphs(path: Path, start: int = 0, end: int = -1) -> Iterator[str]:
    """The paragraphs of a text file behind a range of bytes; end -1: to the end of the file.

    At a border, the first line that begins there or behind it decides: what stands before the next blank line still
    belongs to the range before; where no blank line comes within WINDOW bytes, the paragraph is cut and a new one
    begins. So ranges that follow each other have every line once. Raises CtkdError for what isn't UTF-8, and OSError.
    """
    with packed.opened(path) as file:
        lines = _Lines(file, path)
        if start == 0:
            lines.skip_mark()
        else:
            lines.seek_line(start)
            if 0 <= end <= lines.at:
                return
            ahead, blank = lines.to_blank()
            if blank is None:
                lines.push(ahead)
            elif 0 <= end <= blank:  # all of this range is the rest of the one before; the next one finds the same line
                return
        kept: list[str] = []
        size = 0
        while True:
            line = lines.take()
            if line.begins and line.at >= end >= 0:  # this line is the next range's, if it isn't the rest of ours
                lines.push([line])
                ahead, blank = lines.to_blank()
                yield from _cut([*kept, *(one.text for one in ahead if blank is not None)])
                return
            if line.text.strip():
                kept.append(line.text)
                size += len(line.text)
            if kept and (not line.text.strip() or size >= MAX_PARAGRAPH):
                yield "".join(kept).rstrip("\n")
                kept, size = [], 0
            if not line.text:
                return


def _cut(lines: list[str]) -> Iterator[str]:
    """Lines as one paragraph, or several where it is too long."""
    kept: list[str] = []
    size = 0
    for line in lines:
        kept.append(line)
        size += len(line)
        if size >= MAX_PARAGRAPH:
            yield "".join(kept).rstrip("\n")
            kept, size = [], 0
    if kept:
        yield "".join(kept).rstrip("\n")


class _Line(NamedTuple):
    """A line, or as much of one as makes a paragraph; where it lies, and whether a line begins there."""

    at: int
    text: str
    begins: bool


class _Lines:
    """Lines of a file with their places; "" at its end, again and again. Lines can be put back."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path = file, path
        self._back: list[_Line] = []
        self._begins = True

    @property
    def at(self) -> int:
        """Where the next line begins."""
        return self._back[-1].at if self._back else self._file.tell()

    def skip_mark(self) -> None:
        """Leave out a byte order mark."""
        if self._file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            self._file.seek(0)

    def seek_line(self, place: int) -> None:
        """Go to the first line that begins at a place or behind it."""
        self._file.seek(place - 1)
        while (rest := self._file.readline(MAX_PARAGRAPH)) and not rest.endswith(b"\n"):
            pass

    def push(self, lines: list[_Line]) -> None:
        """Put lines back."""
        self._back += reversed(lines)

    def to_blank(self) -> tuple[list[_Line], int | None]:
        """The lines before the next blank one, which is left out, and where it begins; None: none in WINDOW bytes."""
        first = begins = self.at
        found: list[_Line] = []
        while True:
            line = self.take()
            if line.at - first >= WINDOW:
                return [*found, line], None
            if line.begins:
                begins = line.at
            if not line.text.strip():
                return found, begins
            found.append(line)

    def take(self) -> _Line:
        """The next line. Raises CtkdError for what isn't UTF-8."""
        if self._back:
            return self._back.pop()
        at, begins = self._file.tell(), self._begins
        data = self._file.readline(MAX_PARAGRAPH)
        self._begins = data.endswith(b"\n")
        if not self._begins and len(data) == MAX_PARAGRAPH:  # cut somewhere: not inside of a character
            data = self._whole_character(data)
        try:
            return _Line(at, data.decode("utf-8").replace("\r\n", "\n"), begins)
        except UnicodeDecodeError as fault:
            line = line_at(self._path, at + fault.start)
            raise CtkdError(
                f"corpus {shown_name(self._path)!r} isn't UTF-8 text in line {line}: byte 0x{data[fault.start]:02x} "
                f"({fault.reason}); convert it first, for example with iconv."
            ) from None

    def _whole_character(self, data: bytes) -> bytes:
        ahead = self._file.read(_MOST_CONTINUING)
        more = len(ahead) - len(ahead.lstrip(_CONTINUING))
        self._file.seek(more - len(ahead), 1)
        return data + ahead[:more]
