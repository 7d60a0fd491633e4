"""What a folder with hundreds of runs costs: listing them, the table of page Runs, and `ctkd runs ls`.

The runs are made up (a config, a status and a few rows of metrics each); each figure is the median of several
calls. The first reading of all runs comes before what a process keeps of finished ones.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from _record import arguments, median_ms, save


def main() -> None:
    """Make the runs, measure and write the table."""
    parser = arguments(__doc__ or "", "many_runs.json")
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()

    from ctkd_core.distill.runs import RunStore

    with tempfile.TemporaryDirectory() as folder:
        _make(Path(folder), args.runs)
        begun = time.perf_counter()
        first = [run.summary() for run in RunStore(folder).list()]
        first_ms = 1000 * (time.perf_counter() - begun)
        assert len(first) == args.runs
        again = median_ms(lambda: [run.summary() for run in RunStore(folder).list()], args.repeats)
        bare = median_ms(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True), args.repeats)
        command = [sys.executable, "-m", "ctkd_core", "runs", "ls", "--json", "--runs-dir", folder]
        listed = median_ms(lambda: subprocess.run(command, check=True, capture_output=True), args.repeats)
    rows = [
        {"work": "list and summarise, first time in a process", "ms": first_ms},
        {"work": "the same again", "ms": again},
        {"work": "ctkd runs ls --json, whole command", "ms": listed},
        {"work": "Python itself, for scale", "ms": bare},
    ]
    save(args.out, rows, runs=args.runs)


def _make(folder: Path, count: int) -> None:
    from ctkd_core.background.status import write_status
    from ctkd_core.distill.config import RunConfig
    from ctkd_core.distill.headline import Headline
    from ctkd_core.distill.runs import RunStore

    store = RunStore(folder)
    for seed in range(count):
        run = store.create(RunConfig(seed=seed, method=("sft", "gold", "sedi")[seed % 3]))
        rows = [{"kind": "train", "step": step, "loss": 3.0 - step / 20} for step in range(1, 21)]
        rows.append({"kind": "eval", "step": 20, "bits_per_byte": 1.5, "held_out": 48})
        metrics = run.dir / "metrics.jsonl"
        metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
        curve = tuple(row["loss"] for row in rows[:-1])
        headline = Headline(2.95, 2.0, 2.0, 1.5, curve=curve, size=metrics.stat().st_size)
        write_status(run.dir, replace(run.status(), state="finished", step=20, headline=headline))


if __name__ == "__main__":
    main()
