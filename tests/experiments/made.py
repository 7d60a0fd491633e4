"""A made-up experiment with made-up results, in a folder of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from experiments import definition

YAML = """\
title: A made-up question
question: >-
  Which of the
  two?
minutes: 3
base: {student: deepseek, teacher: smollm2, student_model: transplant, steps: 10, batch_size: 2}
methods:
  sft: {}
  alm: {}
  gold-warm: {method: gold, method_options: {temperature: 2.0}}
seeds: [0, 1, 2]
conditions:
  - name: few
    title: A few samples
    kind: tokenizer transfer
    regime: few samples
    train: {texts: [bundled], count: 4, by_seed: true}
claims:
  - {claim: ALM is ahead., source: ours, condition: few, better: alm, than: sft}
"""


def experiment(
    folder: Path, monkeypatch: pytest.MonkeyPatch, yaml: str = YAML, name: str = "made"
) -> definition.Experiment:
    """An experiment of this YAML; there are none but those made in this folder."""
    monkeypatch.setattr(definition, "ROOT", folder)
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "experiment.yaml").write_text(yaml, encoding="utf-8")
    return definition.load(name)


def record(label: str, seed: int, value: float, **changes: Any) -> dict[str, Any]:
    """A run of condition `few`: its curve goes straight from 2.0 to `value` in ten steps, a second each."""
    method = "gold" if label == "gold-warm" else label
    config = {"method": method, "steps": 10, "batch_size": 2, "seed": seed, "data": "x.jsonl", "name": label}
    return {
        "key": f"{label}{seed}",
        "condition": "few",
        "label": label,
        "method": method,
        "seed": seed,
        "figures": {"bits_per_byte": value, "teacher_bits_per_byte": 1.0, "bits_by_domain.a": value + 0.5}
        | {"training_cpu_seconds": 20.0},
        "teacher": {"teacher_bits_per_byte": 1.0},
        "curve": [
            {"step": 0, "training_seconds": 0.0, "bits_per_byte": 2.0},
            {"step": 2, "training_seconds": 2.0, "bits_per_byte": 2.0 + (value - 2.0) / 5},
            {"step": 5, "training_seconds": 5.0, "bits_per_byte": (2.0 + value) / 2},
            {"step": 10, "training_seconds": 10.0, "bits_per_byte": value},
        ],
        "seconds": 30.0,
        "run": f"run-{label}-{seed}",
        "config": config,
        "finished": f"2026-01-01T00:00:0{seed}Z",
        "environment": {"revision": "abc", "device": "cpu"},
    } | changes


def results(values: Mapping[str, Mapping[int, float]]) -> list[dict[str, Any]]:
    """A record for each value by label and seed."""
    return [record(label, seed, value) for label, by_seed in values.items() for seed, value in by_seed.items()]


def write(made: definition.Experiment, runs: list[dict[str, Any]]) -> None:
    """Keep these records as its results."""
    document = {"version": 1, "experiment": made.name, "runs": runs}
    (made.folder / "results.json").write_text(json.dumps(document), encoding="utf-8")
