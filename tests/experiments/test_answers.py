"""Answers: their figures and verdicts come from results; what they name and isn't there is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments import definition, digest
from experiments.definition import ExperimentError
from tests.experiments import made

VALUES = {
    "sft": {0: 1.5, 1: 1.6, 2: 1.7},
    "alm": {0: 1.4, 1: 1.5, 2: 1.61},
    "gold-warm": {0: 1.45, 1: 1.7, 2: 1.66},
}
ANALYSIS = "title: Look\nquestion: What?\nminutes: 1\nanalysis: looking\n"
FOUND = {
    "tables": [
        {
            "title": "Pairs, by index",
            "columns": ["teacher", "student", "F1", "plain"],
            "rows": [["a", "b", "12.5 (10 to 15)", 1], ["a", "c", "-", 2], ["d", "b", "50.0 (1 to 2)", -3]],
        },
        {"title": "Cost", "columns": ["method", "times"], "rows": [["sft", 1], ["alm", 3]]},
    ],
    "claims": [{"claim": "One is more.", "source": "s", "ours": "on 2 of 3", "verdict": "reproduced"}],
    "environment": {},
}


@pytest.fixture
def answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The answer of `made` with this text, beside an analysis `look`."""

    def fill(text: str, values: dict[str, dict[int, float]] = VALUES, analysed: bool = True) -> str:
        found = made.experiment(tmp_path, monkeypatch)
        made.write(found, made.results(values))
        look = made.experiment(tmp_path, monkeypatch, ANALYSIS, "look")
        results = look.folder / "results.json"
        results.unlink(missing_ok=True)
        if analysed:
            results.write_text(json.dumps({"version": 1, **FOUND}), encoding="utf-8")
        (found.folder / "answer.md").write_text(text, encoding="utf-8")
        return digest.build([found, look]).experiments[0].answer

    return fill


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ALM: {difference few alm sft}.", "ALM: decidedly better by 0.0967 (0.0823 to 0.111; 3 seeds)."),
        ("{difference few gold-warm sft}", "undecided (+0.00333, -0.205 to +0.212; 3 seeds)"),
        ("{difference few alm start}", "decidedly better by 0.497 (0.236 to 0.758; 3 seeds)"),
        ("{word few alm sft}, {word few gold-warm sft}", "decidedly better, undecided"),
        ("{difference few alm sft bits_by_domain.a}", "decidedly better by 0.0967 (0.0823 to 0.111; 3 seeds)"),
        ("{word few alm sft exposure.2}", "not run"),
        ("{figure few alm} from {figure few start}", "1.5 (1.24 to 1.76) from 2 (2 to 2)"),
        ("{better few}; {worse few}; {level few}", "ALM; none; GOLD (temperature 2.0)"),
        (
            'Is {stands SFT "in few=few alm sft" "in some=few gold-warm sft"}.',
            "Is decidedly better than SFT in few, undecided in some.",
        ),
        (
            'Is {stands SFT "=few gold-warm sft"}, {stands it "a=few alm start" "b=few alm sft"}.',
            "Is not decidedly better or worse than SFT, decidedly better than it a and b.",
        ),
        ('{stands SFT "a=few alm sft exposure.2" "b=few alm sft"}', "not run a, decidedly better than SFT b"),
        ('{each "A=few alm sft" "G=few gold-warm sft" "B=few alm start"}', "A and B decidedly better; G undecided"),
        ("{config few steps} steps, {seeds few}", "10 steps, 3 seeds"),
        ("{alike a=few b=few}", "the order is the same in all 2 settings"),
        ("{first few}: {order few}", "ALM: ALM, SFT, GOLD (temperature 2.0)"),
        ("{gap few alm}", "16 %"),
        ("{span few teacher_bits}; {span few bits_per}; {span few mass}", "1 everywhere; 1.4 to 1.7; not run"),
        ('{verdict "ALM is ahead."}; {claim "look/One is more."}', "reproduced; reproduced (on 2 of 3)"),
        ('{table "look/Pairs" "a, b" F1} and {table look/Pairs d plain}', "12.5 (10 to 15) and -3"),
        ('{column look/Pairs F1}; {column look/Pairs F1 "a"}', "12.5 to 50; 12.5"),
        ("{least look/Pairs plain} {most look/Pairs plain} {most look/Pairs plain a}", "-3 (d) 2 (a) -3 (d)"),
        ("{most look/Cost times}", "3 (ALM)"),
        ("One\nline.\n\n\nAnother   {word few alm sft}.\n", "One line.\n\nAnother decidedly better."),
        ("{word made/few alm sft}", "decidedly better"),
    ],
)
def test_a_placeholder_is_filled_from_results(answered, text: str, expected: str) -> None:
    assert answered(text) == expected


