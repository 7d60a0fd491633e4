"""Declared dependencies: whatever the package imports is asked for by name, by the product or by an extra."""

from __future__ import annotations

import tomllib
from pathlib import Path

from tests.declared import UNDECLARED, imported, named, requirements

ROOT = Path(__file__).resolve().parents[1]
FOR_USERS = ("hub", "lora", "harness", "ray", "gpu", "docs")  # extras; dev is for working on the project


def declared() -> tuple[set[str], set[str]]:
    """Names of what the product needs, and of what its extras for users bring."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert set(extras) == {*FOR_USERS, "dev"}
    own = {named(line) for line in requirements((ROOT / "requirements.txt").read_text("utf-8"))}
    return own, {named(line) for extra in FOR_USERS for line in extras[extra]}


def test_every_import_is_declared() -> None:
    files = [ROOT / "app.py", *(ROOT / "pages").rglob("*.py"), *(ROOT / "ctkd_core").rglob("*.py")]
    own, extra = declared()
    missing = {name: str(file) for name, file in imported(files).items() if name not in own | extra | set(UNDECLARED)}
    assert not missing, "name them in requirements.txt, or in an extra of pyproject.toml"


def test_pages_need_no_extra() -> None:
    own, _ = declared()
    assert set(imported([ROOT / "app.py", *(ROOT / "pages").rglob("*.py")])) <= own


def test_a_missing_one_would_be_seen(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("import os, numpy.linalg\n\ndef f():\n    from yaml import load\n    from ctkd_core import files\n")
    assert set(imported([file])) == {"numpy", "pyyaml"}
    assert named("triton>=3.6,<4; sys_platform == 'linux'") == named("Triton") == "triton"
    assert named("lm_eval[x]>=0.4") == "lm-eval"
