"""Folders side by side of which the ones last in use stay, however many processes use them and make room at once.

Whoever takes one into use, writes into it or makes room holds a lock on their parent for that moment. A folder that
goes is first renamed, so that it is gone at once and as a whole; its files are removed when the lock is free again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK = ".lock"
LOCK_SECONDS = 10.0  # whoever holds it for longer is stuck (a stopped process); the work doesn't end for that
_GONE = ".gone-"


@contextmanager
def held(root: Path) -> Iterator[bool]:
    """Hold the folder of folders, alone among processes and threads; gives False where that can't be had."""
    from filelock import FileLock

    lock = FileLock(root / LOCK)
    alone = False
    with suppress(OSError, NotImplementedError):  # held by another for too long (TimeoutError); a disk without locks
        root.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=LOCK_SECONDS)
        alone = True
    try:
        yield alone
    finally:
        if alone:
            lock.release()


def take_out(root: Path, current: Path, most: int, may_go: Callable[[Path], bool] | None = None) -> list[Path]:
    """Leave `current` and the folders last changed, `most` together; call it while the root is `held`.

    Gives what they are called now, to be handed to `remove`: also what another process didn't get to.
    """
    gone: list[Path] = []
    there: list[tuple[float, Path]] = []
    with suppress(OSError):
        for entry in root.iterdir():
            if entry.name.startswith(_GONE):
                gone.append(entry)
            elif entry != current and entry.name != LOCK and entry.is_dir():
                there.append((entry.stat().st_mtime, entry))
    for _, old in sorted(there)[: max(0, len(there) + 1 - most)]:
        if may_go is None or may_go(old):
            with suppress(OSError):
                gone.append(old.rename(root / f"{_GONE}{os.urandom(8).hex()}"))
    return gone


def remove(gone: Iterable[Path]) -> None:
    """Remove folders that `take_out` gave; several processes may do so at once."""
    for folder in gone:
        shutil.rmtree(folder, ignore_errors=True)
