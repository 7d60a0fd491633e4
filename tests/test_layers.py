"""The order of the packages: who lies above whom, no circle anywhere, and tests that lie as the sources lie.

Imports inside functions count; those in `TYPE_CHECKING` blocks don't, because nothing is loaded for them.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "ctkd_core"

# Low to high. A module imports from its own line or a lower one, never from a higher one.
ORDER = (
    ("errors", "files", "markup"),
    ("background", "tokenizers", "methods"),
    ("alignment",),
    ("vocabulary",),
    ("losses", "pair"),
    ("distill",),
    ("lab",),
    ("figures",),
    ("cli",),
    ("pages",),
)
# Their names resolve on first use, so they stand above everything they name and below nothing.
ENTRIES = {"ctkd_core", "ctkd_core.__main__"}
MOST_ROOT_ENTRIES = 16

Graph = dict[str, set[str]]


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


SOURCES = {
    dotted(path): path for folder in (CORE, ROOT / "pages") for path in sorted(folder.rglob("*.py")) if path.is_file()
}


def imports_of(tree: ast.AST, known: set[str]) -> set[str]:
    """Modules of `known` that the code imports, at whatever depth it does so."""
    found: set[str] = set()
    if isinstance(tree, ast.If) and ast.unparse(tree.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
        return set().union(*(imports_of(node, known) for node in tree.orelse), set())
    if isinstance(tree, ast.Import):
        found |= {alias.name for alias in tree.names}
    if isinstance(tree, ast.ImportFrom) and tree.module:  # none is relative, see `unseen_imports`
        names = {f"{tree.module}.{alias.name}" for alias in tree.names}
        found |= {full if full in known else tree.module for full in names}
    for node in ast.iter_child_nodes(tree):
        found |= imports_of(node, known)
    return found & known


def unseen_imports(tree: ast.AST, known: set[str]) -> set[str]:
    """Imports that `imports_of` can't place: relative ones, and public names, which load a module of any height."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {alias.name for alias in node.names if not alias.asname}
            # It binds the package, through which every public name can be had.
            found |= {f"import {name}" for name in names if name.split(".")[0] == "ctkd_core"}
            found |= {"import ctkd_core" for alias in node.names if alias.name == "ctkd_core"}
        if isinstance(node, ast.ImportFrom) and node.level:
            found.add(ast.unparse(node))
        if isinstance(node, ast.ImportFrom) and node.module == "ctkd_core" and not node.level:
            names = {alias.name for alias in node.names if f"ctkd_core.{alias.name}" not in known}
            found |= {f"from ctkd_core import {name}" for name in names - {"__version__"}}
    return found


@cache
def graph() -> Graph:
    known = set(SOURCES)
    return {
        name: imports_of(ast.parse(path.read_text(encoding="utf-8")), known) - {name} for name, path in SOURCES.items()
    }


def package_of(module: str) -> str:
    parts = module.split(".")
    return "pages" if parts[0] == "pages" else parts[1] if len(parts) > 1 else "ctkd_core"


def circles(edges: Graph) -> list[list[str]]:
    """Groups of nodes that reach each other."""
    import networkx as nx

    whole = nx.DiGraph([(a, b) for a, targets in edges.items() for b in targets])
    return [sorted(group) for group in nx.strongly_connected_components(whole) if len(group) > 1]


def level_of(module: str) -> int:
    return next(k for k, line in enumerate(ORDER) if package_of(module) in line)


def test_every_package_has_its_place_in_the_order() -> None:
    placed = {name for line in ORDER for name in line}
    assert {package_of(name) for name in SOURCES if name not in ENTRIES} == placed


def test_nothing_imports_upwards() -> None:
    for module in SOURCES.keys() - ENTRIES:
        upwards = {t for t in graph()[module] if t not in ENTRIES and level_of(t) > level_of(module)}
        assert not upwards, f"{module} imports from above: {sorted(upwards)}"
        assert "ctkd_core.__main__" not in graph()[module], module


