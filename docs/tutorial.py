"""Writes docs/walk-a-pair.md, the notebook beside it with what its cells print: `python docs/tutorial.py`.

The notebook is stored without outputs, so that it shows changes of its own alone; this page is for reading. A test
holds text and code of both together, and runs the cells. It takes two minutes, and needs the extra `dev`.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import nbformat  # noqa: E402

from ctkd_core.files import cache_dir  # noqa: E402
from ctkd_core.markup import blocks  # noqa: E402

NOTEBOOK, PAGE, STYLE = HERE / "walk-a-pair.ipynb", HERE / "walk-a-pair.md", HERE / "cards.css"
CELL_SECONDS = 1800
OUTPUT = re.compile(r"<!-- output of ([\w-]+) -->\n.*?\n<!-- output: end -->\n\n", re.S)
_ABOUT = (
    "This page is [the notebook](walk-a-pair.ipynb) as it was run; take the file to run it yourself. "
    "Seconds, and the last\ndigits of losses, differ from machine to machine."
)


def book() -> Any:
    """The notebook as it is stored."""
    return nbformat.read(NOTEBOOK, as_version=4)


def executed() -> Any:
    """The notebook with outputs, in a home of its own that shares this machine's conversions."""
    from nbclient import NotebookClient

    found = book()
    with TemporaryDirectory() as folder:
        cache_dir().mkdir(parents=True, exist_ok=True)
        Path(folder, "cache").symlink_to(cache_dir())
        os.environ |= {"CTKD_HOME": folder, "PYTHONPATH": str(HERE.parent), "HF_HUB_OFFLINE": "1"}
        NotebookClient(found, timeout=CELL_SECONDS, resources={"metadata": {"path": folder}}).execute()
    return found


def page(found: Any) -> str:
    """A notebook as Markdown: its text, its code, and under each cell what it shows, if it was run."""
    parts = []
    for number, cell in enumerate(found.cells):
        if cell.cell_type == "markdown":
            parts.append(f"{cell.source}\n\n" + ("" if number else f"{_ABOUT}\n\n"))
            continue
        code = "\n".join(line for line in cell.source.splitlines() if not line.startswith("%%"))
        parts.append(f"```python\n{code}\n```\n\n")
        if shown := output(cell):
            parts.append(f"<!-- output of {cell.id} -->\n{shown}\n<!-- output: end -->\n\n")
    return "".join(parts).rstrip("\n") + "\n"


def output(cell: Any) -> str:
    """What a cell shows: cards as they are, without the style that all share, anything else as text."""
    parts = []
    for one in cell.get("outputs", ()):
        html = one.get("data", {}).get("text/html", "")
        plain = one.get("text", "") or one.get("data", {}).get("text/plain", "")
        if "ctkd-card" in html:
            card = re.sub(r"<style>.*?</style>", "", html, flags=re.S)
            card = re.sub(r"<tr><td>folder</td>.*?</tr>", "", card)  # of a home that is gone
            parts.append("\n".join(line.rstrip() for line in card.splitlines() if line.strip()))
        else:
            lines = "\n".join(line.rstrip() for line in plain.rstrip("\n").splitlines())
            parts.append(f"```text\n{lines}\n```")
    return "\n\n".join(parts)


def without_outputs(text: str) -> str:
    """The page with its text and code alone."""
    return OUTPUT.sub("", text)


def outputs(text: str) -> dict[str, str]:
    """What each cell shows on the page."""
    return {found[1]: found[0] for found in OUTPUT.finditer(text)}


def stylesheet() -> str:
    """The style of all cards, light as the site is."""
    return (
        f"/* Written by docs/tutorial.py. */\n{blocks.STYLE.strip()}\n{blocks._CARD_STYLE.strip()}\n"
        ".ctkd{color-scheme:light}\n.ctkd-card{margin:0 0 1em}\n"
    )


def main() -> None:
    """Run the notebook and write both files."""
    PAGE.write_text(page(executed()), encoding="utf-8")
    STYLE.write_text(stylesheet(), encoding="utf-8")
    print(f"{PAGE.name} {STYLE.name}")


if __name__ == "__main__":
    main()
