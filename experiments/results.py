"""What an experiment's runs came to: `experiments/NAME/results.json`, written by no hand.

One record a run. A run that another experiment has is kept there alone, and here is a reference: whoever reads gets
that experiment's record under this one's condition and label, so what is run again is new in both.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from ctkd_core import files
from ctkd_core.distill.comparison.figures import figures_in
from ctkd_core.distill.runs import Run
from ctkd_core.files import documents
from ctkd_core.methods.evidence import Claim, Table
from experiments.definition import CURVE, Experiment, ExperimentError, Planned, load, names, texts_of

VERSION = 1
DAMAGED = "Remove it, or take it back from git."
_ASIDE = ("teacher", "bytes_by_", "arithmetic_counts")  # of the figures: kept once, or weights


def path_of(experiment: Experiment) -> Path:
    """Where an experiment's results lie."""
    return experiment.folder / "results.json"


class Record(documents.Document):
    """What must be there of a run; `record_of` makes it."""

    key: str
    condition: str
    label: str
    method: str
    seed: int
    figures: dict[str, float]
    curve: list[dict[str, Any]]
    config: dict[str, Any]
    teacher: dict[str, Any] = Field(default_factory=dict)
    environment: dict[str, Any] = Field(default_factory=dict)
    run: str = ""
    finished: str = ""
    seconds: float | None = None


class Reference(documents.Document):
    """A run that the experiment `of` has under the same key, and the text that was asked for here when it was taken.

    Of bundled sets the hash (`content`) is that of the run: what they held when it read them.
    """

    key: str
    of: str
    condition: str
    label: str
    seed: int
    train: dict[str, Any] | None = None
    held_out: dict[str, Any] | None = None


class Runs(documents.Document):
    """The results of an experiment that trains: its own runs, and those of others that answer its question, too."""

    runs: list[Record]
    shared: list[Reference] = Field(default_factory=list)


class Analysis(documents.Document):
    """The results of an experiment that trains nothing: tables, claims with what was found, and what it took."""

    tables: list[Table] = Field(default_factory=list)
    claims: list[Claim] = Field(default_factory=list)
    environment: dict[str, Any] = Field(default_factory=dict)
    seconds: float = 0.0


def read(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """The records by key, those of other experiments with `of`, whose they are; {} where nothing was run.

    A reference to a run that the other experiment no longer has is passed over: that run is missing here, too. Raises
    ExperimentError for a file that holds something else.
    """
    own, shared = _kept(experiment)
    others = {name: _own(name) for name in {reference["of"] for reference in shared}}
    found = {
        reference["key"]: others[reference["of"]][reference["key"]] | _referring(reference)
        for reference in shared
        if reference["key"] in others[reference["of"]]
    }
    return found | own


def _kept(experiment: Experiment) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """The experiment's own records by key, and its references."""
    document = _document(experiment)
    if document is None or experiment.analysis:
        return {}, []
    documents.fitting(Runs, document, f"results.json of {experiment.name}", ExperimentError, DAMAGED)
    return {record["key"]: record for record in document["runs"]}, document.get("shared", [])


def _referring(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a reference says of its record."""
    return {name: record[name] for name in Reference.model_fields if name in record}


def _own(name: str) -> dict[str, dict[str, Any]]:
    """The own records of an experiment by key; {} where there is none of that name."""
    return _kept(load(name))[0] if name in names() else {}


def of_others(
    experiment: Experiment, wanted: list[Planned], report: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """{key: record} of those runs (config and text) that other experiments have, as `read` gives them.

    A run on a bundled set that was another then isn't taken. Their command, run id and revision stay those of the run.
    Results that can't be read are reported and passed over.
    """
    known: dict[str, tuple[str, dict[str, Any]]] = {}
    for name in names():
        if name != experiment.name:
            try:
                known |= {key: (name, record) for key, record in _own(name).items()}
            except ExperimentError as fault:
                report(str(fault))
    found = {}
    for planned in wanted:
        name, record = known.get(planned.key, ("", None))
        texts = texts_of(planned.condition)
        content = texts.pop("content")
        if record is not None and record.get("content") in (None, content):
            here = {"of": name, "condition": planned.condition.name, "label": planned.label}
            found[planned.key] = record | here | texts
    return found


def read_analysis(experiment: Experiment) -> Analysis | None:
    """What an analysis found; None where it wasn't run. Raises ExperimentError for a file that holds something else."""
    document = _document(experiment)
    if document is None:
        return None
    return documents.fitting(Analysis, document, f"results.json of {experiment.name}", ExperimentError, DAMAGED)


def _document(experiment: Experiment) -> Any:
    path = path_of(experiment)
    return documents.read_json(path, "the results", ExperimentError, DAMAGED) if path.exists() else None


def write_analysis(experiment: Experiment, found: Mapping[str, Any]) -> None:
    """Keep what an analysis gave. Raises ExperimentError where that is something else."""
    document = {"version": VERSION, "experiment": experiment.name, **found}
    documents.fitting(Analysis, document, f"what {experiment.analysis} gives", ExperimentError)
    files.write_atomic(path_of(experiment), json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def write(experiment: Experiment, records: Mapping[str, Mapping[str, Any]]) -> None:
    """Replace the results file as a whole; records in the order of condition, seed and label.

    Of those with `of` the reference alone is kept, and references to what isn't there now stay: it may come back.
    """
    order = {condition.name: k for k, condition in enumerate(experiment.conditions)}
    runs = sorted(records.values(), key=lambda r: (order.get(r["condition"], 99), r["seed"], r["label"]))
    document: dict[str, Any] = {"version": VERSION, "experiment": experiment.name}
    document["runs"] = [record for record in runs if "of" not in record]
    lost = [r for r in _kept(experiment)[1] if r["key"] not in records and r["key"] not in _own(r["of"])]
    shared = [_referring(r) for r in (*(r for r in runs if "of" in r), *lost)]
    if shared:
        document["shared"] = shared
    files.write_atomic(path_of(experiment), json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def held_out_bytes(figures: Mapping[str, float]) -> dict[str, int]:
    """Bytes of held-out text by domain, as far as the figures of a run tell them."""
    start = "bytes_by_domain."
    return {name.removeprefix(start): int(value) for name, value in figures.items() if name.startswith(start)}


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
            figures = {key: row[key] for key in CURVE if key in row}
            curve.append({"step": row["step"], "training_seconds": round(spent, 2)} | figures)
    first = evaluations[0] if evaluations else {}
    teacher = {key: value for key, value in first.items() if key.startswith("teacher")}
    config = planned.config.to_dict()
    for key in ("data", "eval_data"):  # where files lie on one machine says nothing to others
        if config.get(key):
            config[key] = Path(config[key]).name
    figures = figures_in(rows)
    by_domain = held_out_bytes(figures)
    return {
        "key": planned.key,
        "condition": planned.condition.name,
        "label": planned.label,
        "method": planned.config.method,
        "seed": planned.seed,
        "figures": {name: value for name, value in figures.items() if not name.startswith(_ASIDE)},
        "teacher": teacher,
        "curve": curve,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "run": run.id,
        "config": config,
        **texts_of(planned.condition),
        "held_out_bytes": sum(by_domain.values()),
        "held_out_bytes_by_domain": by_domain,
        "command": command,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "environment": {
            key: environment.get(key)
            for key in ("revision", "ctkd_core", "python", "platform", "device", "device_name", "cpu_cores", "packages")
        },
    }