def test_every_import_can_be_placed() -> None:
    for module, path in SOURCES.items():
        if package_of(module) != "pages" and module not in ENTRIES:
            unseen = unseen_imports(ast.parse(path.read_text(encoding="utf-8")), set(SOURCES))
            assert not unseen, f"{module}: {sorted(unseen)}; import from the module that holds the name"


def test_no_circle_between_modules() -> None:
    assert not circles(graph())


def test_no_circle_between_packages() -> None:
    between: Graph = {}
    for module, targets in graph().items():
        inner = {package_of(t) for t in targets if t not in ENTRIES} - {package_of(module)}
        between.setdefault(package_of(module), set()).update(inner)
    assert not circles(between)


def test_no_circle_between_the_folders_of_losses() -> None:
    """kernels < engine < base, batch < parts < families and released < views."""
    places = ("kernels", "engine", "parts", "released", "views")
    for module, targets in graph().items():
        own = module.split(".")
        if own[:2] != ["ctkd_core", "losses"] or len(own) < 4:
            continue
        for target in targets:
            other = target.split(".")
            if other[:2] == own[:2] and len(other) > 3 and other[2] in places:
                assert places.index(other[2]) <= places.index(own[2]), f"{module} imports {target}"


def test_pages_import_no_command_line() -> None:
    assert not [n for n, targets in graph().items() if package_of(n) == "pages" for t in targets if ".cli" in t]


def test_the_root_stays_small() -> None:
    entries = [p.name for p in CORE.iterdir() if not p.name.startswith(("__pycache__", "."))]
    assert len(entries) <= MOST_ROOT_ENTRIES, sorted(entries)


# Who else moves a file or makes a folder with a random name, and why it isn't `files.replacing`.
MOVES = {
    "ctkd_core.distill.checkpoints: .replace": "a checkpoint moves into the name that `files.replacing` gave",
    "ctkd_core.distill.exports.folder: .replace": "its files move one by one; others in the folder stay",
    "ctkd_core.distill.models.gemma.packages: .replace": "pip has written the whole file, whose hash it has compared",
}


def moves_in(tree: ast.AST) -> set[str]:
    """How the code gives a file another name: `Path.rename` and `Path.replace` take one argument, other ones don't."""
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        alone = len(node.args) == 1 and not node.keywords
        if name in {"os.rename", "os.renames", "os.replace", "shutil.move"} or name.endswith("mkdtemp"):
            found.add(name)
        elif isinstance(node.func, ast.Attribute) and node.func.attr in {"rename", "replace"} and alone:
            found.add(f".{node.func.attr}")
    return found


