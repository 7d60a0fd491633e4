"""Rules of all pages: whose a parameter of the address is, token texts never as markup."""

from __future__ import annotations

import ast
from pathlib import Path

PAGES = Path(__file__).resolve().parents[2] / "pages"


def test_a_parameter_of_the_address_belongs_to_one_file():
    """One name with values of two pages: each would find the other's there and refuse it."""
    files: dict[str, set[str]] = {}
    for path in PAGES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            given = {k.arg: k.value.value for k in getattr(node, "keywords", ()) if isinstance(k.value, ast.Constant)}
            if given.get("bind") == "query-params" and "key" in given:
                files.setdefault(given["key"], set()).add(path.name)
    assert len(files) > 10
    assert not {key: found for key, found in files.items() if len(found) > 1}


def test_nothing_is_drawn_as_markup():
    script = (PAGES / "parts" / "chips.js").read_text(encoding="utf-8")
    assert not any(
        word in script for word in ("innerHTML", "insertAdjacentHTML", "outerHTML", "document.write", "eval(")
    )
    sources = "".join(path.read_text(encoding="utf-8") for path in PAGES.rglob("*.py"))
    assert "unsafe_allow" not in sources
