"""The table of losses that benchmarks/README.md shows of results/losses.json, between two comments."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import _tables

from ctkd_core import methods

RESULTS = _tables.ROOT / "benchmarks" / "results" / "losses.json"
PAGE = _tables.ROOT / "benchmarks" / "README.md"
BEGIN, END = "<!-- made by benchmarks/losses.py -->", "<!-- end of what benchmarks/losses.py made -->"
SIZE = "large"
# What a row is called, our case, and the alternative's: for cases with an alternative or of a name of their own. Other
# methods have their row under their own name.
NAMED = (
    ("Cross-entropy", "sft", "torch sft"),
    ("Forward KL", "forward-kl", "torch forward-kl"),
    ("ULD", "uld", "torch uld"),
    ("ULD on groups", "uld-groups", "trl uld-groups"),
    ("GOLD hybrid", "gold", "trl gold"),
    ("X-Token P-KL", "xtoken-pkl", "torch xtoken-pkl"),
    ("X-Token H-KL", "xtoken-hkl", "torch xtoken-hkl"),
    ("ALM without debiasing", "alm-plain", "torch alm-plain"),
    ("ALM", "alm", ""),
    ("DSKD, widths 1,024 and 2,048", "dskd", "torch dskd"),
)
HEAD = ["loss", "time", "times forward KL", "memory", "alternative", "its time", "its memory", "times as long"]


def text(results: Mapping[str, Any]) -> str:
    """One row a loss that was measured: its time beside forward KL taken by turns, and the alternative's."""
    found = {row["case"]: row for row in results["rows"] if row["size"] == SIZE}
    loads = [row["load"][0] for row in found.values() if row.get("load")]
    where = results["environment"]
    conditions = (
        f"{where['device']}, load average {min(loads):.1f} to {max(loads):.1f}; torch {where['versions']['torch']}; "
        f"commit {where['revision']}."
    )
    rows = [_row(name, found[ours], found.get(theirs), theirs) for name, ours, theirs in rows_named() if ours in found]
    return f"{conditions}\n\n{_tables.table(HEAD, rows)}"


def rows_named() -> list[tuple[str, str, str]]:
    """Those of `NAMED`, and behind them every other method that trains; one that isn't measured yet has no row."""
    named = {case for _, case, _ in NAMED}
    others = [(row.label, row.cost_of or row.name, "") for row in methods.training()]
    others = [each for each in others if each[1] not in named]
    return [*NAMED, *others]


def write() -> None:
    """Put the table into its page."""
    page = PAGE.read_text(encoding="utf-8")
    made = text(json.loads(RESULTS.read_text(encoding="utf-8")))
    PAGE.write_text(_tables.placed(page, made, BEGIN, END), encoding="utf-8")


def _row(name: str, ours: Mapping[str, Any], theirs: Mapping[str, Any] | None, program: str) -> list[str]:
    times = f"{ours['times_forward_kl']['median']:.2f}" if "times_forward_kl" in ours else ""
    cells = [name, _tables.seconds(ours["seconds"]), times, _tables.mib(ours["extra_mib"])]
    if theirs is None:
        return [*cells, "", "", "", ""]
    of = "TRL" if program.startswith("trl") else "plain torch"
    ratio = f"{theirs['seconds'] / ours['seconds']:.1f}"
    return [*cells, of, _tables.seconds(theirs["seconds"]), _tables.mib(theirs["extra_mib"]), ratio]
