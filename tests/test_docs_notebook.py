"""The notebook in docs: stored without outputs, linked, and every cell of it works offline."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
PATH = ROOT / "docs" / "walk-a-pair.ipynb"
CELL_SECONDS = 900  # a short run, on a machine ten times busier than this one

SHORTER = {"steps=6,": "steps=2,", "eval_samples=4,": "eval_samples=1,"}


def book() -> nbformat.NotebookNode:
    return nbformat.read(PATH, as_version=4)


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
def test_every_cell_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    (run,) = (tmp_path / "runs").iterdir()
    assert (run / "status.json").is_file()
    nbformat.write(done, tmp_path / "done.ipynb")
