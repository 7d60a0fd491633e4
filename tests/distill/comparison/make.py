"""Runs as workers leave them, without training any."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from ctkd_core.background.status import write_status
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.runs import Run, RunStore

SAMPLE = {"prompt": "2 + 2?", "reference": "4", "teacher": "four"}


def made(store: RunStore, bits: float | None = 2.0, steps: int = 4, answer: str = "5", **changes: Any) -> Run:
    """A finished run whose bits per byte after its last step are `bits`; its loss falls from 5 by 1 a step."""
    run = store.create(RunConfig(**{"steps": steps, "device": "cpu"} | changes))
    rows: list[dict[str, Any]] = [{"kind": "eval", "step": 0, "time": 0.0, "bits_per_byte": 3.0}]
    rows += [
        {
            "kind": "train",
            "step": k,
            "time": float(k),
            "loss": 5.0 - k,
            "terms": {"ce": 1.0},
            "seconds": 0.5,
            "tokens_per_second": 100.0,
        }
        for k in range(1, steps + 1)
    ]
    if bits is not None:
        rows.append({"kind": "eval", "step": steps, "time": 9.0, "bits_per_byte": bits, "teacher_bits_per_byte": 1.0})
    (run.dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run.dir / "samples.jsonl").write_text(json.dumps(SAMPLE | {"step": steps, "student": answer}) + "\n")
    write_status(run.dir, replace(run.status(), state="finished", step=steps))
    return run


def in_processes(run: Run, number: int | None) -> Run:
    """The run, as so many processes train it; None: as older versions left it."""
    write_status(run.dir, replace(run.status(), processes=number))
    return run
