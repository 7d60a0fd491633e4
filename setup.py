"""Packs the browser app (app.py, pages/, its settings) into the wheel, where `ctkd app` finds it.

Everything else about the package is declared in pyproject.toml.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


class BuildWithApp(build_py):
    """build_py, plus ctkd_core/_app/ with what lies beside the package in a checkout."""

    def run(self) -> None:
        """Build the package, then copy the app into it."""
        super().run()
        if getattr(self, "editable_mode", False):  # an editable install finds the checkout itself
            return
        target = Path(self.build_lib) / "ctkd_core" / "_app"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        shutil.copy2(ROOT / "app.py", target)
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
        shutil.copytree(ROOT / "pages", target / "pages", ignore=ignored)
        shutil.copytree(ROOT / ".streamlit", target / ".streamlit", ignore=ignored)


setup(cmdclass={"build_py": BuildWithApp})
