"""What an analysis keeps, measures anew, and writes into its README."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments.analyses import cost, readme
from experiments.analyses.records import Anew, kept

FOUND = {
    "claims": [{"claim": "c", "source": "s", "ours": "o", "verdict": "undecided"}],
    "tables": [
        {"title": "T", "columns": ["x"], "rows": [["1|2"]], "note": "N"},
        {"title": "U", "columns": [], "rows": []},
    ],
}


def test_again_makes_each_part_once_more_and_reads_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTKD_HOME", str(tmp_path))
    made: list[int] = []

    def make() -> dict[str, Any]:
        made.append(1)
        return {"n": len(made)}

    assert [kept("a", {"x": 1}, make)["n"] for _ in range(2)] == [1, 1]
    anew = Anew(again=True)
    assert [kept("a", {"x": 1}, make, anew)["n"] for _ in range(2)] == [2, 2]
    assert kept("a", {"x": 1}, make)["n"] == 2
    assert kept("a", {"x": 2}, make)["n"] == 3


def test_claims_and_tables_go_between_the_marks(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n", encoding="utf-8")
    readme.write(path, FOUND)
    text = path.read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith(f"{readme.END}\nafter\n") and "old" not in text
    assert "| c | s | o | undecided |" in text and "### T\n\nN\n\n| x |\n| --- |\n| 1/2 |\n\n### U" in text


def test_an_analysis_without_claims_has_no_heading_for_them() -> None:
    assert readme.rendered({"tables": FOUND["tables"]}).startswith("### T")
    assert readme.rendered({}) == ""


def test_what_a_step_costs_says_where_it_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "measure", lambda config: {"cpu_seconds": 1.0, "first": 2.0, "peak_mib": 3.0})
    found = cost.run(None, lambda text: None)
    assert found["environment"]["packages"] and found["seeds"] == [0]
    assert found["command"] == "make evidence NAME=cost"
    assert len(found["tables"]) == len(cost.PAIRS)