def test_words_follow_the_figures(answered) -> None:
    """The same text, other results: nothing of the verdict was typed."""
    text = "ALM: {word few alm sft}; better: {better few}; claim: {verdict 'ALM is ahead.'}"
    assert answered(text) == "ALM: decidedly better; better: ALM; claim: reproduced"
    worse = {"sft": VALUES["alm"], "alm": VALUES["sft"]}
    assert answered(text, worse) == "ALM: decidedly worse; better: none; claim: contradicted"
    assert answered(text, {}) == "ALM: not run; better: none; claim: not run"


def test_at_equal_seconds_a_slower_run_is_read_where_the_quickest_ended(tmp_path, monkeypatch) -> None:
    found = made.experiment(tmp_path, monkeypatch)
    runs = made.results({label: VALUES[label] for label in ("sft", "alm")})
    for run in runs:
        if run["label"] == "alm":  # twice the time: after 10 s it is at step 5, half of the way from 2.0
            run["curve"] = [look | {"training_seconds": 2 * look["training_seconds"]} for look in run["curve"]]
    made.write(found, runs)
    (found.folder / "answer.md").write_text("{equal few alm}; {equal few gold-warm}; {equal few sft}", encoding="utf-8")
    gaps = [(2.0 + VALUES["alm"][seed]) / 2 - VALUES["sft"][seed] for seed in VALUES["alm"]]
    expected = f"{sum(gaps) / len(gaps):.3g}"
    answer = digest.build([found]).experiments[0].answer
    assert answer.startswith(f"decidedly worse by {expected} (") and answer.endswith("; 3 seeds); not run; not run")


def test_what_was_not_run_is_said(answered) -> None:
    text = (
        "{figure few alm} {gap few alm} {order few} {table look/Pairs a F1} {most look/Pairs F1} {claim 'look/One is.'}"
    )
    assert answered(text, {}, analysed=False) == " ".join(["not run"] * 6)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{differ few alm sft}", "unknown placeholder 'differ'"),
        ("{difference many alm sft}", "unknown condition 'many'"),
        ("{difference few aml sft}", "unknown method 'aml'"),
        ("{difference few alm}", "can't be read"),
        ("{difference few alm 'sft}", "can't be read"),
        ("{stands SFT}", "can't be read"),
        ("{stands SFT 'a=few alm'}", "can't be read"),
        ("{config few colour}", "unknown run option 'colour'"),
        ("{}", "can't be read"),
        ("{verdict 'Nobody said so.'}", "unknown claim"),
        ("{table look/Nothing a F1}", "unknown table"),
        ("{table look/Pairs a F2}", "unknown column 'F2'"),
        ("{table look/Pairs x F1}", "unknown row 'x'"),
        ("{orders one=few two=many}", "unknown condition 'many'"),
    ],
)
def test_what_is_not_known_is_refused(answered, text: str, told: str) -> None:
    with pytest.raises(ExperimentError, match=r"made/answer\.md: ") as fault:
        answered(text)
    assert told in str(fault.value)


def test_seeds_of_other_experiments_count_where_the_setting_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One comparison has one verdict, also where the experiment itself ran a part of its seeds."""
    runs = {"sft": {0: 1.5, 1: 1.5, 2: 1.5, 3: 1.5, 4: 1.5}, "alm": {0: 1.2, 1: 1.49, 2: 1.4, 3: 1.35, 4: 1.35}}
    more = made.YAML.replace("seeds: [0, 1, 2]", "seeds: [0, 1, 2, 3, 4]")
    part, whole = (
        made.experiment(tmp_path, monkeypatch, name="part"),
        made.experiment(tmp_path, monkeypatch, more, "whole"),
    )
    made.write(whole, made.results(runs))
    made.write(
        part, made.results({label: {seed: v for seed, v in found.items() if seed < 3} for label, found in runs.items()})
    )
    said = "{difference few alm sft}; {seeds few}; {better few}; {verdict 'ALM is ahead.'}"
    for each in (part, whole):
        (each.folder / "answer.md").write_text(said, encoding="utf-8")
    one, other = digest.build([part, whole]).experiments
    assert one.answer == other.answer
    assert one.answer.startswith("decidedly better by 0.142") and one.answer.endswith("; 5 seeds; ALM; reproduced")
    assert one.claims[0].difference.n == 5
    assert one.conditions[0].find("alm").to_baseline.n == 3  # the ranking is that of its own runs
    assert not one.conditions[0].find("alm").to_baseline.decided


def test_every_question_has_an_answer_that_says_what_it_does_not_show() -> None:
    for name in definition.names():
        path = definition.ROOT / name / "answer.md"
        assert path.is_file(), f"experiments/{name} has a question and no answer.md"
        text = path.read_text(encoding="utf-8")
        assert "What this doesn't show" in text, name
        assert text.startswith("In short"), f"{name}: its first paragraph isn't the answer in short"
