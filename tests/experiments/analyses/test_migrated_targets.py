"""Verdicts on what is published of converted targets."""

from __future__ import annotations

import pytest

from experiments.analyses import migrated_targets as migrated
from experiments.analyses.intervals import Interval

ABOVE, BELOW, OPEN = Interval(0.97, 0.96, 0.98), Interval(0.9, 0.89, 0.91), Interval(0.95, 0.94, 0.96)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ([ABOVE] * 3, "reproduced"),
        ([ABOVE, ABOVE, OPEN], "reproduced"),
        ([OPEN] * 3, "undecided"),
        ([ABOVE, OPEN, OPEN], "undecided"),
        ([ABOVE, ABOVE, BELOW], "undecided"),
        ([BELOW] * 3, "contradicted"),
    ],
)
def test_a_published_figure_is_reached_by_whole_intervals(found: list[Interval], verdict: str) -> None:
    assert migrated._published("", found)["verdict"] == verdict


def counts(language: str) -> dict[str, object]:
    methods = {name: [8, 6] for name in migrated.METHODS}
    return {"language": language, "rows": 10, "teacher_tokens": 9, "common": [8, 6, 6, 6], "repaired": 8} | methods


def test_what_is_so_by_construction_is_a_note_and_no_claim() -> None:
    asked = counts("en") | {
        "candidates": 5,
        "dropped": 1,
        "written": 4,
        "collided": 1,
        "mass": 1.0,
        "matched_mass": 0.5,
    }
    records = {("a", "b"): {"conversion": [counts("en")], "prediction": [asked]}}
    assert not any("replaced" in claim["claim"] for claim in migrated.claims_of(records))
    notes = [table["note"] for table in migrated.tables_of(records) if table["title"].startswith("The same")]
    assert len(notes) == 2 and all("by construction" in note for note in notes)


def test_what_is_kept_depends_on_alignments_and_tokenizers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrated, "fingerprints", lambda pair: ["x", "y"])
    keys = [str(migrated.depends(("a", "b"), "conversion", []))]
    monkeypatch.setitem(migrated.ALIGNMENTS, "cdm", {"method": "cdm", "band": 3})
    keys.append(str(migrated.depends(("a", "b"), "conversion", [])))
    monkeypatch.setattr(migrated, "fingerprints", lambda pair: ["x", "z"])
    keys.append(str(migrated.depends(("a", "b"), "conversion", [])))
    assert len(set(keys)) == 3
