"""The notebook in docs: stored without outputs, linked, every cell works offline; its page says the same."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
PATH = ROOT / "docs" / "walk-a-pair.ipynb"
CELL_SECONDS = 900  # a short run, on a machine ten times busier than this one

SHORTER = {"steps=6,": "steps=2,", "eval_samples=4,": "eval_samples=1,"}


def book() -> nbformat.NotebookNode:
    return nbformat.read(PATH, as_version=4)


# Cells whose outputs are the same on every machine; losses and a run's figures aren't, to the last digit.
EXACT = ("load", "teacher", "align", "groups", "several", "compare", "uld", "differ", "project", "explain")
MEND = "run `python docs/tutorial.py`"


@pytest.fixture(scope="module")
def tutorial() -> ModuleType:
    """The program that writes the page."""
    spec = importlib.util.spec_from_file_location("tutorial", ROOT / "docs" / "tutorial.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_has_the_text_and_the_code_of_the_notebook(tutorial: ModuleType) -> None:
    text = tutorial.PAGE.read_text(encoding="utf-8")
    assert tutorial.without_outputs(text) == tutorial.page(book()), MEND
    assert set(EXACT) <= set(tutorial.outputs(text)), MEND
    assert "/tmp" not in text and "<style" not in text
    assert tutorial.STYLE.read_text(encoding="utf-8") == tutorial.stylesheet(), MEND


def test_what_the_page_shows_is_whole(tutorial: ModuleType) -> None:
    for name, shown in tutorial.outputs(tutorial.PAGE.read_text(encoding="utf-8")).items():
        inner = shown.split("\n", 1)[1]
        assert "\n\n" not in inner.partition("<!-- output: end")[0].strip("\n") or "```text" in inner, name
        assert shown.count("<div") == shown.count("</div>"), name


def test_it_is_stored_without_outputs() -> None:
    nbformat.validate(book())
    code = [cell for cell in book().cells if cell.cell_type == "code"]
    assert code
    assert not [cell.id for cell in code if cell.outputs or cell.execution_count]


def test_its_links_lead_somewhere_and_others_link_to_it() -> None:
    texts = "\n".join(cell.source for cell in book().cells if cell.cell_type == "markdown")
    for target in re.findall(r"\]\(([^)#\s]+)\)", texts):
        assert (PATH.parent / target).exists(), target
    for page in ("README.md", "docs/index.md", "mkdocs.yml"):
        assert PATH.name in (ROOT / page).read_text(encoding="utf-8"), page


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.timeout(3 * CELL_SECONDS)
def test_every_cell_works(tutorial: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nbclient import NotebookClient

    from ctkd_core.files import cache_dir

    cache_dir().mkdir(parents=True, exist_ok=True)
    (tmp_path / "cache").symlink_to(cache_dir())  # conversions are made once; the run goes to a home of its own
    monkeypatch.setenv("CTKD_HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))
    done = book()
    distill = next(cell for cell in done.cells if cell.id == "distill")
    for written, shorter in SHORTER.items():  # nearly all of the time is the real teacher's
        assert written in distill.source
        distill.source = distill.source.replace(written, shorter)
    client = NotebookClient(done, timeout=CELL_SECONDS, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()

    def html(cell: str) -> str:
        outputs = next(one for one in done.cells if one.id == cell).outputs
        return "".join(o.data.get("text/html", "") for o in outputs if o.output_type == "execute_result")

    for cell in ("load", "teacher", "align", "uld", "project", "loss", "run"):
        assert "ctkd-card" in html(cell), cell
    assert "finished" in html("run")
    assert html("run").count("<svg") == 2
    (run,) = (tmp_path / "runs").glob("[!.]*")  # beside the locks of devices
    assert (run / "status.json").is_file()
    there, now = (tutorial.outputs(text) for text in (tutorial.PAGE.read_text("utf-8"), tutorial.page(done)))
    assert list(there) == list(now), MEND
    for cell in EXACT:
        assert there[cell] == now[cell], MEND
    nbformat.write(done, tmp_path / "done.ipynb")
