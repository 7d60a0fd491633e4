"""`ctkd runs export`: rows in a file, and what becomes of the file that was there."""

from __future__ import annotations

import csv
import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ctkd_core.distill.runs import RunStore
from tests.cli.test_main import Ctkd
from tests.cli.test_runs import ROWS, past_run
from tests.patience import PATIENCE


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_runs_export(ctkd: Ctkd, store: RunStore, tmp_path: Path, kind: str) -> None:
    run = past_run(store)
    out = tmp_path / f"export.{kind}"
    words = ["runs", "export", run.id, "--format", kind, "--out", str(out), "--runs-dir", str(store.root)]
    data = ctkd.json(*words)
    assert Path(data["path"]) == out
    assert data["rows"] == len(ROWS)
    rows = list(csv.DictReader(out.open())) if kind == "csv" else json.loads(out.read_text())
    assert [float(row["loss"]) for row in rows if row["kind"] == "train"] == [5.0, 4.0]
    assert "exists already" in ctkd.error(*words)
    assert ctkd.json(*words, "--force")["rows"] == len(ROWS)


def test_a_full_disk_leaves_what_was_there(ctkd: Ctkd, store: RunStore, tmp_path: Path, monkeypatch) -> None:
    run = past_run(store)
    before, new = tmp_path / "before.csv", tmp_path / "new.csv"
    before.write_text("of last week")

    def full(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[:3])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    for out in (before, new):
        words = ["runs", "export", run.id, "--out", str(out), "--force", "--runs-dir", str(store.root)]
        assert "No space left on device" in ctkd.error(*words)
    assert (before.read_text(), sorted(tmp_path.glob("*.csv*"))) == ("of last week", [before])


def test_a_device_that_is_written_to_stays_one(ctkd: Ctkd, store: RunStore, tmp_path: Path) -> None:
    pipe, link, file = tmp_path / "pipe", tmp_path / "link.csv", tmp_path / "file.csv"
    os.mkfifo(pipe)
    link.symlink_to(file)
    file.touch()
    words = ["runs", "export", past_run(store).id, "--force", "--runs-dir", str(store.root), "--out"]
    with ThreadPoolExecutor() as threads:
        read = threads.submit(pipe.read_text)
        ctkd.json(*words, str(pipe))
        assert read.result(PATIENCE).startswith("step,")
    assert pipe.is_fifo()
    ctkd.json(*words, str(link))
    assert link.is_symlink() and file.read_text().startswith("step,")


def test_a_file_that_is_replaced_keeps_its_rights(ctkd: Ctkd, store: RunStore, tmp_path: Path, monkeypatch) -> None:
    file, access = tmp_path / "file.csv", os.access
    file.touch(0o600)
    words = ["runs", "export", past_run(store).id, "--force", "--runs-dir", str(store.root), "--out", str(file)]
    ctkd.json(*words)
    assert file.stat().st_mode & 0o777 == 0o600
    # In a folder in which no file can be made, or over a protected one, it is written in its place.
    for protected in (tmp_path, file):
        before = file.stat().st_ino
        file.write_text("")
        monkeypatch.setattr(os, "access", lambda path, mode, no=protected: Path(path) != no and access(path, mode))
        ctkd.json(*words)
        assert file.stat().st_ino == before and file.read_text().startswith("step,")
