"""The one way to replace a file or folder: whole or not at all, and nothing left behind."""

from __future__ import annotations

import errno
import json
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest

from ctkd_core import files
from ctkd_core.errors import RunError
from tests.tiny import tiny_byte_level


def test_plain_data_is_what_json_can_hold() -> None:
    given = {
        1: [1, "a", True, None],
        "numbers": [1, 2.5, math.nan, (3, math.inf)],
        "arrays": [np.arange(3), np.array([[True], [False]]), np.array([0.5, np.nan]), np.array(["x"])],
        "scalars": [np.int64(7), np.float32(0.5), np.bool_(True), np.float64("-inf")],
        "others": ({"b"}, Path("p"), [], ()),
    }
    assert json.loads(files.to_json(given)) == {
        "1": [1, "a", True, None],
        "numbers": [1, 2.5, None, [3, None]],
        "arrays": [[0, 1, 2], [[True], [False]], [0.5, None], ["x"]],
        "scalars": [7, 0.5, True, None],
        "others": [["b"], "p", [], []],
    }


def test_text_and_bytes_take_the_place_of_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "file"
    files.write_atomic(path, "é")
    assert path.read_bytes() == "é".encode()
    files.write_atomic(path, b"\x00\xff", sync=True)
    assert path.read_bytes() == b"\x00\xff"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("sync", [False, True])
def test_a_folder_takes_the_place_of_a_folder(tmp_path: Path, sync: bool) -> None:
    place = tmp_path / "student"
    for number in (1, 2):
        with files.replacing(place, sync) as part:
            (part / "deep").mkdir(parents=True)
            (part / "deep" / f"{number}.txt").write_text("x")
            assert place.exists() == (number == 2), "the old one stays until the new one is whole"
        assert [p.name for p in (place / "deep").iterdir()] == [f"{number}.txt"]
    assert list(tmp_path.iterdir()) == [place]


def test_when_writing_fails_what_was_there_stays(tmp_path: Path) -> None:
    place = tmp_path / "student"
    place.mkdir()
    (place / "old.txt").write_text("old")
    with pytest.raises(OSError, match="full"), files.replacing(place) as part:
        part.mkdir()
        (part / "new.txt").write_text("new")
        raise OSError("the disk is full")
    assert [p.name for p in place.iterdir()] == ["old.txt"]
    assert list(tmp_path.iterdir()) == [place]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
def test_a_full_disk_is_an_error_of_the_system_whichever_library_writes(tmp_path: Path) -> None:
    def by_tokenizers(part: Path) -> None:
        part.symlink_to("/dev/full")
        tiny_byte_level().backend.save(str(part))

    def by_numpy(part: Path) -> None:
        with Path("/dev/full").open("wb") as file:
            np.save(file, np.zeros(100_000))

    for write in (by_tokenizers, by_numpy):
        with pytest.raises(OSError) as caught, files.replacing(tmp_path / "a") as part:
            write(part)
        assert caught.value.errno == errno.ENOSPC
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "fault", [RunError("the set can't be had (os error 28)"), RuntimeError("connection reset (os error 104)")]
)
def test_what_is_no_fault_of_a_disk_stays_what_it_is(tmp_path: Path, fault: Exception) -> None:
    with pytest.raises(type(fault)), files.replacing(tmp_path / "a"):
        raise fault


def test_when_the_move_fails_the_old_folder_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "student"
    place.mkdir()
    (place / "old.txt").write_text("old")
    move = Path.replace

    def refused(self: Path, target: Path) -> Path:
        if self.name.endswith(".part"):
            raise OSError(28, "No space left on device")
        return move(self, target)

    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(OSError, match="No space"), files.replacing(place) as part:
        part.mkdir()
    assert [p.name for p in place.iterdir()] == ["old.txt"]
    assert list(tmp_path.iterdir()) == [place]


def test_only_plain_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert files.read_regular(tmp_path / "file", 3) == b"abc"
    with pytest.raises(OSError, match="more than the 2 bytes"):
        files.read_regular(tmp_path / "file", 2)
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "loop", ".", "none"):
        with pytest.raises(OSError):
            files.read_regular(tmp_path / name, 10)


def test_no_other_place_replaces_files_by_hand() -> None:
    """`files` is the one place: a rename elsewhere is a second way to write."""
    root = Path(files.__file__).parents[1]
    # A checkpoint that was written beside its place is moved into the part that `replacing` gives.
    allowed = {"files/__init__.py", "distill/checkpoints.py"}
    found = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if re.search(r"os\.(replace|rename)\(|\bpart\.replace\((?![\"'])|\.replace\(part\)", path.read_text())
    }
    assert found <= allowed


def test_a_home_folder_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.expanded("~/x") == tmp_path / "x"
    with pytest.raises(RunError, match="no home folder for '~nosuchuser9/x'; write the whole path"):
        files.expanded("~nosuchuser9/x", RunError)
    for given in ("", "a\0b"):
        with pytest.raises(RunError, match="can't be a path; name a folder"):
            files.expanded(given, RunError)
