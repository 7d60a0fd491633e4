"""Writes the lists of methods in the docs from the table of methods: `python docs/lists.py`.

Between a line with `methods: NAME` and the next with `methods: end` stands what this file makes of the rows; a test
compares them. What a list says is changed in the row, or here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from ctkd_core import methods  # noqa: E402
from ctkd_core.methods import METHODS, Method  # noqa: E402

FILES = (HERE / "index.md", HERE / "losses.md", HERE / "teachers.md", HERE.parent / "mkdocs.yml")


def overview() -> list[str]:
    """Every method with its page, whose groups it has and trains on, and its idea."""
    rows = [(link(row), aligns(row), trains(row), row.idea) for row in METHODS.values()]
    return table(("method", "alignment", "trains on", "idea"), rows)


def views() -> list[str]:
    """What page Losses shows of each method."""
    rows = [(row.label, row.view_entries, row.view_lost) for row in methods.training() if row.view]
    return table(("method", "entries of a target", "lost"), rows)


def cached() -> list[str]:
    """What a cached teacher gives to each method that asks one."""
    words = {"no": "no", "exact": "exact at any k", "approximate": "near; exact with k = V"}
    rows = []
    for row in methods.training():
        if row.asks_teacher:
            besides = [f"{v}: {', '.join(row.reads_besides(v)).replace('_', ' ')}" for v in row.also_reads]
            if row.hidden_states_if:
                besides.append(f"hidden states where `{row.hidden_states_if}` is above 0")
            elif "hidden_states" in row.outputs:
                besides.append("hidden states")
            rows.append((link(row), words[row.cached_teacher], "; ".join(besides) or "-"))
    return table(("method", "cached teacher", "reads besides the rows of the answer"), rows)


def navigation() -> list[str]:
    """The pages of the methods, for MkDocs."""
    return [f"      - {row.label}: methods/{row.name}.md" for row in METHODS.values()]


LISTS: dict[str, Callable[[], list[str]]] = {
    "overview": overview,
    "views": views,
    "cached": cached,
    "navigation": navigation,
}


def link(row: Method) -> str:
    """The short name, leading to the method's page."""
    return f"[{row.label}](methods/{row.name}.md)"


def aligns(row: Method) -> str:
    """Whose alignment a method has."""
    if row.alignment_of:
        return f"{METHODS[row.alignment_of].label}'s"
    return "its own" if row.can_align else "-"


def trains(row: Method) -> str:
    """Whose groups a method trains on."""
    if not row.can_train:
        return "-"
    return f"{METHODS[row.groups_of].label}'s groups" if row.groups_of else "its own groups"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """A Markdown table, with the blank lines that it needs around it."""
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *rows)]
    return ["", *lines, ""]


def written(text: str) -> str:
    """`text` with every list as the rows have it now. Raises ValueError for a list that isn't known or doesn't end."""
    found: list[str] = []
    inside = ""
    for line in text.splitlines():
        _, marked, name = line.partition("methods: ")
        name = name.removesuffix("-->").strip()
        if marked and line.lstrip().startswith(("<!--", "#")):
            if (name == "end") != bool(inside) or name not in {*LISTS, "end"}:
                raise ValueError(
                    f"the mark {line.strip()!r} stands in the wrong place, or names no list of {[*LISTS]}."
                )
            found.append(line)
            inside = "" if inside else name
            if inside:
                found += LISTS[inside]()
        elif not inside:
            found.append(line)
    if inside:
        raise ValueError(f"the list {inside!r} has no end.")
    return "\n".join(found) + "\n"


def main() -> None:
    """Write the files anew."""
    for path in FILES:
        path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")
        print(path.name)


if __name__ == "__main__":
    main()
