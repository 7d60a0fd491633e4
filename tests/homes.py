"""A CTKD_HOME of a test's own that shares what is slow to make: conversions, checks, maps."""

from __future__ import annotations

from pathlib import Path

import pytest

from ctkd_core import files

SHARED = ("checks", "hashes", "maps", "models", "tokenizers")


def own_home(folder: Path, monkeypatch: pytest.MonkeyPatch | None = None) -> Path:
    """Make `folder` a home with runs, jobs and slots of its own, and with `monkeypatch` the one of this process."""
    (folder / "cache").mkdir(parents=True)
    for part in SHARED:
        shared = files.cache_dir() / part
        shared.mkdir(parents=True, exist_ok=True)
        (folder / "cache" / part).symlink_to(shared, target_is_directory=True)
    if monkeypatch is not None:
        monkeypatch.setenv("CTKD_HOME", str(folder))
    return folder
