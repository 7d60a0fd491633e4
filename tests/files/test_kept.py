"""Folders of which the last ones stay: who goes, what a process leaves that died, and who can't have the lock."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from ctkd_core.files import kept
from tests.patience import PATIENCE


def folders(root: Path, count: int) -> list[Path]:
    """Folders with a file each, oldest first."""
    found = []
    for n in range(count):
        (root / str(n)).mkdir(parents=True)
        (root / str(n) / "file").touch()
        os.utime(root / str(n), (n, n))
        found.append(root / str(n))
    return found


def test_the_oldest_ones_go_at_once_and_as_a_whole(tmp_path: Path) -> None:
    made = folders(tmp_path, 5)
    with kept.held(tmp_path) as alone:
        assert alone
        gone = kept.take_out(tmp_path, made[0], 3, lambda folder: folder != made[1])
        assert [folder.exists() for folder in made] == [True, True, False, True, True]
        assert [(folder / "file").exists() for folder in gone] == [True]
    assert kept.take_out(tmp_path, made[0], 9) == gone, "a process that died before it removed it leaves it to others"
    kept.remove(gone)
    kept.remove(gone)
    assert sorted(entry.name for entry in tmp_path.iterdir() if entry.name != kept.LOCK) == ["0", "1", "3", "4"]


def test_a_folder_that_is_not_there_yet_is_made(tmp_path: Path) -> None:
    with kept.held(tmp_path / "home" / "kept") as alone:
        assert alone


def test_several_that_make_room_at_once_leave_as_many_as_one(tmp_path: Path) -> None:
    made = folders(tmp_path, 40)
    begin = threading.Barrier(8)
    faults: list[BaseException] = []

    def make_room(current: Path) -> None:
        try:
            begin.wait(PATIENCE)
            with kept.held(tmp_path) as alone:
                assert alone
                gone = kept.take_out(tmp_path, current, 10)
            kept.remove(gone)
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=make_room, args=(current,)) for current in made[-8:]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not faults
    assert sorted(int(entry.name) for entry in tmp_path.iterdir() if entry.is_dir()) == list(range(30, 40))


def test_who_cannot_have_the_lock_goes_on_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "LOCK_SECONDS", 0.05)
    seen: list[bool] = []

    def other() -> None:
        with kept.held(tmp_path) as alone:
            seen.append(alone)

    with kept.held(tmp_path):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(PATIENCE)
    other()
    (tmp_path / "file").touch()
    with kept.held(tmp_path / "file" / "no folder") as alone:
        seen.append(alone)
    assert seen == [False, True, False]
