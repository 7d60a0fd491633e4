"""Samples of several runs side by side: for each prompt what every run answered at its last step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ctkd_core.distill.runs import Run


def side_by_side(runs: Mapping[str, Run], step: int | None = None) -> list[dict[str, Any]]:
    """One row a prompt: `prompt`, `reference`, `teacher`, and the answer of each run under its label.

    `step`: None for each run's last one. A prompt that a run wasn't asked has None there. Raises RunError.
    """
    found: dict[str, dict[str, Any]] = {}
    for label, run in runs.items():
        samples = run.samples()
        last = max((row["step"] for row in samples), default=None) if step is None else step
        for row in samples:
            if row["step"] != last:
                continue
            entry = found.setdefault(
                str(row.get("prompt")),
                {"prompt": row.get("prompt"), "reference": row.get("reference"), "teacher": None} | dict.fromkeys(runs),
            )
            entry["teacher"] = entry["teacher"] or row.get("teacher")
            entry[label] = row.get("student")
    return list(found.values())
