"""A corpus that somebody uploads: how large it may be, and the name under which its bytes lie until they are read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ctkd_core.errors import CtkdError
from ctkd_core.files.packed import is_packed

MAX_BYTES = 20_000_000  # of an upload, which is held in memory and copied; larger files are named by their path


def check_size(name: str, content: bytes, command: str) -> None:
    """Raise CtkdError for more than MAX_BYTES; `command` is what takes files of any size."""
    if len(content) > MAX_BYTES:
        raise CtkdError(
            f"{name} has {len(content) / 1e6:.0f} MB; files up to {MAX_BYTES / 1e6:.0f} MB are measured here. "
            f"Name a file on this machine by its path, or use `{command}`."
        )


def file_name(name: str) -> str:
    """What to call the file; the ending of the given name says how to read it.

    That name may be long, or hold what file systems don't take.
    """
    path = Path(name)
    endings = (Path(path.stem).suffix if is_packed(path) else "") + path.suffix
    return f"corpus{endings.lower()[:12]}"


@contextmanager
def called(name: str, path: Path) -> Iterator[None]:
    """Errors of reading `path` name the file as it was given."""
    try:
        yield
    except CtkdError as fault:
        raise CtkdError(str(fault).replace(repr(path.name), repr(name))) from None
