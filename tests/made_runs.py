"""Run folders written by hand: what pages show of runs, without training any."""

from __future__ import annotations

import json
from pathlib import Path

from ctkd_core.background.status import write_status
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.runs import Run, RunStore
from ctkd_core.distill.status import RunStatus


def made(state: str = "finished", steps: int = 10, root: Path | None = None, **changes: object) -> Run:
    """A run with a curve, a sample and a log; in `root`, or where runs are kept."""
    run = RunStore(root).create(RunConfig(steps=steps, **changes))
    rows = [{"kind": "eval", "step": 0, "time": 1.0, "bits_per_byte": 2.5, "teacher_bits_per_byte": 0.9}]
    rows += [
        {
            "kind": "train",
            "step": k,
            "time": 1.0 + k,
            "loss": 5 - k / 10,
            "terms": {"ce": 3.0},
            "by_kind": {"1-1": 3.0, "1-n": 1.0},
        }
        for k in range(1, steps + 1)
    ]
    rows.append({"kind": "eval", "step": steps, "time": 20.0, "bits_per_byte": 1.75})
    (run.dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sample = {"step": steps, "prompt": "2 + 2?", "reference": "4", "teacher": "four", "student": "<b>5</b>"}
    (run.dir / "samples.jsonl").write_text(json.dumps(sample) + "\n")
    (run.dir / "log.txt").write_text("first line\nlast line\n")
    write_status(run.dir, RunStatus(state=state, step=steps, total_steps=steps, created=1.0, started=2.0, ended=30.0))
    return run
