"""The command line through the operating system: pipes, encodings, full disks, large files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
ALIGN = ["align", "-s", "deepseek", "-t", "smollm2"]


def subprocess_ctkd(*words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "ctkd_core", *words]
    return subprocess.run(command, capture_output=True, cwd=ROOT, check=False, **options)


def test_standard_input() -> None:
    run = subprocess_ctkd(*ALIGN, "--file", "-", "--json", input="grüße 2024".encode())
    assert run.returncode == 0
    assert "".join(json.loads(run.stdout)["student"]["tokens"]) == "grüße 2024"


def test_argument_that_is_not_utf8() -> None:
    run = subprocess_ctkd(*ALIGN, "--text", os.fsdecode(b"a\xff"))
    assert run.returncode == 2
    assert b"byte 0xff at position 1" in run.stderr


def test_output_of_any_locale() -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    run = subprocess_ctkd(*ALIGN, "--text", "東京", env=environment)
    assert run.returncode == 0
    assert b"\\u6771" in run.stdout or b"<" in run.stdout
    document = json.loads(subprocess_ctkd(*ALIGN, "--text", "東京", "--json", env=environment).stdout)
    assert "".join(document["student"]["tokens"]).endswith("東京")


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m ctkd_core methods sedi; echo code $? >&2"
    run = subprocess.run(["bash", "-c", f"({command}) | true"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert "Traceback" not in run.stderr
    assert "BrokenPipe" not in run.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_no_exit_code(closed: str) -> None:
    for words, code in (("methods sedi", 0), ("methods sedi --json", 0), ("methods nosuch", 2)):
        command = f"{sys.executable} -m ctkd_core {words} {closed}"
        run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, check=False)
        assert (run.returncode, "Traceback" in run.stderr) == (code, False), run.stderr


def test_libraries_draw_no_bars_into_a_pipe() -> None:
    words = "from ctkd_core.cli.main import main; main(['--version']); from tqdm import tqdm; list(tqdm([1, 2]))"
    run = subprocess.run([sys.executable, "-c", words], capture_output=True, cwd=ROOT, check=True)
    assert (run.stdout[:5], run.stderr) == (b"ctkd ", b"")


@pytest.mark.parametrize(("given", "expected"), [({}, b"PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, b"ACTIVE")])
def test_threads_of_a_command_wait_without_spinning(given: dict[str, str], expected: bytes) -> None:
    words = "import os; from ctkd_core.cli.main import main; main(['-V']); print(os.environ['OMP_WAIT_POLICY'])"
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"} | given
    run = subprocess.run([sys.executable, "-c", words], capture_output=True, cwd=ROOT, check=True, env=environment)
    assert run.stdout.splitlines()[-1] == expected


INTERRUPTED = """
import atexit, os, signal, sys

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):  # it comes between two lines of Python
        pass

def misread():
    try:
        interrupt()
    except KeyboardInterrupt:
        raise ValueError("what a library makes of it") from None

class Interrupting:
    def find_spec(self, name, *_):
        if name == {moment!r}:
            {act}

sys.meta_path.insert(0, Interrupting())
if {moment!r} == "exit":
    atexit.register(interrupt)
from ctkd_core.__main__ import main
sys.argv[1:] = ["methods", "sedi"]
sys.exit(main())
"""


def interrupted(folder: Path, moment: str, *before: str, act: str = "interrupt()") -> subprocess.CompletedProcess[str]:
    (folder / "interrupted.py").write_text(INTERRUPTED.format(moment=moment, act=act))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [*before, sys.executable, "-m", "interrupted"]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False, env=environment)


# Modules that are loaded before the command line, by it, and by the command; and the end of the process.
@pytest.mark.parametrize("moment", ["ctkd_core.cli.main", "typer", "ctkd_core.markup.terminal", "exit"])
def test_ctrl_c_while_nothing_is_done_yet_or_any_more_ends_quietly(moment: str, tmp_path: Path) -> None:
    run = interrupted(tmp_path, moment)
    assert (run.returncode, run.stderr) == (130, "")
    assert bool(run.stdout) == (moment == "exit"), "the answer is out by then"


@pytest.mark.parametrize("act", ["interrupt()", "exec('interrupt()')", "misread()"])
def test_ctrl_c_in_a_command_is_told_in_one_line(act: str, tmp_path: Path) -> None:
    run = interrupted(tmp_path, "ctkd_core.cli.methods", act=act)
    assert (run.returncode, run.stdout, run.stderr) == (130, "", "ctkd: cancelled.\n")


def test_ctrl_c_that_is_ignored_stays_so(tmp_path: Path) -> None:
    run = interrupted(tmp_path, "typer", "bash", "-c", "trap '' INT; exec \"$@\"", "-")
    assert (run.returncode, bool(run.stdout), run.stderr) == (0, True, "")


def test_a_full_disk_is_told() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    run = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m ctkd_core methods > /dev/full"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert run.returncode == 1
    assert "can't write the answer" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.slow
def test_one_megabyte(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("The 12345 quick brown foxes, naïve as ever. " * 23_000, encoding="utf-8")
    assert path.stat().st_size > 1_000_000
    run = subprocess_ctkd(*ALIGN, "--file", str(path), "--json")
    assert run.returncode == 0, run.stderr
    data = json.loads(run.stdout)
    assert data["groups"][-1][1] == len(data["student"]["ids"])
    assert data["metrics"]["byte_coverage"] == 1
    # A path over 44,000 x 65,000 cells is searched in parts or refused with a sentence, not attempted as a whole.
    path.write_text("The 12345 quick brown foxes, naïve as ever. " * 5_000, encoding="utf-8")
    run = subprocess_ctkd(*ALIGN, "-m", "cdm", "--file", str(path), "--json")
    assert run.returncode in {0, 2}
    assert b"Traceback" not in run.stderr
