"""Files or folders side by side that take a bounded number of bytes: the ones used longest ago make room."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path


def use(path: Path) -> None:
    """Note that an entry is in use now. Raises OSError."""
    os.utime(path)


def make_room(root: Path, most: int, newest: Path) -> None:
    """Remove the entries of `root` that were used longest ago until all take at most `most` bytes.

    `newest` stays in any case, and what is being written (its name begins with a dot). Raises OSError without `root`.
    """
    entries = []
    for path in root.iterdir():
        if path.name.startswith("."):
            continue
        with suppress(OSError):
            parts = path.iterdir() if path.is_dir() else [path]
            entries.append((path.stat().st_mtime, sum(part.stat().st_size for part in parts), path))
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= most:
            return
        if path != newest:
            with suppress(OSError):  # it stays, or another process has removed it
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            if not path.exists():
                total -= size
