"""What the digest says around the standings: what runs took, how steady their times are, bits beside other figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments import context, digest
from experiments.definition import ExperimentError
from tests.experiments import made

VALUES = {"sft": {0: 1.5, 1: 1.6, 2: 1.7}, "alm": {0: 1.4, 1: 1.5, 2: 1.6}}
ANALYSIS = "title: Look\nquestion: What?\nminutes: 1\nanalysis: looking\n"
CLAIM = {"claim": "One is more.", "source": "s", "ours": "o", "verdict": "contradicted"}


def test_what_runs_took_counts_where_they_were_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made.experiment(tmp_path, monkeypatch)
    made.write(found, [run | {"cpu_seconds": 12.0} for run in made.results(VALUES)])
    other = made.experiment(tmp_path, monkeypatch, made.YAML, "other")
    shared = [
        {"key": run["key"], "of": "made", "condition": "few", "label": run["label"], "seed": run["seed"]}
        for run in made.results(VALUES)
    ]
    (other.folder / "results.json").write_text(json.dumps({"version": 1, "runs": [], "shared": shared}), "utf-8")
    own, taken = digest.build([found, other]).experiments
    assert (own.run_minutes, own.cpu_minutes) == (3.0, 1.2)  # six runs of 30 and 12 seconds
    assert (taken.run_minutes, taken.cpu_minutes) == (0.0, 0.0)
    assert len(taken.conditions[0].done) == 2


def test_what_an_analysis_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made.experiment(tmp_path, monkeypatch, ANALYSIS)
    assert context.minutes_of(found) == {}
    (found.folder / "results.json").write_text('{"version": 1, "seconds": 90}', encoding="utf-8")
    assert context.minutes_of(found) == {"run_minutes": 1.5}


def test_how_far_apart_the_seeds_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made.experiment(tmp_path, monkeypatch)
    runs = [run | {"config": run["config"] | {"steps": 10}} for run in made.results(VALUES)]
    for run in runs:
        run["figures"]["training_cpu_seconds"] = 10.0 * (1 + run["seed"]) if run["label"] == "sft" else 20.0
    made.write(found, runs)
    spread = digest.build([found]).cpu_spread
    assert (spread.cells, spread.median, spread.most) == (2, 2.0, 3.0)
    made.write(found, runs[:2])
    assert digest.build([found]).cpu_spread is None  # two seeds say nothing


def test_bits_stand_beside_a_figure_of_another_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yaml = made.YAML.replace("    train:", "    figure: mass_by_class.digits_3\n    train:")
    found = made.experiment(tmp_path, monkeypatch, yaml)
    runs = made.results(VALUES | {"gold-warm": {0: 1.6, 1: 1.7}})
    for run in runs:
        run["figures"]["mass_by_class.digits_3"] = 0.5
    made.write(found, runs)
    condition = digest.build([found]).experiments[0].conditions[0]
    assert condition.find("alm").bits_to_baseline.mean == pytest.approx(-0.1)
    assert condition.find("sft").bits_to_baseline is None
    others = condition.find("alm").bits_to_others
    assert {label: gap.mean for label, gap in others.items()} == {"gold-warm": pytest.approx(-0.2)}
    plain = made.experiment(tmp_path, monkeypatch)
    assert digest.build([plain]).experiments[0].conditions[0].find("alm").bits_to_baseline is None


def test_differences_are_taken_before_rounding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A standing and a claim on the same runs say the same, also where rounded values would lie further apart."""
    found = made.experiment(tmp_path, monkeypatch)
    made.write(found, made.results({"sft": {0: 1.5000049, 1: 1.6000049}, "alm": {0: 1.4999951, 1: 1.5999951}}))
    (experiment,) = digest.build([found]).experiments
    alm = experiment.conditions[0].find("alm")
    assert alm.to_baseline.mean == experiment.claims[0].difference.mean == pytest.approx(-9.8e-06)
    assert [run.value for run in alm.runs] == [1.5, 1.6]  # kept with six digits
    assert alm.runs[0].curve[-1].value == 1.5


def test_the_text_of_the_first_seed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made.experiment(tmp_path, monkeypatch)
    runs = [run | {"config": run["config"] | {"data": f"{run['seed']}.jsonl"}} for run in made.results(VALUES)]
    assert context.text_files({"sft": {run["seed"]: run for run in runs if run["label"] == "sft"}}) == ["0.jsonl"]
    made.write(found, runs)
    assert digest.build([found]).experiments[0].conditions[0].text_files == ["0.jsonl"]
    assert context.text_files({"sft": {}}) == []


def test_notes_stand_beside_verdicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made.experiment(tmp_path, monkeypatch, ANALYSIS + "notes: {One is more.: Of small models.}\n")
    results = found.folder / "results.json"
    results.write_text(json.dumps({"version": 1, "claims": [CLAIM]}), encoding="utf-8")
    assert digest.build([found]).claims[0][1].note == "Of small models."
    results.write_text(json.dumps({"version": 1, "claims": [CLAIM | {"claim": "Two are more."}]}), encoding="utf-8")
    with pytest.raises(ExperimentError, match="there is no claim 'One is more"):
        digest.build([found])
    with pytest.raises(ExperimentError, match="`notes` are of an analysis"):
        made.experiment(tmp_path, monkeypatch, made.YAML + "notes: {ALM is ahead.: So.}\n")
    results.unlink()
    trained = made.experiment(tmp_path, monkeypatch, made.YAML.replace("than: sft}", "than: sft, note: By a hair.}"))
    assert digest.build([trained]).claims[0][1].note == "By a hair."
