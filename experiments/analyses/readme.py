"""The part of an experiment's README that repeats its results: written from results.json, typed by no hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctkd_core import files

BEGIN, END = "<!-- written from results.json -->", "<!-- end -->"


def rendered(found: Mapping[str, Any]) -> str:
    """Claims and tables of results.json as Markdown."""
    names = ["claim", "source", "ours", "verdict"]
    claims = [[claim.get(name, "") for name in names] for claim in found.get("claims", [])]
    parts = [["### Claims", *_block(names, claims)]] if claims else []
    for table in found.get("tables", []):
        note = [table["note"]] if table.get("note") else []
        parts.append([f"### {table['title']}", *note, *_block(table["columns"], table["rows"])])
    return "\n\n".join(part for block in parts for part in block)


def write(path: Path, found: Mapping[str, Any]) -> None:
    """Put the results between the marks of the README at `path`; one without marks, or none, is left alone."""
    if not path.exists():
        return
    text = path.read_text(encoding="utf-8")
    before, mark, rest = text.partition(BEGIN)
    if mark:
        files.write_atomic(path, f"{before}{BEGIN}\n\n{rendered(found)}\n\n{END}{rest.partition(END)[2]}")


def _block(columns: list[str], rows: list[list[Any]]) -> list[str]:
    return ["\n".join(_rows(columns, rows))]


def _rows(columns: list[str], rows: list[list[Any]]) -> list[str]:
    cells = [columns, ["---"] * len(columns), *rows]
    return [f"| {' | '.join(str(cell).replace('|', '/') for cell in row)} |" for row in cells]
