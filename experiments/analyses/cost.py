"""What a step costs under each method: CPU seconds and peak memory beside fine-tuning, on both real pairs.

Each method trains a few steps in a process of its own, so that its peak memory is its own. CPU seconds are those of all
threads of the step (`cpu_seconds` of metrics.jsonl), which other work on the machine changes, too; the first step,
which builds maps and compiles kernels, is left out and told apart. `python -m experiments.analyses.cost CONFIG` is that
process.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ctkd_core import methods
from experiments.analyses.records import Clock, document

PAIRS: dict[str, dict[str, Any]] = {
    "gemma3-270m teaches smollm2": {
        "student": "smollm2",
        "teacher": "gemma3-270m",
        "student_model": "pretrained",
        "student_path": "smollm2",
        "data": "bundled:languages",
    },
    "smollm2 teaches a student with deepseek's tokenizer": {
        "student": "deepseek",
        "teacher": "smollm2",
        "student_model": "transplant",
        "data": "bundled:languages",
    },
}
STEPS, BATCH, LONGEST = 4, 4, 64
BASE = {
    "steps": STEPS,
    "batch_size": BATCH,
    "max_length": LONGEST,
    "eval_samples": 0,
    "sample_prompts": 0,
    "save_student": False,
    "threads": 1,
    "seed": 0,
}
COLUMNS = ("method", "CPU s a step", "of SFT", "first step, CPU s", "peak MiB", "above SFT, MiB")
BASELINE = "sft"
TIME_LIMIT = 3600  # seconds of one process


def names() -> list[str]:
    """Methods that train between two tokenizers, fine-tuning first."""
    found = [row.name for row in methods.training() if not row.same_tokenizer]
    return [BASELINE, *(name for name in found if name != BASELINE)]


def run(experiment: Any, report: Callable[[str], None]) -> dict[str, Any]:  # noqa: ARG001 - there is nothing to choose
    """Measure every method on both pairs; a method that fails is a row that says so."""
    clock = Clock()
    tables = []
    for title, pair in PAIRS.items():
        measured = {}
        for name in names():
            report(f"cost: {title}, {name}")
            measured[name] = measure({**BASE, **pair, "method": name})
        tables.append(table(title, measured))
    return document("cost", tables, [], [BASE["seed"]], clock())


def table(title: str, measured: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """One row a method, cheapest first; `measured`: what `measure` gave for each."""
    base = measured.get(BASELINE, {})
    rows: list[list[Any]] = []
    for name, found in measured.items():
        if "problem" in found:
            rows.append([name, None, None, None, None, None])
            continue
        cost, peak = found["cpu_seconds"], found["peak_mib"]
        known = "cpu_seconds" in base
        rows.append(
            [
                name,
                round(cost, 3),
                round(cost / base["cpu_seconds"], 2) if known else None,
                round(found["first"], 2),
                round(peak),
                round(peak - base["peak_mib"]) if known else None,
            ]
        )
    rows.sort(key=lambda row: (row[1] is None, row[1] or 0.0))
    failed = [f"{name}: {found['problem']}" for name, found in measured.items() if "problem" in found]
    note = (
        f"{BATCH} samples of at most {LONGEST} tokens, one thread, median of steps 2 to {STEPS}; the teacher's forward "
        f"pass is part of a step. {' '.join(failed)}"
    )
    return {"title": title, "columns": list(COLUMNS), "rows": rows, "note": note.strip()}


def measure(config: dict[str, Any]) -> dict[str, Any]:
    """Train in a process of its own: cpu_seconds a step, first, peak_mib; or problem."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        environment = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "experiments.analyses.cost", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=TIME_LIMIT)
    lines = done.stdout.strip().splitlines()
    try:
        return dict(json.loads(lines[-1]))
    except (IndexError, ValueError):
        return {"problem": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][-200:]}


def main(path: str) -> int:
    """Train as the file says, and print what it cost as one line of JSON."""
    from ctkd_core import RunConfig, RunStore, distill
    from ctkd_core.errors import CtkdError

    with tempfile.TemporaryDirectory() as folder:
        try:
            done = distill(RunConfig.from_dict(json.loads(Path(path).read_text(encoding="utf-8"))), RunStore(folder))
        except CtkdError as fault:
            print(json.dumps({"problem": str(fault)}))
            return 1
        spent = [float(row["cpu_seconds"]) for row in done.metric_rows() if row.get("kind") == "train"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
    found = {"cpu_seconds": statistics.median(spent[1:]), "first": spent[0], "peak_mib": peak}
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
