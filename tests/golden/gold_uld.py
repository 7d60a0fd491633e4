"""Replay of tests/golden/gold_uld.json: byte groups here, losses and merged rows in `golden_gold_losses`."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from ctkd_core.alignment.released.gold import end_boundary_walk


def replay(case: dict[str, Any]) -> dict[str, Any]:
    """The results of one case, by the keys of the file."""
    if case["kind"] == "byte_alignment":
        return {"rows": [_row(row) for row in case["rows"]]}
    from tests.golden import gold_losses as golden_gold_losses  # brings torch

    return golden_gold_losses.replay(case)


def _row(row: dict[str, Any]) -> dict[str, Any]:
    groups = end_boundary_walk(*(_spans(row[f"{side}_byte_lengths"]) for side in ("student", "teacher")))
    return {"student_groups": [s for s, _ in groups], "teacher_groups": [t for _, t in groups]}


def _spans(lengths: list[int]) -> list[tuple[int, int]]:
    return [(end - length, end) for end, length in zip(accumulate(lengths), lengths)]
