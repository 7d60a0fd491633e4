"""One family of errors. Every message says what was wrong, with the values, and what to do next."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 160
_SHORT.maxlong = 620


class CtkdError(ValueError):
    """Base of every error that a user can cause and mend."""


class TokenizerError(CtkdError):
    """A tokenizer that can't be found, read or trusted."""


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


def unknown(what: str, name: object, known: Iterable[str], error: type[CtkdError] = CtkdError) -> CtkdError:
    """The error for a name that isn't in a table, with the nearest ones.

    Returns the error (the caller raises it), so that the traceback starts where the name was used.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name[:80] if isinstance(name, str) else shown(name), names, n=3, cutoff=0.4)
    known_ones = f"known: {', '.join(names)}." if names else "there are none."
    hint = f"did you mean {' or '.join(repr(n) for n in near)}?" if near else known_ones
    return error(f"unknown {what} {shown(name)}; {hint}")


def shown(value: object) -> str:
    """A value for a message, as Python writes it but short: control characters escaped, never an error of its own."""
    if isinstance(value, int) and value.bit_length() > 2000:
        return f"a number of about {int(value.bit_length() * 0.30103) + 1:,} digits"
    try:
        return _SHORT.repr(value)
    except Exception:
        return f"a {type(value).__name__}"
