"""Rules of the pages: no maths, no heavy imports, token texts never as markup; words of figures."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from ctkd_core.figures.comparison import better_sentence
from ctkd_core.figures.words import ago, change, duration, remaining
from pages.parts.state import plain

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


def test_plain_leaves_no_markdown():
    assert plain("**a** [x](y) <b> $z$ :red[k]") == r"\*\*a\*\* \[x\](y) \<b\> \$z\$ \:red\[k\]"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, ""), (0.4, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (725, "12 min")],
)
def test_durations(seconds, said):
    assert duration(seconds) == said


def test_ages_changes_and_what_is_left():
    assert [ago(100.0, 100.0 + s) for s in (5, 120, 90_000, 400_000)] == [
        "just now",
        "2 min ago",
        "yesterday",
        "4 days ago",
    ]
    assert ago(None) == ""
    assert (change(1.5, 2.0), change(None, 1.0)) == (-0.5, None)
    assert remaining(10, 40, 20.0) == 60.0
    assert remaining(1, 40, 20.0) is None


def _run(method: str, bits: float | None, seed: int = 0) -> dict[str, object]:
    return {"method": method, "steps": 40, "seed": seed, "metrics": {"bits_per_byte_after": bits}}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], ""),
        ([_run("sedi", 1.0)], "Only one kind"),
        (
            [_run("sedi", 1.0), _run("uld", 1.2)],
            "sedi is ahead of uld by 0.200 bits per byte, with 1 and 1 seeds: too few",
        ),
        ([_run("a", 1.0), _run("a", 1.1), _run("b", 1.3), _run("b", 1.4)], "every one of its 2 seeds is better"),
        ([_run("a", 1.0), _run("a", 1.5), _run("b", 1.3), _run("b", 1.4)], "their seeds overlap"),
        ([_run("a", 1.0), _run("b", None)], "Only one kind"),
    ],
)
def test_the_comparison_claims_no_more_than_the_seeds_support(rows, said):
    assert said in better_sentence(rows)
