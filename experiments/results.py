"""What an experiment's runs came to: `experiments/NAME/results.json`, one record a run, written by no hand."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctkd_core import files
from ctkd_core.distill.comparison.figures import figures_in
from ctkd_core.distill.runs import Run
from experiments.definition import Experiment, ExperimentError, Planned

VERSION = 1
_ASIDE = ("teacher", "bytes_by_", "arithmetic_counts")  # of the figures: kept once, or weights
_CURVE = ("bits_per_byte", "bits_by_domain", "mass_by_class", "arithmetic", "exposure", "agreement")


def path_of(experiment: Experiment) -> Path:
    """Where an experiment's results lie."""
    return experiment.folder / "results.json"


def read(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """The records by key; {} where nothing was run. Raises ExperimentError for a file that holds something else."""
    path = path_of(experiment)
    if not path.exists():
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return {record["key"]: record for record in document["runs"]}
    except (OSError, ValueError, TypeError, KeyError) as fault:
        raise ExperimentError(f"{path.name} of {experiment.name} can't be read ({fault}); remove it.") from None


def write(experiment: Experiment, records: Mapping[str, Mapping[str, Any]]) -> None:
    """Replace the results file as a whole; records in the order of condition, seed and label."""
    order = {condition.name: k for k, condition in enumerate(experiment.conditions)}
    runs = sorted(records.values(), key=lambda r: (order.get(r["condition"], 99), r["seed"], r["label"]))
    document = {"version": VERSION, "experiment": experiment.name, "runs": runs}
    files.write_atomic(path_of(experiment), json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def record_of(planned: Planned, run: Run, cpu_seconds: float, seconds: float, command: str) -> dict[str, Any]:
    """What is kept of a finished run: its figures, its curve, what it cost, and everything to do it again.

    `seconds` and `cpu_seconds`: of the whole run, loading and measuring included.
    """
    rows = list(run.metric_rows())
    environment = json.loads((run.dir / "env.json").read_text(encoding="utf-8"))
    evaluations = [row for row in rows if row.get("kind") == "eval"]
    spent = 0.0
    curve = []
    for row in rows:
        if row.get("kind") == "train":
            spent += float(row.get("seconds") or 0.0)
        elif row.get("kind") == "eval":
            figures = {key: row[key] for key in _CURVE if key in row}
            curve.append({"step": row["step"], "training_seconds": round(spent, 2)} | figures)
    first = evaluations[0] if evaluations else {}
    teacher = {key: value for key, value in first.items() if key.startswith("teacher")}
    config = planned.config.to_dict()
    for key in ("data", "eval_data"):  # where files lie on one machine says nothing to others
        if config.get(key):
            config[key] = Path(config[key]).name
    return {
        "key": planned.key,
        "condition": planned.condition.name,
        "label": planned.label,
        "method": planned.config.method,
        "seed": planned.seed,
        "figures": {name: value for name, value in figures_in(rows).items() if not name.startswith(_ASIDE)},
        "teacher": teacher,
        "curve": curve,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "run": run.id,
        "config": config,
        "command": command,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "environment": {
            key: environment.get(key)
            for key in ("revision", "ctkd_core", "python", "platform", "device", "device_name", "cpu_cores", "packages")
        },
    }
