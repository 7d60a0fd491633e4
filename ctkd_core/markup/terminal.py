"""Text that a terminal only shows: nothing in it moves the cursor, colours, renames the window or rings the bell.

Names of files and runs, tokens, and what libraries say of them come from strangers. `safe` makes one text harmless;
`guarded` stands before a stream, so that warnings, log lines and tracebacks of libraries pass through `safe` as well.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any, TextIO

from ctkd_core.markup.visible import GLYPHS


def safe(text: str, lines: bool = False) -> str:
    """`text` without anything that a terminal would obey; line breaks stay where `lines` is true."""
    shown = "".join(
        c if c.isprintable() or (lines and c == "\n") else GLYPHS.get(c) or f"<U+{ord(c):04X}>" for c in text
    )
    return f"◌{shown}" if text and unicodedata.combining(text[0]) else shown


class SafeStream:
    """A text stream whose writes are made safe; everything else is the stream's own.

    A carriage return stays where it begins or ends what is written: bars of progress are drawn so.
    """

    def __init__(self, stream: TextIO) -> None:
        self.raw = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)

    def write(self, text: str) -> int:
        """Write `text`, made safe; the number of characters given."""
        inner = text.strip("\r\n")
        start = text.find(inner) if inner else len(text)
        head, tail = text[:start], text[start + len(inner) :]
        shown = inner if inner.isprintable() else "".join(c if c == "\t" else safe(c, lines=True) for c in inner)
        encoding = getattr(self.raw, "encoding", None) or "utf-8"
        self.raw.write(head + shown.encode(encoding, errors="backslashreplace").decode(encoding) + tail)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """`write` for each."""
        for line in lines:
            self.write(line)


def guarded(stream: TextIO) -> TextIO:
    """The stream with `SafeStream` before it; itself where it has one already."""
    return stream if isinstance(stream, SafeStream) else SafeStream(stream)  # type: ignore[return-value]


def unguarded(stream: TextIO) -> TextIO:
    """The stream itself, for what lays out and colours text that is safe already."""
    return stream.raw if isinstance(stream, SafeStream) else stream


@contextlib.contextmanager
def guarded_stderr() -> Iterator[None]:
    """Inside, whatever is written on standard error is made safe."""
    before = sys.stderr
    sys.stderr = guarded(before)
    try:
        yield
    finally:
        sys.stderr = before


def guard_process() -> None:
    """Make all output of this process safe, that of handlers of log lines included: for a server, which has no end."""
    sys.stdout, sys.stderr = guarded(sys.stdout), guarded(sys.stderr)
    known = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]
    for logger in (logging.root, *known):
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
                with contextlib.suppress(AttributeError):  # one that can't be set looks up sys.stderr each time
                    handler.setStream(guarded(handler.stream))
