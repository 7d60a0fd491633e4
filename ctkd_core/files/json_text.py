"""JSON values of one file, one after another, of which only a stretch is held in memory.

The library's decoder reads whole texts only. What is cut off looks to it like a fault at the end of the text, so where
it stumbles there, more is read and the value tried again from its start: each time at least twice as much, which makes
the work grow with the text and not with its square.
"""

from __future__ import annotations

import codecs
import json
from typing import Any, BinaryIO

CHUNK = 1 << 20  # bytes that are read at once, at least
BLANKS = " \t\r\n"
_BETWEEN = BLANKS + "\ufeff"  # what may stand between values; the mark where files were put together
_AHEAD = 16  # characters at the end of a text that may mean something else when it goes on: "-Infinit", "\\u12", "1e+"
_OPEN = "Unterminated string"  # what the decoder says of a text without its end; its place is where the text begins


class JsonFault(Exception):  # noqa: N818 - whoever reads the file makes an error of it
    """The text is no JSON: what the decoder says, in which line (from 1) and column (from 1)."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.message, self.line, self.column = message, line, column


class NotUtf8(Exception):  # noqa: N818
    """The file isn't UTF-8: the line (from 1), the byte that doesn't fit, and why not."""

    def __init__(self, line: int, byte: int, why: str) -> None:
        super().__init__(why)
        self.line, self.byte, self.why = line, byte, why


class TooLong(Exception):  # noqa: N818
    """A value has more characters than are read of one, or no end; the line (from 1) in which it begins."""

    def __init__(self, line: int) -> None:
        super().__init__(f"the value that begins in line {line} is too long")
        self.line = line


class JsonText:
    """A file of UTF-8, a byte order mark before it or none; a position in it moves on from value to value.

    decoder  whose `raw_decode` reads values
    longest  characters of one value

    At most about twice `longest` characters are held, and CHUNK. All methods raise NotUtf8 and OSError.
    """

    def __init__(self, file: BinaryIO, decoder: json.JSONDecoder, longest: int) -> None:
        self._file, self._decoder, self._longest = file, decoder, longest
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")()
        self._text, self._at = "", 0
        self._ended = False
        # Of the first character that is held: its line, and how many characters stand before it in that line.
        self._line, self._column = 1, 0
        self._counted = (0, 1)  # a place in what is held, and its line

    @property
    def line(self) -> int:
        """The line of the position, from 1."""
        before, line = self._counted
        self._counted = (self._at, line + self._text.count("\n", before, self._at))
        return self._counted[1]

    def sign(self) -> str:
        """The next character that is no blank, which the position then stands before; "" at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _BETWEEN:
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                return ""

    def skip(self) -> None:
        """Go over the character that `sign` gave."""
        self._at += 1

    def value(self) -> Any:
        """The value that begins at the position, which then stands behind it.

        Raises JsonFault, TooLong, and RecursionError for what is nested too deeply.
        """
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as fault:
                if fault.msg.startswith(_OPEN) or fault.pos > len(self._text) - _AHEAD:
                    self._check_length(len(self._text))
                    if self._more():
                        continue
                line, column = fault.lineno, fault.colno
                raise JsonFault(fault.msg, self._line + line - 1, column + (self._column if line == 1 else 0)) from None
            if end > len(self._text) - _AHEAD and self._more():  # a number may go on; anything else is read twice
                continue
            self._check_length(end)
            self._at = end
            return value

    def _check_length(self, end: int) -> None:
        """Raise TooLong for a value that goes to `end`, or beyond."""
        if end - self._at > self._longest:
            raise TooLong(self.line)

    def _more(self) -> bool:
        """Read on and let go of what lies before the position; False at the end of the file."""
        if self._ended:
            return False
        self._counted = (0, self.line)
        newline = self._text.rfind("\n", 0, self._at)
        self._column = self._at - newline - 1 if newline >= 0 else self._column + self._at
        self._line = self._counted[1]
        rest = self._text[self._at :]
        data = self._file.read(max(CHUNK, len(rest)))
        try:
            text = self._utf8.decode(data, final=not data)
        except UnicodeDecodeError as fault:
            line = self._line + rest.count("\n") + fault.object.count(b"\n", 0, fault.start)
            raise NotUtf8(line, fault.object[fault.start], fault.reason) from None
        self._ended = not data
        self._text, self._at = rest + text, 0
        return True
