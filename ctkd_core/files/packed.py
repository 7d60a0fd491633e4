"""Files that gzip packed, read as if they were unpacked: their bytes, and the ending that says what they hold.

Unpacked on the way, nothing is written. A few bytes may unpack to any number, so how many come out is bounded.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO

PACKED = ".gz"
MOST_UNPACKED = 2_000_000_000  # bytes; what a run may read as a plain file, too
_BUFFER = 1 << 20  # bytes; the steps back of whoever reads lie inside of it, which else would unpack anew


def ending(path: Path, packable: Collection[str]) -> str:
    """The ending that says what a file holds, in small letters: ".jsonl" of "a.jsonl.gz", too, if that is packable."""
    outer, inner = path.suffix.lower(), Path(path.stem).suffix.lower()
    return inner if outer == PACKED and inner in packable else outer


def is_packed(path: Path) -> bool:
    """Whether a file is read through gzip, by its name."""
    return path.suffix.lower() == PACKED


def opened(path: Path) -> BinaryIO:
    """The file for reading, unpacked where its name ends in .gz. Raises OSError, then while it is read."""
    return io.BufferedReader(_Unpacking(gzip.open(path)), _BUFFER) if is_packed(path) else path.open("rb")


def size(path: Path, most: int) -> int:
    """Bytes that a file unpacks to; more than `most` where that is so, or where it can't be read to its end."""
    try:
        with opened(path) as file:
            return len(file.read(most + 1))
    except OSError:
        return most + 1


class _Unpacking(io.RawIOBase):
    """The bytes that a file of gzip unpacks to. Raises OSError that says what is wrong, also for too many of them."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            data = self._file.read1(len(buffer))
        except EOFError:
            raise OSError("its gzip data breaks off; copy or pack it again") from None
        except (zlib.error, gzip.BadGzipFile) as fault:
            begun = isinstance(fault, zlib.error) or self._file.tell() > 0  # its header was one of gzip
            said = "its gzip data is damaged" if begun else "it isn't gzip data, as its ending .gz says"
            raise OSError(f"{said} ({str(fault)[:100]}); copy or pack it again") from None
        if self._file.tell() > MOST_UNPACKED:
            raise OSError(f"it unpacks to more than {MOST_UNPACKED / 1e9:.0f} GB; unpack it first, or divide it")
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def close(self) -> None:
        self._file.close()
        super().close()
