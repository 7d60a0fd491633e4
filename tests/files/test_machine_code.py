"""Machine code of kernels: kept where it can be, and no reason to fail where it can't."""

from __future__ import annotations

import errno
import importlib.util
from pathlib import Path
from typing import Any

import numba
import pytest
from numba.core import caching

from ctkd_core.files import machine_code

KERNEL = """
from ctkd_core.files.machine_code import njit

@njit(nogil=True)
def double(x):
    return 2 * x
"""


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "kept"
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(folder))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(folder))  # numba reads its settings again where a variable has changed
    return folder


def kernel(folder: Path) -> Any:
    """The kernel in a module that is loaded anew, as in another process."""
    machine_code._written.cache_clear()
    path = folder / "kernels.py"
    if not path.exists():
        path.write_text(KERNEL)
    spec = importlib.util.spec_from_file_location("kernels", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.double


def test_it_is_kept_for_the_next_process(tmp_path: Path, kept: Path) -> None:
    first = kernel(tmp_path)
    assert (first(21), sum(first.stats.cache_misses.values())) == (42, 1)
    second = kernel(tmp_path)
    assert (second(21), sum(second.stats.cache_hits.values())) == (42, 1)
    assert any(kept.rglob("*.nbc"))


def test_a_file_beside_it_that_changes_makes_it_anew(tmp_path: Path, kept: Path) -> None:
    """What a kernel calls may lie there, and numba takes over its machine code with the kernel's."""
    for content, hits in (("FACTOR = 2", 0), ("FACTOR = 3", 0), ("FACTOR = 3", 1)):
        (tmp_path / "beside.py").write_text(content)
        double = kernel(tmp_path)
        assert (double(21), sum(double.stats.cache_hits.values())) == (42, hits)


@pytest.mark.parametrize("ending", ["nbi", "nbc"])
def test_a_damaged_one_is_made_anew(tmp_path: Path, kept: Path, ending: str) -> None:
    assert kernel(tmp_path)(21) == 42
    (path,) = kept.rglob(f"*.{ending}")
    for damaged in (b"", path.read_bytes()[:-9], b"\x80\x05K"):
        path.write_bytes(damaged)
        assert kernel(tmp_path)(21) == 42
        again = kernel(tmp_path)
        assert (again(21), sum(again.stats.cache_hits.values())) == (42, 1)


def test_a_full_disk_keeps_none_and_stops_nothing(tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("load", "save"):
        monkeypatch.setattr(caching.IndexDataCacheFile, name, full)
    assert kernel(tmp_path)(21) == 42
    assert not any(kept.rglob("*.nbc"))


def test_neither_does_a_user_without_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching.CompileResultCacheImpl, "_locator_classes", [])
    assert kernel(tmp_path)(21) == 42
