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
        }
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
        ("{first few}: {order few}", "ALM: ALM, SFT, GOLD (temperature 2.0)"),
        ("{gap few alm}", "16 %"),
        ("{span few teacher_bits}; {span few bits_per}; {span few mass}", "1 everywhere; 1.4 to 1.7; not run"),
        ('{verdict "ALM is ahead."}; {claim "look/One is more."}', "reproduced; reproduced (on 2 of 3)"),
        ('{table "look/Pairs" "a, b" F1} and {table look/Pairs d plain}', "12.5 (10 to 15) and -3"),
        ('{column look/Pairs F1}; {column look/Pairs F1 "a"}', "12.5 to 50; 12.5"),
        ("{least look/Pairs plain} {most look/Pairs plain} {most look/Pairs plain a}", "d (-3) a (2) d (-3)"),
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


def test_every_question_has_an_answer_that_says_what_it_does_not_show() -> None:
    for name in definition.names():
        path = definition.ROOT / name / "answer.md"
        assert path.is_file(), f"experiments/{name} has a question and no answer.md"
        assert "What this doesn't show" in path.read_text(encoding="utf-8"), name
