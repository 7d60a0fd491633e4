"""The share of the gap between plain fine-tuning and the teacher that a distilled student has closed. Loads no torch.

    (SFT - run) / (SFT - teacher)

of bits per byte: 0 is what fine-tuning on the same data gives, 1 is the teacher, below 0 is worse than fine-tuning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import mean
from typing import Any

# What two runs must have in common for the one without a teacher to be the other's baseline.
SAME = ("student", "teacher", "student_model", "student_path", "data", "eval_data", "eval_share", "steps")
BASELINE = "sft"


def share_closed(sft: float | None, run: float | None, teacher: float | None) -> float | None:
    """(SFT - run) / (SFT - teacher), where less is better; None where a figure is missing or there is no gap."""
    if sft is None or run is None or teacher is None or not sft - teacher > 0:
        return None
    return (sft - run) / (sft - teacher)


def shares_closed(
    sft: Mapping[str, float], run: Mapping[str, float], teacher: Mapping[str, float]
) -> dict[str, float | None]:
    """`share_closed` of each domain or class that all three have."""
    return {name: share_closed(sft[name], run[name], teacher[name]) for name in run if name in sft and name in teacher}


def gaps_closed(summaries: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
    """For each run that isn't SFT itself: the share that it closed, against the SFT runs among them.

    summaries: `Run.summary()` of each. The baseline is the SFT run of the same pair, student model, data, steps and
    seed; where no seed fits, the mean of those of other seeds. None where there is no baseline or no gap.
    """
    rows = list(summaries)
    found = {}
    for row in rows:
        if row.get("method") == BASELINE:
            continue
        fitting = [r for r in rows if r.get("method") == BASELINE and all(r.get(k) == row.get(k) for k in SAME)]
        fitting = [r for r in fitting if r.get("seed") == row.get("seed")] or fitting
        values = [v for r in fitting if (v := _figure(r, "bits_per_byte_after")) is not None]
        sft = mean(values) if values else None
        found[str(row["run_id"])] = share_closed(
            sft, _figure(row, "bits_per_byte_after"), _figure(row, "teacher_bits_per_byte")
        )
    return found


def _figure(row: Mapping[str, Any], name: str) -> float | None:
    value = (row.get("metrics") or {}).get(name)
    return None if value is None else float(value)
