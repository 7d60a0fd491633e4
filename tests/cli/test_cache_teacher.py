"""`ctkd cache-teacher`: size first, JSON, where it goes, exit codes when it is stopped or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ctkd_core.distill.teachers.manifest import read_manifest
from tests.cli.test_main import Ctkd
from tests.distill.kit import make_pair

KEYS = {"folder", "teacher", "tokenizer", "samples", "rows", "bytes", "k", "dtype", "rows_kept", "complete"}
KEYS |= {"expected_seconds", "merged"}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("pair")
    path = folder / "run.json"
    path.write_text(json.dumps(make_pair(folder).config(method="gold").to_dict()))
    return str(path)


def test_the_size_and_then_the_cache(ctkd: Ctkd, config: str, tmp_path: Path) -> None:
    words = ("cache-teacher", config, "--to", str(tmp_path / "cache"), "-k", "8")
    told = ctkd.json(*words, "--size")
    assert told.keys() == KEYS
    assert not (tmp_path / "cache").exists()
    found = ctkd.json(*words)
    assert found.keys() == KEYS | {"parts", "seconds", "teacher_bits_per_byte"}
    assert (found["complete"], found["k"], found["rows_kept"]) == (True, 8, "answer")
    assert 0 <= found["bytes"] - told["bytes"] < 1000
    assert found["teacher_bits_per_byte"] > 0 and found["merged"] is None
    assert told["expected_seconds"] == found["expected_seconds"] > 0
    code, out, err = ctkd(*words)
    assert code == 0
    assert "tokens of each: " in err and "reading all of it takes " in err
    assert "merged rows" not in err
    assert "rows kept" in out


def test_the_configs_own_folder_is_filled(ctkd: Ctkd, config: str, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    found = ctkd.json("cache-teacher", config, "--teacher-cache", str(folder), "--k", "0", "--dtype", "float32")
    assert found["folder"] == str(folder)
    assert read_manifest(folder).kept.k == 340


def test_merged_rows_are_those_of_the_runs_method(ctkd: Ctkd, config: str, tmp_path: Path) -> None:
    found = ctkd.json("cache-teacher", config, "--to", str(tmp_path / "cache"), "-k", "8", "--rows", "merged")
    assert (found["complete"], found["rows_kept"]) == (True, "merged")
    assert read_manifest(tmp_path / "cache").kept.merged is not None
    assert (found["merged"]["alignment"], found["merged"]["rule"]) == ("gold (clean) groups=bytes", "bayesian")
    _, _, err = ctkd("cache-teacher", config, "--to", str(tmp_path / "cache"), "-k", "8", "--rows", "merged")
    (said,) = [line for line in err.splitlines() if "its merged rows are for student tokenizer" in line]
    assert "groups of 'gold (clean) groups=bytes'" in said and "at teacher temperature 1; a run with" in said
    code, out, err = ctkd("cache-teacher", config, "--size", "--rows", "merged", "-m", "alm")
    assert (code, out) == (2, "")
    assert "can't be taught by merged rows" in err.splitlines()[-1]


def test_stopping_it_ends_as_cancelled(
    ctkd: Ctkd, config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ctkd_core.distill.teachers.fill._read", stopped)
    code, _, err = ctkd("cache-teacher", config, "--to", str(tmp_path / "cache"), "-k", "8")
    assert code == 130
    assert "cancelled" in err
    assert not read_manifest(tmp_path / "cache").complete


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-k", "341"), "k is 1 to 340"),
        (("--dtype", "float8"), "float16"),
        (("--rows", "some"), "rows"),
        (("--number", "3"), "the run has 1 teachers"),
    ],
)
def test_what_cannot_be_is_told(ctkd: Ctkd, config: str, words: tuple[str, ...], said: str) -> None:
    code, out, err = ctkd("cache-teacher", config, "--size", *words)
    assert (code, out) == (2, "")
    assert said in err.splitlines()[-1]
