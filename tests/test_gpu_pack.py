"""Files cut into parts on one machine and joined on another: `benchmarks/gpu_pack.py`."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu_pack.py"
MIB = 2**20


def call(*words: object, fine: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, str(SCRIPT), *map(str, words)], capture_output=True, text=True, check=False)
    assert not fine or done.returncode == 0, done.stderr
    return done


@pytest.fixture
def packed(tmp_path: Path) -> tuple[Path, Path]:
    """Five fake wheels of up to 2.5 MiB in parts of at most 1 MiB."""
    wheels, parts = tmp_path / "wheels", tmp_path / "pack"
    wheels.mkdir()
    noise = random.Random(0)
    for name, size in (("a.whl", 2 * MIB + MIB // 2), ("b.whl", 17), ("c.whl", 0), ("d.whl", MIB), ("e.whl", 300_000)):
        (wheels / name).write_bytes(noise.randbytes(size))
    call("pack", "--wheels", wheels, "--parts", parts, "--part-mib", 1)
    return wheels, parts


def test_what_is_joined_is_what_was_packed(packed: tuple[Path, Path], tmp_path: Path) -> None:
    wheels, parts = packed
    folders = sorted(parts.glob("part-*"))
    assert len(folders) == 5
    for folder in folders:
        assert sum(path.stat().st_size for path in folder.iterdir()) <= MIB
    there = tmp_path / "there"
    call("join", "--parts", parts, "--to", there)
    assert {p.name: p.read_bytes() for p in there.glob("*.whl")} == {p.name: p.read_bytes() for p in wheels.iterdir()}
    assert not list((there / "pieces").iterdir())
    call("join", "--parts", parts, "--to", there)  # once more changes nothing


def test_parts_come_one_after_another(packed: tuple[Path, Path], tmp_path: Path) -> None:
    wheels, parts = packed
    there, brought = tmp_path / "there", tmp_path / "brought"
    folders = sorted(parts.glob("part-*"))
    for number, folder in enumerate(folders):
        shutil.rmtree(brought, ignore_errors=True)  # only the latest part is there
        shutil.copytree(folder, brought / folder.name)
        done = call("join", "--parts", brought, "--to", there, fine=False)
        last = number == len(folders) - 1
        assert done.returncode == (0 if last else 3), done.stderr
        assert ("all there" if last else "pieces missing") in done.stdout
    assert (there / "a.whl").read_bytes() == (wheels / "a.whl").read_bytes()


def test_a_damaged_piece_is_refused_and_can_be_brought_again(packed: tuple[Path, Path], tmp_path: Path) -> None:
    _, parts = packed
    (piece,) = parts.glob("part-*/a.whl.01")
    whole = piece.read_bytes()
    piece.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    done = call("join", "--parts", parts, "--to", tmp_path / "there", fine=False)
    assert done.returncode == 1
    assert "a.whl.01 is damaged" in done.stderr
    piece.write_bytes(whole)
    call("join", "--parts", parts, "--to", tmp_path / "there")


def test_parts_of_two_packs_are_not_mixed(packed: tuple[Path, Path], tmp_path: Path) -> None:
    _, parts = packed
    manifest = parts / "part-02" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"revision": "other"}))
    assert "different packs" in call("join", "--parts", parts, "--to", tmp_path / "there", fine=False).stderr
    assert "bring a part" in call("join", "--parts", tmp_path / "none", "--to", tmp_path / "n", fine=False).stderr


def test_names_stay_in_their_folder(packed: tuple[Path, Path], tmp_path: Path) -> None:
    _, parts = packed
    for manifest in parts.glob("part-*/manifest.json"):
        content = json.loads(manifest.read_text())
        content["files"][0]["name"] = "../a.whl"
        manifest.write_text(json.dumps(content))
    done = call("join", "--parts", parts, "--to", tmp_path / "there", fine=False)
    assert done.returncode == 1
    assert "no plain file name" in done.stderr
