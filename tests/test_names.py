"""Names: no word that stands for a term of the field without being one, and no two public classes of one name.

Local variables are left alone; what a reader meets elsewhere is looked at: modules, classes, functions, parameters,
fields, constants of modules.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("ctkd_core", "pages", "experiments", "benchmarks")

# Figures of speech: what does such a thing report, predict, show or count? That is its name.
FORBIDDEN = {"hear", "heard", "crowd", "teller", "say", "says", "said", "bench", "lesson", "guide"}

# Public classes of ctkd_core that may share a name, and why.
SHARED = {
    "Difference": "the same figure twice: as `comparison` computes it, and as the file of evidence holds it",
    "Order": "what the process of a job is told; every kind of job has one, which its worker alone reads",
}


def words(name: str) -> set[str]:
    """The words of an identifier, in lower case: `_SaidOfBytes`, `said_of_bytes` are said, of, bytes."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def targets(node: ast.AST) -> Iterator[str]:
    """The names that an assignment gives a value."""
    if isinstance(node, ast.Assign | ast.AnnAssign):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            yield from (found.id for found in ast.walk(target) if isinstance(found, ast.Name))


def defined(tree: ast.Module) -> Iterator[str]:
    """Names that others may meet: all but local variables."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        if isinstance(node, ast.arg):
            yield node.arg
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        if isinstance(node, ast.Module | ast.ClassDef):
            for child in node.body:
                yield from targets(child)


def classes(tree: ast.Module) -> set[str]:
    """Public classes at the top of a module."""
    return {node.name for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")}


def modules(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))


def test_no_figure_of_speech_is_a_name() -> None:
    found = [
        f"{path}: {name}"
        for path, tree in modules(*FOLDERS)
        for name in (*path.with_suffix("").parts, *defined(tree))
        if words(name) & FORBIDDEN
    ]
    assert not found, f"what do these do? Name them after that: {found}"


def test_no_two_public_classes_have_one_name() -> None:
    places = defaultdict(list)
    for path, tree in modules("ctkd_core"):
        for name in classes(tree):
            places[name].append(str(path))
    twice = {name: paths for name, paths in places.items() if len(paths) > 1}
    assert not twice.keys() - SHARED.keys(), {name: twice[name] for name in twice.keys() - SHARED.keys()}
    assert not SHARED.keys() - twice.keys(), "defined once now; take it out of SHARED"


def test_such_names_would_be_seen() -> None:
    code = (
        "class SaidInside:\n    bench: int\n    def f(self, say):\n        self.heard = says = 1\nGUIDE = _crowd = 2\n"
    )
    seen = {name for name in defined(ast.parse(code)) if words(name) & FORBIDDEN}
    assert seen == {"SaidInside", "bench", "say", "heard", "GUIDE", "_crowd"}
    assert not words("BENCHMARKS") & FORBIDDEN
    assert classes(ast.parse("class A: pass\nclass _B: pass\ndef f():\n    class C: pass\n")) == {"A"}
