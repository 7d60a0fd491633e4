"""Faults of the tokenizers library as errors that a user can read.

Its panics reach Python as exceptions that don't derive from Exception, so an ordinary `except` lets them through.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ctkd_core.errors import CtkdError, TokenizerError


@contextmanager
def library_faults(what: str) -> Iterator[None]:
    """Turn whatever the library raises inside the block into TokenizerError "`what`: first line of the fault"."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError, CtkdError):
        raise
    except BaseException as fault:
        raise TokenizerError(f"{what}: {first_line(fault)}") from None


def first_line(fault: BaseException) -> str:
    """What a fault says, cut to one line."""
    lines = str(fault).strip().splitlines()
    return (lines[0] if lines else type(fault).__name__)[:300]
