"""The wheel alone, without the checkout: command line, app, losses and a run.

What it depends on is the tests' own installation, seen through a path file; the checkout isn't (an editable install's
path file isn't read there). So nothing that it imports is missing there: what it declares is compared with its imports.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.declared import UNDECLARED, imported, named, requirements
from tests.distill.kit import make_pair
from tests.homes import own_home
from tests.patience import LONG

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("ctkd_core", "pages", ".streamlit")
OPENED = """
from streamlit.testing.v1 import AppTest
from ctkd_core.cli.app import find_app
at = AppTest.from_file(str(find_app()), default_timeout=300).run()
assert not at.exception, at.exception
print(find_app(), len(at.get("button")))
"""
pytestmark = [pytest.mark.slow, pytest.mark.real]


def done(words: list[str], cwd: Path, **environment: str) -> str:
    """What the program prints; it sees nothing of the checkout through PYTHONPATH."""
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    found = subprocess.run(
        words, cwd=cwd, env=inherited | environment, capture_output=True, text=True, timeout=LONG, check=False
    )
    assert found.returncode == 0, (words, found.stderr[-3000:])
    return found.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Run a program of an environment that has the wheel, from an empty folder, with a home of its own."""
    pytest.importorskip("setuptools", minversion="77")
    top = tmp_path_factory.mktemp("wheel")
    source = top / "source"
    source.mkdir()
    for file in ROOT.iterdir():
        if file.is_file():
            shutil.copy2(file, source)
    for part in PARTS:
        shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    done([*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(top), str(source)], top)
    (wheel,) = top.glob("ctkd_lab-*.whl")
    done([sys.executable, "-m", "venv", "--without-pip", str(top / "venv")], top)
    python = top / "venv" / "bin" / "python"
    done([*pip, "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)], top)
    own = Path(done([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], top).strip())
    (own / "beside.pth").write_text(sysconfig.get_path("purelib") + "\n")
    away = top / "away"
    away.mkdir()
    home = own_home(top / "home")

    def run(program: str, *words: str) -> str:
        return done([str(python.parent / program), *words], away, CTKD_HOME=str(home))

    return run


def test_the_package_is_the_wheel_s(installed):
    found = Path(installed("python", "-c", "import ctkd_core; print(ctkd_core.__file__)").strip())
    assert "site-packages" in found.parts
    assert ROOT not in found.parents


def test_it_declares_what_it_imports_and_what_the_checkout_asks_for(installed):
    """Its metadata, as an installer reads them."""
    lines = "from importlib.metadata import requires; print(*requires('ctkd-lab'), sep='\\n')"
    asked = installed("python", "-c", lines).splitlines()
    own = {named(line) for line in asked if "extra ==" not in line}
    wanted = requirements((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    assert own == {named(line) for line in wanted}
    for_users = {named(line) for line in asked if "extra == 'dev'" not in line.replace('"', "'")}
    package = Path(installed("python", "-c", "import ctkd_core; print(ctkd_core.__file__)").strip()).parent
    found = imported(package.rglob("*.py"))
    assert "streamlit" in found, "the app's files are among them"
    assert {name: str(file) for name, file in found.items() if name not in for_users | set(UNDECLARED)} == {}


def test_the_command_line_aligns_and_lists_methods(installed):
    aligned = json.loads(installed("ctkd", "align", "--text", "It cost 12345", "--json"))
    assert aligned["groups"]
    assert len(json.loads(installed("ctkd", "methods", "--json"))) > 10


def test_the_app_opens(installed):
    path, buttons = installed("python", "-c", OPENED).split()[-2:]
    assert Path(path).parts[-3:-1] == ("ctkd_core", "_app")
    assert int(buttons) > 0


def test_a_run_trains(installed, tmp_path):
    """On the wheel's own data, with small models: embeddings are moved, and the teacher is asked."""
    pair = make_pair(tmp_path)
    models = ("-s", str(pair.student), "-t", str(pair.teacher), "--teacher-path", str(pair.teacher))
    words = ("--preset", "quick", "--steps", "1", "--eval-samples", "0", "--sample-prompts", "0", "-m", "sedi")
    said = json.loads(installed("ctkd", "distill", *models, *words, "--json"))
    assert (said["status"], said["step"]) == ("finished", 1)