def test_one_way_to_replace_a_file() -> None:
    found = {
        f"{module}: {how}"
        for module, path in SOURCES.items()
        if package_of(module) != "files"
        for how in moves_in(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == set(MOVES), "use `files.replacing`, or say in MOVES why not"


def test_moves_would_be_seen() -> None:
    code = "import os, tempfile\nos.replace(a, b)\ntempfile.mkdtemp()\npart.rename(place)\npart.replace(place)\n"
    assert moves_in(ast.parse(code)) == {"os.replace", "tempfile.mkdtemp", ".rename", ".replace"}
    assert not moves_in(ast.parse("text.replace('a', 'b')\nconfig.replace(seed=1)\nframe.rename(columns=names)\n"))


def test_a_circle_and_an_upward_import_would_be_seen() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    code = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import b\ndef f():\n    from a import c\n"
    assert imports_of(ast.parse(code), {"a", "a.c", "b"}) == {"a.c"}
    assert imports_of(ast.parse("if not TYPE_CHECKING:\n    import b\nelse:\n    import c\n"), {"b", "c"}) == {"b", "c"}
    assert imports_of(ast.parse("if TYPE_CHECKING:\n    import b\nelse:\n    import c\n"), {"b", "c"}) == {"c"}
    assert imports_of(ast.parse("if TYPE_CHECKING or here:\n    import b\n"), {"b"}) == {"b"}
    assert imports_of(ast.parse("import typing\nif typing.TYPE_CHECKING:\n    import b\n"), {"b"}) == set()
    assert level_of("pages.parts.state") > level_of("ctkd_core.cli.main") > level_of("ctkd_core.errors")


def test_an_import_that_cannot_be_placed_would_be_seen() -> None:
    known = {"ctkd_core", "ctkd_core.files", "ctkd_core.files.kept"}

    def unseen(code: str) -> set[str]:
        return unseen_imports(ast.parse(code), known)

    for code in ("from . import kept", "from .kept import x", "def f():\n    from .. import align"):
        assert unseen(code) == {code.split("\n")[-1].strip()}
    assert unseen("from ctkd_core import align, files") == {"from ctkd_core import align"}
    assert unseen("def f():\n    from ctkd_core import *") == {"from ctkd_core import *"}
    for code in ("import ctkd_core", "import ctkd_core as c", "import ctkd_core.files"):
        assert unseen(code), code
    for code in (
        "from ctkd_core import __version__, files",
        "from ctkd_core.files import kept",
        "import ctkd_core.files as f",
    ):
        assert not unseen(code), code


TESTS = sorted(p.relative_to(ROOT / "tests") for p in (ROOT / "tests").rglob("test_*.py"))
# Tests of no single module: the file and why it is one. Those at the top are about the repository as a whole.
OF_MANY = {
    "alignment/test_align.py": "what every aligner owes to `align`, which is the package's own",
    "cli/test_machine.py": "doctor, prepare and app: what they find on this machine",
    "cli/test_runs_export.py": "runs export, whose tests would make those of `runs` too long",
    "cli/test_terminal.py": "what a person sees: escapes, widths, completion, progress, in every command",
    "cli/test_process.py": "the program through the operating system",
    "distill/test_archive.py": "archived runs, from the list to the folder",
    "distill/test_attempts.py": "attempts of one run: launched twice, resumed, damaged checkpoints",
    "distill/test_damage.py": "damaged run folders, in list, pages and command line",
    "distill/test_bundled.py": "the bundled teacher, for real",
    "losses/test_common.py": "what every loss must do",
    "losses/test_devices.py": "every loss on a pretended device",
    "losses/test_real.py": "losses on the real pair",
    "pages/test_align_views.py": "page Align beyond the first look",
    "pages/test_imports.py": "what opening any page imports",
    "pages/test_rules.py": "rules of all pages",
    "vocabulary/test_maps.py": "what every map owes to `project`, which is the package's own",
    "losses/test_label_gaps.py": "labels with gaps, in every loss",
    "losses/test_variants.py": "options that a variant reads or refuses, in every loss and aligner",
    "vocabulary/test_matches.py": "what counts as an equal token, in every map",
}


def home_of(test: Path) -> list[Path]:
    """The module or package that a test file is named after, wherever it would lie.

    tests/files/test_files.py is about the package itself: what ctkd_core/files/__init__.py holds.
    """
    base = ROOT if test.parts[0] in {"pages", "experiments"} else CORE
    module = base / test.parent / test.name.removeprefix("test_")
    own = [base / test.parent / "__init__.py"] if module.stem == test.parent.name else []
    return [path for path in (module, module.with_suffix(""), *own) if path.exists()]


def test_tests_lie_as_the_sources_lie() -> None:
    """tests/losses/test_gold.py is about ctkd_core/losses/gold.py, tests/pages/test_align.py about pages/align.py.

    `browser` drives the pages, `golden` replays reference facts, and files at the top are about the repository.
    """
    assert TESTS
    for test in TESTS:
        if test.parent.parts and test.parts[0] not in {"browser", "golden"} and str(test) not in OF_MANY:
            assert home_of(test), f"there is no module that tests/{test} is named after; move it or say why in OF_MANY"
        if not test.parent.parts:
            assert not home_of(test), f"tests/{test} is named after a part of ctkd_core; move it to where that lies"


def test_exceptions_are_files_without_a_home() -> None:
    for name in OF_MANY:
        assert (ROOT / "tests" / name).is_file(), f"tests/{name} is gone; take it out of OF_MANY"
        assert not home_of(Path(name)), f"tests/{name} has a home; take it out of OF_MANY"
