"""Rules of all pages: no maths, no heavy imports, token texts never as markup."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PAGES = Path(__file__).resolve().parents[2] / "pages"


FORBIDDEN = {"numpy", "torch", "transformers", "scipy", "numba", "plotly"}


@pytest.mark.parametrize("path", sorted(PAGES.rglob("*.py")), ids=lambda p: p.name)
def test_pages_hold_no_maths(path):
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module.split(".")[0])
    assert not imported & FORBIDDEN


def test_nothing_is_drawn_as_markup():
    script = (PAGES / "parts" / "chips.js").read_text(encoding="utf-8")
    assert not any(
        word in script for word in ("innerHTML", "insertAdjacentHTML", "outerHTML", "document.write", "eval(")
    )
    sources = "".join(path.read_text(encoding="utf-8") for path in PAGES.rglob("*.py"))
    assert "unsafe_allow" not in sources
