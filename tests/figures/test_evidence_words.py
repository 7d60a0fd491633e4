"""Sentences on all experiments together: what didn't reproduce, what runs took, what settings have in common."""

from __future__ import annotations

import pytest

from ctkd_core.figures import evidence_words as words
from ctkd_core.methods.evidence import Claim, Condition, Difference, Digest, Experiment, Interval, Spread, Tried

SETTING = {
    "kind": "cross-family",
    "regime": "few samples",
    "student": "s",
    "teacher": "t",
    "student_model": "pretrained",
    "figure": "bits_per_byte",
    "higher_is_better": False,
    "baseline": "sft",
    "steps": 1,
    "batch_size": 1,
    "learning_rate": 1.0,
    "samples": 1,
    "train": ["x"],
    "held_out": ["y"],
}


def tried(label: str, **found: object) -> Tried:
    return Tried(label=label, title=label.upper(), method=label, rank=1, value=Interval(n=3, mean=1.0), **found)


def condition(name: str, files: list[str], *methods: Tried, **changes: object) -> Condition:
    parts = SETTING | {"name": name, "title": name, "text_files": files, "methods": list(methods) or [tried("sft")]}
    return Condition(**(parts | changes))


def experiment(name: str, *conditions: Condition, **parts: object) -> Experiment:
    return Experiment(
        name=name, title=f"{name}?", question="", minutes=60, reproduce="", conditions=list(conditions), **parts
    )


def digest(*experiments: Experiment, **parts: object) -> Digest:
    return Digest(version=1, experiments=list(experiments), **parts)


def claim(text: str, verdict: str) -> Claim:
    return Claim(claim=text, source="s", ours="o", verdict=verdict)


def gap(mean: float) -> Difference:
    low, high = mean - 0.01, mean + 0.01
    return Difference(n=3, mean=mean, low=low, high=high, probability=0.25)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("In short: ours is better.\n\nMore.", "Ours is better."),
        ("In short, of two: one.", "Of two: one."),
        ("Long.\n\nIn short: no.", ""),
        ("", ""),
    ],
)
def test_an_answer_in_short(answer: str, said: str) -> None:
    assert words.in_short(experiment("a", answer=answer)) == said


def test_claims_that_did_not_reproduce() -> None:
    found = digest(
        experiment("a", claims=[claim("one", "contradicted"), claim("two", "reproduced"), claim("three", "undecided")]),
        experiment("b", claims=[claim("four", "undecided")]),
    )
    contradicted = words.not_reproduced(found, "contradicted")
    assert [(each.name, [c.claim for c in claims]) for each, claims in contradicted] == [("a", ["one"])]
    assert words.missed_sentence(found, "undecided").startswith("2 of 4 claims. ")


@pytest.mark.parametrize(("minutes", "verdict"), [(300.0, "within"), (400.0, "more than")])
def test_what_all_took(minutes: float, verdict: str) -> None:
    found = digest(experiment("a", run_minutes=minutes, cpu_minutes=30.0), experiment("b"))
    sentence = words.spent_sentence(found)
    assert f"took {minutes / 60:.1f} hours" in sentence
    assert f"that is {verdict} the budget" in sentence
    assert "adds up to 2.0 hours" in sentence


def test_how_steady_cpu_seconds_are() -> None:
    assert "1.25 times" in words.cpu_sentence(digest(cpu_spread=Spread(cells=4, median=1.25, most=3.0)))
    assert "3.0 times at most" in words.cpu_sentence(digest(cpu_spread=Spread(cells=4, median=1.25, most=3.0)))
    both = digest(
        cpu_spread=Spread(cells=4, median=1.25, most=3.0), seconds_spread=Spread(cells=4, median=1.5, most=4.0)
    )
    assert words.cpu_sentence(both).endswith("; of seconds, 1.50 and 4.0 times.")
    assert "times" not in words.cpu_sentence(digest())


def test_settings_that_share_text() -> None:
    found = digest(
        experiment("a", condition("one", ["x", "y"]), condition("two", ["x", "y"]), condition("three", ["x", "z"])),
        experiment("b", condition("four", ["w", "y"]), condition("five", ["x", "y"], figure="exposure.2")),
    )
    assert words.overlap_sentences(found) == [
        "cross-family, few samples: 3 of 4 settings learn from the same pieces at equal seeds, 2 are measured on the "
        "same pieces too."
    ]
    assert words.overlap_sentences(digest(experiment("a", condition("one", ["x"]), condition("two", ["w"])))) == []


def test_settings_in_which_a_method_is_behind() -> None:
    behind = tried("bytes", to_baseline=gap(0.1), to_others={"gold": gap(0.2), "alm": gap(0.0)})
    ahead = tried("bytes", to_baseline=gap(-0.1))
    other = tried("bytes", bits_to_baseline=gap(0.3), bits_to_others={"gold": gap(0.2), "alm": gap(-0.2)})
    found = digest(
        experiment(
            "a",
            condition("one", [], behind, tried("sft"), tried("gold")),
            condition("two", [], ahead, tried("sft")),
            condition("three", [], other, tried("sft"), tried("gold"), figure="mass_by_class.digits_3"),
            condition("four", [], tried("sft")),
        )
    )
    first, one, three = words.beaten_sentences(found, "bytes")
    assert first == "Decidedly behind another method in 2 of 3 settings."
    assert one == "one · a: behind SFT +0.1 (+0.09 to +0.11; 3 seeds), GOLD +0.2 (+0.19 to +0.21; 3 seeds)"
    assert three == "three · a: behind SFT +0.3 (+0.29 to +0.31; 3 seeds), GOLD +0.2 (+0.19 to +0.21; 3 seeds)"
    assert words.beaten_sentences(found, "cdm") == []
