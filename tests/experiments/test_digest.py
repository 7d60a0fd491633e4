"""The digest: the committed one is what the committed results give; statistics of made-up results; what is left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ctkd_core.methods import evidence
from experiments import definition, digest
from experiments.definition import ExperimentError
from tests.experiments import made

# Differences of alm to sft: -0.1, -0.2, -0.3: mean -0.2, s 0.1, half width t(2) * 0.1 / sqrt(3) = 0.248414.
VALUES = {
    "sft": {0: 1.5, 1: 1.6, 2: 1.7},
    "alm": {0: 1.4, 1: 1.4, 2: 1.4},
    "gold-warm": {0: 1.45, 1: 1.55, 2: 1.66},
}


ENDS = {"sft": 1.5, "alm": 1.4, "gold-warm": 1.6}


@pytest.fixture
def condition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> evidence.Condition:
    found = made.experiment(tmp_path, monkeypatch)
    made.write(found, made.results(VALUES))
    return digest.build([found]).experiments[0].conditions[0]


@pytest.mark.slow
def test_the_committed_digest_is_of_the_committed_results() -> None:
    """Where this fails: `python -m experiments digest`, and commit what it writes."""
    assert evidence.PATH.read_text(encoding="utf-8") == digest.text()
    assert evidence.read().experiments


def test_means_and_differences_at_equal_seeds(condition: evidence.Condition) -> None:
    alm = condition.find("alm")
    assert alm is not None
    assert (alm.value.n, alm.value.mean, alm.value.low) == (3, 1.4, 1.4)
    gap = alm.to_baseline
    assert gap.mean == pytest.approx(-0.2)
    assert (gap.low, gap.high) == (pytest.approx(-0.448414, abs=1e-5), pytest.approx(0.048414, abs=1e-5))
    assert gap.probability == 0.25  # 2 of 8 choices of signs are as far from 0
    assert gap.adjusted == 0.5  # the smaller of two
    assert not gap.decided
    warm = condition.find("gold-warm")
    # -0.05, -0.05, -0.04: mean -0.046667, s 0.0057735, half width 0.014342
    assert warm.to_baseline.decided
    assert warm.to_baseline.high == pytest.approx(-0.032324, abs=1e-5)
    assert warm.to_best.mean == pytest.approx(1.553333 - 1.4, abs=1e-5)


def test_ranks_titles_and_options(condition: evidence.Condition) -> None:
    assert [(tried.rank, tried.label) for tried in condition.methods] == [(1, "alm"), (2, "gold-warm"), (3, "sft")]
    warm = condition.find("gold-warm")
    assert (warm.title, warm.options) == ("GOLD (temperature 2.0)", {"method_options.temperature": 2.0})
    assert warm.against_next.mean == pytest.approx(-0.046667, abs=1e-5)
    assert condition.find("alm").to_best is None
    assert condition.find("sft").against_next is None
    assert condition.find("sft").config["method"] == "sft"
    assert condition.config["steps"] == 10


def test_what_surrounds_the_values(condition: evidence.Condition) -> None:
    assert (condition.start, condition.teacher_value, condition.baseline) == (2.0, 1.0, "sft")
    # SFT is 0.6 from the teacher on average, ALM 0.4.
    assert condition.find("alm").gap_closed == pytest.approx(1 / 3, abs=1e-5)
    assert condition.find("sft").gap_closed is None
    assert condition.find("alm").seconds_per_step == 1.0
    assert condition.find("alm").cpu_seconds_per_step == 2.0
    assert condition.find("alm").domains["a"].value.mean == pytest.approx(1.9)
    assert condition.find("alm").domains["a"].to_baseline.mean == pytest.approx(-0.2)
    run = condition.find("alm").runs[1]
    assert (run.seed, run.value, run.run, run.revision, len(run.curve)) == (1, 1.4, "run-alm-1", "abc", 4)


def test_the_best_look_and_equal_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made.experiment(tmp_path, monkeypatch)
    quick = made.record("sft", 0, 1.5)
    slow = made.record("alm", 0, 1.6)
    slow["curve"] = [
        {"step": 0, "training_seconds": 0.0, "bits_per_byte": 2.0},
        {"step": 2, "training_seconds": 8.0, "bits_per_byte": 1.68},
        {"step": 5, "training_seconds": 20.0, "bits_per_byte": 1.2},
        {"step": 10, "training_seconds": 40.0, "bits_per_byte": 1.6},
    ]
    made.write(found, [quick, slow])
    alm = digest.build([found]).experiments[0].conditions[0].find("alm")
    assert alm.best.mean == 1.2
    assert alm.equal.mean == pytest.approx(1.6)  # SFT was through after ten seconds
    assert alm.equal_to_baseline.mean == pytest.approx(0.1)
    assert alm.seconds_per_step == 4.0


def test_few_looks_give_no_value_at_equal_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made.experiment(tmp_path, monkeypatch)
    runs = made.results({"sft": {0: 1.5}, "alm": {0: 1.4}})
    for each in runs:
        del each["curve"][1]
    made.write(found, runs)
    condition = digest.build([found]).experiments[0].conditions[0]
    assert condition.find("alm").equal is None
    assert condition.find("alm").equal_to_baseline is None
    assert digest.FEW_LOOKS in condition.notes


def test_a_missing_seed_is_named_and_takes_no_rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made.experiment(tmp_path, monkeypatch)
    values = {"alm": {2: 1.65}, "sft": VALUES["sft"], "gold-warm": {k: v + 0.1 for k, v in VALUES["sft"].items()}}
    made.write(found, made.results(values))
    condition = digest.build([found]).experiments[0].conditions[0]
    assert [tried.label for tried in condition.ranked] == ["sft", "gold-warm"]
    assert [tried.label for tried in condition.done] == ["sft", "gold-warm", "alm"]  # listed all the same
    alm = condition.find("alm")
    assert (alm.rank, alm.missing) == (None, [0, 1])
    assert (alm.value.n, alm.value.low, alm.to_baseline.probability) == (1, None, 1.0)
    assert alm.to_best.mean == pytest.approx(-0.05)
    assert alm.to_others["gold-warm"].mean == pytest.approx(-0.15)


def test_what_was_not_run_is_listed_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made.experiment(tmp_path, monkeypatch)
    made.write(found, made.results({"sft": VALUES["sft"]}))
    condition = digest.build([found]).experiments[0].conditions[0]
    assert [tried.label for tried in condition.done] == ["sft"]
    assert condition.find("gold-warm").missing == [0, 1, 2]


def test_without_the_baseline_means_rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made.experiment(tmp_path, monkeypatch)
    made.write(found, made.results({key: VALUES[key] for key in ("alm", "gold-warm")}))
    condition = digest.build([found]).experiments[0].conditions[0]
    assert [tried.label for tried in condition.done] == ["alm", "gold-warm"]
    assert condition.find("alm").to_baseline is None
    assert condition.find("alm").gap_closed is None


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        (VALUES, "undecided"),
        ({"sft": VALUES["sft"], "alm": {k: v - 0.1 for k, v in VALUES["sft"].items()}}, "reproduced"),
        ({"sft": VALUES["sft"], "alm": {k: v + 0.1 for k, v in VALUES["sft"].items()}}, "contradicted"),
        ({"sft": VALUES["sft"], "alm": {0: 1.0, 1: 1.1}}, "undecided"),
        ({"sft": VALUES["sft"]}, "not run"),
        ({}, "not run"),
    ],
)
def test_verdicts_on_claims(
    values: dict[str, dict[int, float]], verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = made.experiment(tmp_path, monkeypatch)
    made.write(found, made.results(values))
    (claim,) = digest.build([found]).experiments[0].claims
    assert claim.verdict == verdict
    assert ("not run" in claim.ours) == (verdict == "not run")
    if claim.difference:
        assert f"n = {claim.difference.n}" in claim.ours


def test_a_claim_on_the_start_compares_each_run_with_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made.experiment(tmp_path, monkeypatch, made.YAML.replace("than: sft", "than: start"))
    made.write(found, made.results({"alm": {0: 1.5, 1: 1.6, 2: 1.4}, "sft": {0: 1.0}}))
    (claim,) = digest.build([found]).experiments[0].claims
    assert (claim.verdict, claim.difference.n, claim.difference.mean) == ("reproduced", 3, pytest.approx(-0.5))
    assert "ALM minus its start: -0.5" in claim.ours
    made.write(found, made.results({"sft": {0: 1.0}}))
    assert digest.build([found]).experiments[0].claims[0].verdict == "not run"
    for old, new, said in (
        ("than: sft", "than: start, figure: completions.exact", r"compares completions\.exact with the start"),
        ("better: alm, than: sft", "better: start, than: alm", "names a condition or method that isn't there"),
        ("better: alm, than: sft", "better: start, than: start", "names a condition or method that isn't there"),
    ):
        with pytest.raises(ExperimentError, match=said):
            made.experiment(tmp_path, monkeypatch, made.YAML.replace(old, new))
    with pytest.raises(ExperimentError, match="no method can have the label 'start'"):
        made.experiment(tmp_path, monkeypatch, made.YAML.replace("  alm: {}", "  start: {method: alm}"))


def test_a_run_without_an_option_that_is_asked_for_now_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = made.experiment(tmp_path, monkeypatch)
    made.write(found, made.results({"sft": {0: 1.5}, "alm": {0: 1.4}}))
    assert [tried.label for tried in digest.build([found]).conditions[0][1].done] == ["alm", "sft"]
    later = made.YAML.replace("  alm: {}", "  alm: {state_learning_rate: 0.01}")
    found = made.experiment(tmp_path, monkeypatch, later)
    assert [tried.label for tried in digest.build([found]).conditions[0][1].done] == ["sft"]


def test_a_difference_of_rounding_alone_decides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made.experiment(tmp_path, monkeypatch)
    for gap, verdict in ((5e-6, "undecided"), (5e-3, "reproduced")):
        made.write(
            found,
            made.results({"sft": dict.fromkeys(range(3), 1.5), "alm": {n: 1.5 - gap * (1 + n / 9) for n in range(3)}}),
        )
        assert digest.build([found]).claims[0][1].verdict == verdict


def test_a_figure_that_no_run_has_is_told_apart_from_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made.experiment(tmp_path, monkeypatch)
    made.write(found, made.results(VALUES))
    asked = found.claims[0].model_copy(update={"figure": "exposure.8"})
    (claim,) = digest.build([found.model_copy(update={"claims": (asked,)})]).experiments[0].claims
    assert claim.verdict == "not run"
    assert claim.ours.startswith("not measured: no exposure bias in % after 8 boundaries of both")


def test_runs_of_another_config_are_left_out_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made.experiment(tmp_path, monkeypatch)
    old = made.record("sft", 0, 9.0, key="old")
    old["config"]["steps"] = 5
    repeated = made.record("sft", 1, 8.0, key="earlier", finished="2025-01-01T00:00:00Z")
    made.write(found, [old, repeated, *made.results(VALUES)])
    condition = digest.build([found]).experiments[0].conditions[0]
    assert condition.find("sft").value.mean == pytest.approx(1.6)
    assert any("1 runs aren't counted: the experiment" in note for note in condition.notes)
    assert any("later one with the same seed" in note for note in condition.notes)


@pytest.mark.parametrize("key", ["data", "eval_data"])
def test_at_one_seed_all_have_the_same_text(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made.experiment(tmp_path, monkeypatch)
    runs = made.results(VALUES)
    odd = made.record("alm", 1, 0.1, key="odd", finished="2026-02-01T00:00:00Z")  # the latest, and on other text
    odd["config"][key] = "other.jsonl"
    made.write(found, [*runs, odd])
    condition = digest.build([found]).experiments[0].conditions[0]
    assert condition.find("alm").value.mean == pytest.approx(1.4)
    assert any(note.startswith("1 runs aren't counted: they had other text") for note in condition.notes)


def test_seeds_may_have_texts_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made.experiment(tmp_path, monkeypatch)
    runs = made.results(VALUES)
    for each in runs:
        each["config"] |= {"data": f"{each['seed']}.jsonl", "eval_data": "held.jsonl"}
    made.write(found, runs)
    condition = digest.build([found]).experiments[0].conditions[0]
    assert all(len(tried.runs) == 3 for tried in condition.methods)


@pytest.mark.parametrize(
    "change",
    [
        {"train": {"texts": ["bundled"], "count": 5, "longest": 120, "by_seed": True}},
        {"held_out": {"texts": ["bundled"], "count": 5, "longest": 120, "by_seed": False}},
        {"content": {"bundled": "0" * 64}},
    ],
)
def test_runs_on_text_that_is_not_asked_for_now_are_left_out(
    change: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = made.experiment(tmp_path, monkeypatch)
    now = definition.texts_of(found.conditions[0])
    made.write(found, [each | now for each in made.results(VALUES)])
    assert digest.build([found]).experiments[0].conditions[0].find("sft").value.n == 3
    made.write(
        found, [*(each | now for each in made.results(VALUES)), made.record("sft", 1, 9.0, key="x") | now | change]
    )
    condition = digest.build([found]).experiments[0].conditions[0]
    assert condition.find("sft").value.mean == pytest.approx(1.6)
    assert any("1 runs aren't counted: the experiment now" in note for note in condition.notes)


TEACHERS = made.YAML.replace(
    "  alm: {}",
    """  kd: {teacher: qwen}
  alm: {teacher: smollm2}
  both: {method: bytes, teachers: [{teacher: qwen, method: bytes}]}""",
)


def test_methods_of_another_teacher_are_named_and_have_no_say_in_its_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = made.experiment(tmp_path, monkeypatch, TEACHERS)
    runs = made.results({"kd": {0: 1.3}, "sft": {0: 1.5}, "alm": {0: 1.4}, "both": {0: 1.35}})
    runs[0]["teacher"] = {"teacher_bits_per_byte": 0.2}
    made.write(found, runs)
    condition = digest.build([found]).experiments[0].conditions[0]
    assert (condition.teacher, condition.teacher_value) == ("smollm2", 1.0)
    kd, alm, both = (condition.find(label) for label in ("kd", "alm", "both"))
    assert (kd.teacher, kd.options, kd.title) == ("qwen", {}, "KD (teacher qwen)")
    assert kd.gap_closed == pytest.approx(0.4)  # of the way to the condition's teacher
    assert (alm.teacher, alm.options, alm.title) == ("", {}, "ALM")
    assert (both.further_teachers, both.title) == (["qwen"], "Bytes (with teacher qwen)")


def test_where_a_correction_can_decide_nothing_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made.experiment(tmp_path, monkeypatch, made.YAML.replace("[0, 1, 2]", "[0, 1, 2, 3, 4, 5, 6]"))

    def notes(seeds: int) -> list[str]:
        made.write(found, made.results({name: dict.fromkeys(range(seeds), v) for name, v in ENDS.items()}))
        return digest.build([found]).experiments[0].conditions[0].notes

    # Two differences: the smallest chance is 2 * 2 / 2^n, which is 0.0625 at six seeds and 0.03125 at seven.
    assert (
        "Chance (Holm) can decide nothing here: with 2 differences and 6 seeds it can't fall below 0.0625, whatever is "
        "found. A value of 0.05 takes 7 seeds of each."
    ) in notes(6)
    assert not any("Holm" in note for note in notes(7))


def test_it_is_the_same_every_time_and_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made.experiment(tmp_path, monkeypatch)
    made.write(found, list(reversed(made.results(VALUES))))
    first = digest.text()
    made.write(found, made.results(VALUES))
    assert digest.text() == first
    path = digest.write(tmp_path / "evidence.json")
    assert evidence.read(path) == digest.build([found])


def test_without_results_everything_is_said_to_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made.experiment(tmp_path, monkeypatch)
    document = digest.build([found])
    assert document.conditions == []
    assert document.experiments[0].conditions[0].start is None


@pytest.mark.parametrize("content", ["{", "[]", '{"runs": [{"key": 1}]}', '{"runs": 3}'])
def test_damaged_results_are_refused(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made.experiment(tmp_path, monkeypatch)
    (found.folder / "results.json").write_text(content, encoding="utf-8")
    with pytest.raises(ExperimentError, match=r"results.*[Rr]emove it"):
        digest.build([found])


ANALYSIS = "title: Look\nquestion: What?\nminutes: 1\nanalysis: looking\n"


def test_an_analysis_brings_tables_and_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made.experiment(tmp_path, monkeypatch, ANALYSIS)
    assert digest.build([found]).experiments[0].tables == []
    content = {
        "tables": [{"title": "T", "columns": ["pair", "x"], "rows": [["a", 1.5], ["b", None]], "note": "n"}],
        "claims": [{"claim": "c", "source": "s", "ours": "o", "verdict": "undecided"}],
        "environment": {"device": "cpu"},
    }
    (found.folder / "results.json").write_text(json.dumps({"version": 1, **content}), encoding="utf-8")
    document = digest.build([found])
    assert document.experiments[0].tables[0].rows[1] == ["b", None]
    assert document.claims[0][1].verdict == "undecided"
    (found.folder / "results.json").write_text('{"tables": [{"rows": 1}]}', encoding="utf-8")
    with pytest.raises(ExperimentError, match=r"lacks 'tables\.0\.title'"):
        digest.build([found])


def test_every_experiment_can_be_read() -> None:
    names = definition.names()
    assert "first-look" in names
    assert definition.load("first-look").small
    assert sum(each.minutes for each in map(definition.load, names) if each.small) <= 30
