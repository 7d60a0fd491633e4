"""One family of errors. Every message says what was wrong, with the values, and what to do next."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable
from pathlib import PurePath

LONGEST = 120  # characters of a value in a message
LONGEST_MESSAGE = 2_000
_SHORT = reprlib.Repr()  # a short document whose aliases multiply may stand for gigabytes
_SHORT.maxlevel = 3
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxset = _SHORT.maxfrozenset = _SHORT.maxdict = 12
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 620


class CtkdError(ValueError):
    """Base of every error that a user can cause and mend. Its text is cut where it quotes something endless."""

    def __str__(self) -> str:
        return cut(super().__str__(), LONGEST_MESSAGE)


class TokenizerError(CtkdError):
    """A tokenizer that can't be found, read or trusted."""


class TerminatedError(TokenizerError):
    """A child process that read a tokenizer's file for us was told to end (SIGTERM, SIGINT), not by us."""


class AlignmentError(CtkdError):
    """Input that no alignment is defined for."""


class ProjectionError(CtkdError):
    """A vocabulary map that can't be built, read or applied."""


class LossInputError(CtkdError):
    """Tensors or batches that a loss refuses (shape, dtype, missing part)."""


class RunError(CtkdError):
    """A run that can't be configured, started, found or continued."""


class PreflightError(RunError):
    """A run that was refused before it started; the command line exits with 3."""


def short(value: object, most: int = LONGEST) -> str:
    """A value for a message: its `repr` (a path's text in quotes), about `most` characters, the middle left out."""
    if isinstance(value, int) and value.bit_length() > 2000:
        return f"a number of about {int(value.bit_length() * 0.30103) + 1:,} digits"
    if isinstance(value, str | bytes | PurePath):
        return cut(repr(str(value) if isinstance(value, PurePath) else value), most)
    try:
        return cut(_SHORT.repr(value), most)
    except Exception:  # a list inside itself, say
        return f"a {type(value).__name__}"


def cut(text: str, most: int) -> str:
    """`text`, or its beginning and end with what was left out counted."""
    if len(text) <= most:
        return text
    head = most * 2 // 3
    return f"{text[:head]} … ({len(text) - most:,} characters) … {text[head - most :]}"


def unknown(what: str, name: object, known: Iterable[str], error: type[CtkdError] = CtkdError) -> CtkdError:
    """The error for a name that isn't in a table, with the nearest ones.

    Returns the error (the caller raises it), so that the traceback starts where the name was used.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name[:LONGEST] if isinstance(name, str) else short(name), names, n=3, cutoff=0.45)
    known_ones = f"known: {', '.join(names)}." if names else "there are none."
    hint = f"did you mean {' or '.join(repr(n) for n in near)}?" if near else known_ones
    return error(f"unknown {what} {short(name)}; {hint}")
