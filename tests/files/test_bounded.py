"""Entries that were used longest ago make room; the newest, and what is being written, stay."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ctkd_core.files import bounded


@pytest.fixture
def entries(tmp_path: Path) -> list[Path]:
    """Two files and two folders of 10 bytes each, the first one used longest ago."""
    made = [tmp_path / name for name in ("file", "folder", "other file", "other folder")]
    for age, path in enumerate(made):
        if "folder" in path.name:
            path.mkdir()
            (path / "one").write_bytes(b"1234")
            (path / "two").write_bytes(b"123456")
        else:
            path.write_bytes(b"1234567890")
        os.utime(path, (1000 + age, 1000 + age))
    return made


@pytest.mark.parametrize(("most", "left"), [(40, 4), (39, 3), (30, 3), (29, 2), (10, 1), (0, 1)])
def test_the_ones_used_longest_ago_go_until_the_others_fit(entries, tmp_path, most, left):
    bounded.make_room(tmp_path, most, newest=entries[-1])
    assert [path.exists() for path in entries] == [False] * (4 - left) + [True] * left


def test_what_was_used_again_stays(entries, tmp_path):
    bounded.use(entries[0])
    bounded.make_room(tmp_path, 20, newest=entries[-1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "other folder"]


def test_the_newest_stays_even_where_its_time_is_the_oldest(entries, tmp_path):
    bounded.make_room(tmp_path, 5, newest=entries[0])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_is_being_written_stays_and_an_empty_folder_is_no_fault(entries, tmp_path):
    part = tmp_path / ".new.123.part"
    part.mkdir()
    (tmp_path / "empty").mkdir()
    os.utime(part, (1, 1))
    bounded.make_room(tmp_path, 10, newest=entries[-1])
    assert part.exists() and entries[-1].exists() and not entries[2].exists()


def test_without_the_folder_it_says_so(tmp_path):
    with pytest.raises(OSError):
        bounded.make_room(tmp_path / "none", 10, newest=tmp_path / "none" / "it")
