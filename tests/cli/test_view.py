"""`ctkd view`: keep, show, list, export, open, remove."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ctkd_core.distill.runs import RunStore
from ctkd_core.tokenizers import snapshots
from tests.cli.test_main import Ctkd
from tests.distill.comparison.make import made
from tests.homes import own_home


@pytest.fixture
def ctkd(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ctkd:
    monkeypatch.chdir(tmp_path)
    own_home(tmp_path / "there")
    own_home(tmp_path / "home", monkeypatch)
    return Ctkd(capsys)


KEYS = {"id", "page", "title", "saved", "student", "teacher", "methods", "text", "group", "address", "path", "link"}
KEYS |= {"runs", "runs_dir"}


def test_a_view_is_kept_shown_listed_and_removed(ctkd: Ctkd) -> None:
    assert ctkd.json("view", "ls") == []
    assert "No view is kept yet" in ctkd("view", "ls")[1]
    words = ["view", "save", "align", "-m", "cdm", "-m", "uld", "--text", "in 2024", "--group", "2", "--title", "Mine"]
    saved = ctkd.json(*words, "--set", "tab=Metrics")
    assert set(saved) >= KEYS
    assert (saved["page"], saved["methods"], saved["group"], saved["title"]) == ("align", ["cdm", "uld"], 2, "Mine")
    assert saved["address"]["tab"] == ["Metrics"]
    assert snapshots.load_text(saved["text"]) == "in 2024"
    assert ctkd.json(*words, "--set", "tab=Metrics")["id"] == saved["id"]
    assert ctkd.json("view", "show", saved["id"]) == saved | {"saved": ctkd.json("view", "show", saved["id"])["saved"]}
    (row,) = ctkd.json("view", "ls")
    assert row["id"] == saved["id"] and saved["link"].endswith(f"={saved['id']}")
    code, out, _ = ctkd("view", "show", saved["id"])
    assert code == 0 and f"/?open={saved['id']}" in out
    assert ctkd.json("view", "rm", saved["id"]) == {"removed": [saved["id"]]}
    assert "no saved view" in ctkd.error("view", "show", saved["id"])


@pytest.mark.real
def test_a_view_goes_elsewhere_as_a_file(ctkd: Ctkd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = ctkd.json("view", "save", "align", "--sample", "emoji", "-s", "deepseek", "-t", "deepseek")["id"]
    data = ctkd.json("view", "export", name)
    path = Path(data["path"])
    assert path.name == f"{name}.ctkd-view.json" and data["bytes"] == path.stat().st_size
    assert "add --force" in ctkd.error("view", "export", name)
    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "there"))
    assert "no saved view" in ctkd.error("view", "show", name)
    found = ctkd.json("view", "open", path.name)
    assert found["id"] == name and found["notes"] == []


def test_runs_go_elsewhere_with_their_view(ctkd: Ctkd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made(RunStore(), 2.0, name="mine")
    saved = ctkd.json("view", "save", "runs", "--set", f"run={run.id}")
    assert (saved["runs"], saved["runs_dir"]) == ([run.id], "")
    path = ctkd.json("view", "export", saved["id"])["path"]
    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "there"))
    found = ctkd.json("view", "open", path)
    assert found["runs"] == [run.id] and found["notes"] == []
    assert ctkd.json("runs", "ls") == []
    (row,) = ctkd.json("runs", "ls", "--runs-dir", found["runs_dir"])
    assert (row["run_id"], row["name"], row["metrics"]["bits_per_byte_after"]) == (run.id, "mine", 2.0)
    assert f"--runs-dir {found['runs_dir']}" in ctkd("view", "show", found["id"])[1].replace("\n", "")
    ctkd.json("view", "rm", found["id"])
    assert not Path(found["runs_dir"]).exists()
    assert "lists and forms" in ctkd.error("view", "export", ctkd.json("view", "save", "runs")["id"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["save", "algn"], "did you mean 'align'"),
        (["save", "align", "-m", "sedy"], "did you mean 'sedi'"),
        (["save", "align", "-m", "sedi", "-m", "uld", "-m", "cdm"], "shows 2 of the methods"),
        (["save", "pair", "--text", "x"], "no text of its own"),
        (["save", "align", "--sample", "prse"], "did you mean 'prose'"),
        (["save", "align", "--set", "tab"], "--set takes NAME=VALUE"),
        (["save", "align", "--set", "a b=x"], "this view can't be kept"),
        (["show", "../x"], "no saved view"),
        (["save", "vocabulary", "-m", "sedi"], "unknown map 'sedi'"),
        (["save", "vocabulary", "-m", "exact", "-m", "pieces"], "shows one map"),
        (["open", "none.json"], "can't be read"),
        (["open", "/dev/zero"], "isn't a plain file"),
        (["open", "."], "isn't a plain file"),
    ],
)
def test_bad_input(ctkd: Ctkd, words: list[str], sentence: str) -> None:
    assert sentence in ctkd.error("view", *words)


def test_the_method_of_page_vocabulary_is_its_map(ctkd: Ctkd) -> None:
    saved = ctkd.json("view", "save", "vocabulary", "-m", "exact")
    assert saved["address"]["map"] == ["exact"] and "method" not in saved["address"]
    assert saved["methods"] == ["exact"]


def test_a_file_that_is_too_large_or_a_pipe_is_refused(ctkd: Ctkd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctkd_core.lab.saved_views.MOST_FILE", 3)
    Path("x.json").write_text("{  }", encoding="utf-8")
    assert "more than the 3 bytes" in ctkd.error("view", "open", "x.json")
    if hasattr(os, "mkfifo"):
        os.mkfifo("pipe")
        assert "isn't a plain file" in ctkd.error("view", "open", "pipe")


def test_a_file_that_is_no_view_is_refused(ctkd: Ctkd) -> None:
    Path("x.json").write_text('{"page": "align"}', encoding="utf-8")
    assert "isn't a view of CTKD Lab" in ctkd.error("view", "open", "x.json")
