"""Import rules and the shape of the repository: who may import whom, and what an import may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORE = sorted((ROOT / "ctkd_core").rglob("*.py"))
PAGES = sorted([*ROOT.glob("app.py"), *(ROOT / "pages").rglob("*.py")])
HEAVY = {"torch", "transformers", "streamlit", "plotly", "numba", "scipy", "pandas", "tokenizers", "accelerate"}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of a file, which several rules read; none changes it."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imported(path: Path) -> frozenset[str]:
    """First names of the modules that a file imports (TYPE_CHECKING blocks don't count)."""
    tree = parsed(path)
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped.update(child for part in node.body for child in ast.walk(part))
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return frozenset(found)


# The files of ctkd_core/vocabulary that are for torch and are imported where it is needed only.
TORCH_FILES = {"learnable.py", "torch_file.py"}


def loaded_by(statement: str) -> set[str]:
    """First names of all modules in sys.modules after `statement` in a fresh interpreter."""
    code = f"import sys\n{statement}\nprint(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.splitlines()[-1].split())


# A rule of all files is one test that names those which break it: a test for each would be thousands.


def importing(paths: list[Path], forbidden: set[str]) -> dict[str, set[str]]:
    """Files that import any of these modules, and which."""
    assert paths
    return {name(path): found for path in paths if (found := set(imported(path) & forbidden))}


def test_core_never_imports_streamlit() -> None:
    assert not importing(CORE, {"streamlit"})


def test_only_figures_import_plotly() -> None:
    figures = ROOT / "ctkd_core" / "figures"
    assert importing([p for p in CORE if p.is_relative_to(figures)], {"plotly"})
    assert not importing([p for p in CORE if not p.is_relative_to(figures)], {"plotly"})


def test_alignment_and_vocabulary_import_no_torch() -> None:
    paths = [p for p in CORE if {"alignment", "vocabulary"} & set(p.parts) or p.name in {"encoding.py", "metrics.py"}]
    of_torch = [p for p in paths if p.parent.name == "vocabulary" and p.name in TORCH_FILES]
    assert not importing(of_torch, {"transformers"})
    assert not importing([p for p in paths if p not in of_torch], {"torch", "transformers"})


def test_pages_hold_no_maths() -> None:
    assert not importing(PAGES, {"numpy", "torch", "transformers", "scipy", "numba", "plotly"})


def test_no_pickle_and_no_remote_code() -> None:
    assert not importing(CORE, {"pickle", "marshal", "shelve", "dill", "joblib"})
    for path in CORE:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                assert isinstance(node.value, ast.Constant), name(path)
                assert node.value.value is False, name(path)


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import ctkd_core", HEAVY | {"numpy"}),
        ("import ctkd_core.cli.main, ctkd_core.cli.methods, ctkd_core.cli.losses", HEAVY | {"numpy"}),
        ("import ctkd_core.tokenizers.catalog", HEAVY | {"numpy"}),
        ("import ctkd_core; ctkd_core.align", {"torch", "transformers", "streamlit", "plotly", "pandas"}),
        ("import ctkd_core; ctkd_core.load_tokenizer", {"torch", "transformers", "streamlit", "plotly", "pandas"}),
        ("import ctkd_core; ctkd_core.project", {"torch", "transformers", "streamlit", "plotly"}),
        ("import ctkd_core.vocabulary.store, ctkd_core.vocabulary.export", {"torch", "transformers", "streamlit"}),
        ("import ctkd_core; ctkd_core.RunStore, ctkd_core.RunConfig", {"torch", "transformers", "streamlit"}),
        ("import ctkd_core; ctkd_core.distill", {"torch", "transformers", "streamlit"}),
        ("import ctkd_core.distill.checkup", {"torch", "transformers", "streamlit", "plotly"}),
    ],
)
def test_import_loads_nothing_heavy(statement: str, forbidden: set[str]) -> None:
    assert not loaded_by(statement) & forbidden


def test_using_an_alignment_loads_no_torch() -> None:
    statement = (
        "import ctkd_core as c; s = c.load_tokenizer('deepseek'); t = c.load_tokenizer('smollm2'); "
        "[c.align('a 2024', student=s, teacher=t, method=m).metrics() for m in ('sedi', 'cdm', 'uld')]"
    )
    assert not loaded_by(statement) & {"torch", "transformers", "streamlit", "plotly"}


def test_every_export_resolves() -> None:
    import ctkd_core

    for exported in ctkd_core.__all__:
        assert getattr(ctkd_core, exported) is not None, exported


def test_unknown_export_is_an_attribute_error() -> None:
    import ctkd_core

    with pytest.raises(AttributeError, match="no attribute 'algin'"):
        ctkd_core.algin  # noqa: B018


def test_files_say_what_they_are_about() -> None:
    written = [p for p in (*CORE, *PAGES) if p.read_text(encoding="utf-8").strip()]
    silent = [name(p) for p in written if not ast.get_docstring(parsed(p))]
    assert not silent, "these have no first lines that say what they are about"


def test_project_files_name_no_private_places() -> None:
    """No absolute path of a development machine in anything that ships."""
    private = "/" + "work" + "/"
    kinds = {".py", ".md", ".toml", ".txt", ".yml", ".yaml", ".css", ".js"}
    files = [p for folder in ("ctkd_core", "pages", "docs", "tests", "benchmarks") for p in (ROOT / folder).rglob("*")]
    files += list(ROOT.glob("*"))
    for path in files:
        if path.is_file() and (path.suffix in kinds or path.name == "Makefile") and "__pycache__" not in path.parts:
            assert private not in path.read_text(encoding="utf-8", errors="replace"), name(path)
