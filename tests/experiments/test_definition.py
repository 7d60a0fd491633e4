"""Experiments that can't be read are refused with what is wrong; those that can give the runs that they ask for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ctkd_core.errors import CtkdError
from experiments import definition, results
from tests.experiments import made


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("title: A made-up question", "title: [", "made/experiment.yaml"),
        ("title: A made-up question\n", "", "lacks 'title'"),
        ("minutes: 3", "minutes: 3\nminute: 4", "'minute'"),
        ("minutes: 3", "minutes: soon", "'minutes'"),
        ("    kind: tokenizer transfer", "    kind: tokenizer transfers", "unknown kind of pair"),
        ("    regime: few samples", "    regime: much", "unknown regime"),
        ("better: alm", "better: aml", "names a condition or method that isn't there"),
        ("condition: few", "condition: many", "names a condition or method that isn't there"),
        ("    kind:", "    methods: [sft, cdm]\n    kind:", "unknown methods ['cdm']"),
        ("seeds: [0, 1, 2]\n", "", "methods, seeds and conditions, or else an analysis"),
        ("minutes: 3", "minutes: 3\nanalysis: looking", "or else an analysis"),
        ("minutes: 3", "minutes: 3\nanalysis: ../looking", "'analysis'"),
        ("count: 4", "count: -4", "count"),
    ],
)
def test_bad_definitions(old: str, new: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert old in made.YAML
    with pytest.raises(definition.ExperimentError) as fault:
        made.experiment(tmp_path, monkeypatch, made.YAML.replace(old, new))
    assert said in str(fault.value)


def test_a_list_is_no_definition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(definition.ExperimentError, match=r"made/experiment\.yaml"):
        made.experiment(tmp_path, monkeypatch, "- a\n- b\n")


def test_an_unknown_experiment_is_told_with_those_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.experiment(tmp_path, monkeypatch)
    with pytest.raises(definition.ExperimentError, match="'other'; there are made"):
        definition.load("other")


def test_an_analysis_plans_no_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made.experiment(tmp_path, monkeypatch, "title: a\nquestion: b\nminutes: 1\nanalysis: looking\n")
    assert definition.plan(found) == []


def test_the_plan_has_every_method_with_every_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "home"))
    plan = definition.plan(made.experiment(tmp_path, monkeypatch))
    assert [(each.seed, each.label) for each in plan[:4]] == [(0, "sft"), (0, "alm"), (0, "gold-warm"), (1, "sft")]
    assert len(plan) == len({each.key for each in plan}) == 9
    assert plan[2].config.method == "gold"
    assert plan[2].config.method_options["temperature"] == 2.0
    datas = [Path(each.config.data).read_text(encoding="utf-8").splitlines() for each in plan]
    assert datas[0] == datas[1]  # at one seed all learn from the same samples
    assert not set(datas[0]) & set(datas[3])  # and each seed from others
    assert all(len(lines) == 4 and json.loads(lines[0])["kind"] for lines in datas)


def test_the_key_is_of_the_content_not_of_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made.experiment(tmp_path, monkeypatch)
    keys = []
    for home in ("one", "two"):
        monkeypatch.setenv("CTKD_HOME", str(tmp_path / home))
        keys.append([each.key for each in definition.plan(found)])
    assert keys[0] == keys[1]
    other = made.experiment(tmp_path, monkeypatch, made.YAML.replace("count: 4", "count: 5"))
    assert not set(keys[0]) & {each.key for each in definition.plan(other)}


@pytest.mark.parametrize(
    ("change", "said"),
    [("count: 4000", "asks for those up to"), ("texts: [bundled:nothing]", "no bundled data 'bundled:nothing'")],
)
def test_samples_that_are_not_there(change: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "home"))
    old = "count: 4" if change.startswith("count") else "texts: [bundled]"
    found = made.experiment(tmp_path, monkeypatch, made.YAML.replace(old, change))
    with pytest.raises(CtkdError, match=said):
        definition.plan(found)


def test_a_bundled_set_taken_whole_is_noted_with_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made.experiment(tmp_path, monkeypatch)
    assert definition.texts_of(found.conditions[0])["content"] == {}  # a file named by its content
    whole = made.experiment(tmp_path, monkeypatch, made.YAML.replace(", count: 4, by_seed: true", ""))
    noted = definition.texts_of(whole.conditions[0])
    assert len(noted["content"]["bundled"]) == 64
    assert (noted["train"]["texts"], noted["held_out"]) == (["bundled"], None)


def test_results_of_a_bundled_set_keep_their_keys() -> None:
    """Titles, hashes and how a record is kept have no part in the key of a run."""
    plan = definition.plan(definition.load("number-tokens"))
    assert {each.key for each in plan} >= set(results.read(definition.load("number-tokens")))
