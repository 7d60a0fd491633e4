"""The documentation as a site: it builds without a word, its formulas are whole, and its programs aren't in it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import LONG

ROOT = Path(__file__).resolve().parents[1]
# What isn't prose: code, scripts, and the formulas themselves.
APART = re.compile(r"<(pre|code|script|style|math)\b.*?</\1>", re.S)


def formulas(page: str) -> int:
    """How many formulas a page of the docs has, code and lines of HTML left out."""
    prose = re.sub(r"^(`{3,}).*?^\1`*$|`[^`\n]+`|^<[^\n]*$", "", page, flags=re.S | re.M)
    return len(re.findall(r"\$\$.+?\$\$|\$[^$]+\$", prose, re.S))


@pytest.fixture(scope="module", params=["mkdocs", "zensical"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site, as either program builds it."""
    for module in (request.param, "math_core"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} isn't installed: pip install -e '.[docs]'")
    top = tmp_path_factory.mktemp(request.param)
    shutil.copy2(ROOT / "mkdocs.yml", top)
    shutil.copytree(ROOT / "docs", top / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    words = [sys.executable, "-m", request.param, "build", "--strict"]
    here = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=top, env=here, capture_output=True, text=True, timeout=LONG, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return top / "site"


def test_every_formula_is_whole(site: Path) -> None:
    total = 0
    for source in sorted((ROOT / "docs").rglob("*.md")):
        name = source.relative_to(ROOT / "docs").with_suffix("")
        built = site / (name.parent if name.name == "index" else name) / "index.html"
        html = built.read_text(encoding="utf-8")
        wanted = formulas(source.read_text(encoding="utf-8"))
        found = re.findall(r"<math\b.*?</math>", html, re.S)
        assert len(found) == wanted, source
        assert not [each for each in found if "<em>" in each or "\\" in each or "$" in each], source
        assert "$$" not in APART.sub("", html), source
        total += wanted
    assert total > 200


def test_no_program_is_published(site: Path) -> None:
    assert (site / "formulas.css").is_file()
    assert not [*site.rglob("*.py"), *site.rglob("*.pyc")]


def test_a_formula_in_code_is_not_counted() -> None:
    assert formulas("$a$ `$b$`\n```\n$c$\n```\n$$d\ne$$") == 2
