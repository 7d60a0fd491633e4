"""Which kind a pair is, and what was tried on it and on such pairs."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from ctkd_core import methods
from ctkd_core.methods import evidence
from ctkd_core.methods.evidence import Condition, Difference, Digest, EvidenceError, Experiment, Interval, Tried
from ctkd_core.pair import advice
from ctkd_core.pair.advice import advise
from ctkd_core.pair.evidence import MOVED, NEVER, SUCH, THIS, finding_of, kind_of, settings, tried_before

ALL = frozenset(methods.METHODS)
SPLIT = {"digits_1": {"total": 10, "matched": 10}, "digits_2": {"total": 0, "matched": 0}}
MISSING = {"digits_1": {"total": 10, "matched": 10}, "digits_2": {"total": 100, "matched": 0}}


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        ({"classes": MISSING, "same_tokenizer": True}, "same tokenizer"),
        ({"classes": MISSING, "student_model": "transplant"}, "tokenizer transfer"),
        ({"classes": MISSING, "overlap": {"canonical": 0.2}}, "little in common"),
        ({"classes": MISSING, "overlap": {"canonical": 0.9}}, "uncommon numbers"),
        ({"classes": SPLIT, "overlap": {"canonical": 0.9}}, "cross-family"),
        ({"classes": SPLIT}, "cross-family"),
        ({}, "cross-family"),
    ],
)
def test_kinds_of_pairs(facts: dict[str, Any], kind: str) -> None:
    assert kind_of(facts) == kind
    assert kind in evidence.KINDS


def gap(mean: float, half: float = 0.01, n: int = 5) -> Difference:
    return Difference(n=n, mean=mean, low=mean - half, high=mean + half, probability=0.0625)


def tried(
    name: str, rank: int | None, base: Difference | None = None, best: Difference | None = None, **more: Any
) -> Tried:
    return Tried(
        label=name,
        title=methods.get(name).label,
        method=name,
        rank=rank,
        value=Interval(n=5, mean=1.0),
        to_baseline=base,
        to_best=best,
        **more,
    )


def setting(*order: Tried, regime: str = "few samples", **changes: Any) -> Condition:
    given = {
        "name": regime,
        "title": f"Setting {regime}",
        "kind": "cross-family",
        "regime": regime,
        "student": "smollm2",
        "teacher": "gemma3-270m",
        "student_model": "pretrained",
        "figure": "bits_per_byte",
        "higher_is_better": False,
        "baseline": "sft",
        "steps": 1,
        "batch_size": 1,
        "learning_rate": 1e-4,
        "samples": 1,
        "train": ["a"],
        "held_out": [],
        "methods": list(order),
    }
    return Condition(**given | changes)


def digest(*conditions: Condition) -> Digest:
    conditions = tuple(
        each.model_copy(update={"samples": n}) for n, each in enumerate(conditions)
    )  # no two settings alike
    made = Experiment(name="made", title="t", question="q", minutes=1, reproduce="make", conditions=list(conditions))
    return Digest(version=1, experiments=[made])


FACTS = {
    "classes": SPLIT,
    "overlap": {"canonical": 0.9},
    "kind": "cross-family",
    "student": "qwen",
    "teacher": "smollm2",
}
PAIR = {"student": "smollm2", "teacher": "gemma3-270m"}
# The rule's method for these facts is xtoken-hkl.
BETTER = setting(tried("bytes", 1, gap(-0.05)), tried("sft", 2, best=gap(0.05)))
SFT = tried("sft", 3, best=gap(0.05))
HKL = tried("xtoken-hkl", 2, gap(-0.01), gap(0.04))
OVER_IT = setting(tried("bytes", 1, gap(-0.05), to_others={"xtoken-hkl": gap(-0.04)}), HKL, SFT)
LEVEL = setting(
    tried("bytes", 1, gap(-0.05), to_others={"xtoken-hkl": gap(-0.005)}),
    tried("xtoken-hkl", 2, gap(-0.045), gap(0.005)),
    SFT,
)
# First by other seeds, and worse at equal ones.
ELSEWHERE = setting(tried("bytes", 1, gap(-0.05), to_others={"xtoken-hkl": gap(0.04)}), HKL, SFT)
# A method of one seed that comes first, and a decided one behind it.
ONE_SEED = Difference(n=1, mean=-0.5, probability=1.0)
BEHIND = setting(tried("alm", 1, ONE_SEED), tried("bytes", 2, gap(-0.05)), SFT)
# Not all differences have one sign.
MIXED = setting(tried("bytes", 1, gap(-0.05).model_copy(update={"probability": 0.125})), SFT)
# What the pair can't have: a method for one tokenizer, another teacher, a second one.
KD = setting(tried("kd", 1, gap(-0.2)), tried("bytes", 2, gap(-0.05)), SFT)
STRANGER = setting(tried("alm", 1, gap(-0.2), teacher="smollm2"), tried("bytes", 2, gap(-0.05)), SFT)
COUPLE = setting(tried("bytes", 1, gap(-0.2), further_teachers=["smollm2"]), SFT, tried("alm", 3, gap(0.01)))
NOTHING = setting(tried("bytes", 1, gap(-0.005)), tried("sft", 2, best=gap(0.005)))
TWO = setting(tried("bytes", 1, gap(-0.05, n=2)), tried("sft", 2, best=gap(0.05, n=2)))
THREE = setting(tried("bytes", 1, gap(-0.05, n=3)), tried("sft", 2, best=gap(0.05, n=3)))
MASS = setting(tried("bytes", 1, gap(0.05)), tried("sft", 2, best=gap(-0.05)), figure="mass_by_class.digits_3")
TEXT = setting(
    tried("sft", 1, to_others={"xtoken-hkl": gap(-0.05)}),
    tried("xtoken-hkl", 2, gap(0.05), gap(0.05)),
    regime="fresh text",
)
MINE = setting(tried("alm", 1, gap(-0.05)), tried("sft", 2, best=gap(0.05)), student="qwen", teacher="smollm2")
WEIGHED = setting(tried("bytes", 1, gap(-0.05), options={"method_options.ce_weight": 0.2}), tried("sft", 2))
# Where the method that other settings put in the rule's place is worse than the rule's, or than SFT.
WORSE = setting(
    HKL.model_copy(update={"rank": 1}),
    tried("sft", 2),
    tried("bytes", 3, gap(0.05), to_others={"xtoken-hkl": gap(0.06)}),
    regime="fresh text",
)
WORSE_THAN_TEXT = setting(tried("sft", 1), tried("bytes", 2, gap(0.05)), regime="fresh text")
MAYBE_WORSE = setting(tried("sft", 1), tried("bytes", 2, gap(0.05, n=3)), regime="fresh text")
OTHERWISE_WORSE = setting(tried("sft", 1), tried("bytes", 2, gap(0.05), options={"k": 1}), regime="fresh text")


# Moved students: a transfer on the pair asked about, and a pair of another kind of which that is all that was tried.
MOVED_MINE = MINE.model_copy(update={"kind": "tokenizer transfer", "student_model": "transplant"})
MOVED_SUCH = BETTER.model_copy(update={"kind": "uncommon numbers", "student_model": "transplant"})


@pytest.mark.parametrize(
    ("facts", "conditions", "confidence", "own"),
    [
        (FACTS, (BETTER,), SUCH, [False]),
        (FACTS | PAIR, (BETTER,), THIS, [True]),
        (FACTS | {"kind": "uncommon numbers"}, (BETTER,), NEVER, []),
        (FACTS | PAIR | {"kind": "uncommon numbers"}, (BETTER,), THIS, [True]),
        (FACTS, (setting(tried("bytes", 1)),), NEVER, []),  # one method alone compares nothing
        (FACTS, (BETTER, TEXT), SUCH, [False, False]),
        (FACTS, (BETTER, MINE), THIS, [True, False]),  # the pair's own first, and its kind beside it
        (FACTS | {"kind": "uncommon numbers"}, (BETTER, MINE), THIS, [True]),
        (FACTS, (MOVED_MINE, BETTER), THIS + MOVED, [True, False]),
        (FACTS, (MOVED_MINE, MINE), THIS, [True, True]),
        (FACTS | {"kind": "tokenizer transfer"}, (MOVED_MINE,), THIS, [True]),
        (FACTS | {"teacher": "deepseek"}, (MOVED_MINE,), NEVER, []),  # a transfer is no pair of this kind
        (FACTS | {"kind": "uncommon numbers"}, (MOVED_SUCH,), SUCH + MOVED, [False]),
    ],
)
def test_confidence(facts: dict[str, Any], conditions: tuple[Condition, ...], confidence: str, own: list[bool]) -> None:
    found = advise(facts, ALL, digest(*conditions))
    assert found.confidence == confidence
    assert [finding.this_pair for finding in found.evidence] == own


def test_a_transplanted_student_is_named() -> None:
    (finding,) = advise(FACTS, ALL, digest(MOVED_MINE)).evidence
    assert finding.student_model == "transplant"
    assert "(smollm2 → qwen, a transplanted student, few samples)" in finding.sentence


def test_findings_are_plain_data_and_sentences() -> None:
    found = advise(FACTS, ALL, digest(BETTER)).to_dict()
    (row,) = found["evidence"]
    assert (row["regime"], row["kind"], row["method"], row["n"]) == ("few samples", "cross-family", "bytes", 5)
    assert (row["difference"], row["probability"], row["experiment"]) == (-0.05, 0.0625, "made")
    assert row["tried_on"] == PAIR
    assert row["decided"]
    (finding,) = advise(FACTS, ALL, digest(BETTER)).evidence
    assert finding.sentence == (
        "Setting few samples (gemma3-270m → smollm2, few samples): Bytes comes first, -0.05 (-0.06 to -0.04) bits per "
        "byte against SFT, n = 5, chance 0.0625; decided."
    )
    assert advise(FACTS, ALL, digest(TEXT)).evidence[0].sentence.endswith("SFT comes first.")
    assert advise(FACTS, ALL, digest(THREE)).evidence[0].sentence.endswith("n = 3, chance 0.0625; a lead.")
    assert [each.name for each in advise(FACTS, ALL, digest(KD, STRANGER)).evidence] == ["Bytes", "Bytes"]
    early = setting(
        tried("sft", 1), tried("bytes", None, gap(-0.05, n=2), runs=[{"seed": 0, "value": 1, "best": 1, "curve": []}])
    )
    assert (
        advise(FACTS, ALL, digest(early)).evidence[0].sentence.endswith("as no other method has as many seeds as SFT.")
    )


def test_a_setting_that_two_experiments_share_counts_once_with_the_methods_of_both() -> None:
    run = {"seed": 0, "value": 1, "best": 1, "curve": []}
    few = setting(tried("sft", 1, runs=[run]), tried("alm", 2, gap(0.1), runs=[run]))
    more = setting(tried("bytes", 1, gap(-0.05), runs=[run, run]), tried("sft", 2, runs=[run, run]), title="Other")
    apart = more.model_copy(update={"steps": 7, "name": "apart"})
    names = [
        evidence.SettingName(experiment=e, condition=c.name, title=c.title) for e, c in (("more", more), ("few", few))
    ]
    both = more.model_copy(
        update={"methods": [*more.methods, few.methods[1].model_copy(update={"source": names[1], "rank": 3})]}
    )
    experiments = [
        digest().experiments[0].model_copy(update={"name": name, "conditions": conditions})
        for name, conditions in (("few", [few]), ("more", [more, apart]))
    ]
    made = Digest(version=1, experiments=experiments, shared=[evidence.SharedSetting(of=names, condition=both)])
    assert [(e.name, c) for e, c in made.settings] == [("more", both), ("more", apart)] and len(made.conditions) == 3
    assert [each.name for each in advise(FACTS, ALL, made).evidence] == ["Bytes", "Bytes"]
    # A finding is of the condition that has the method's runs: there page Evidence shows them.
    found = finding_of("more", both, both.methods[2], ("", ""))
    assert (found.experiment, found.condition, found.title) == ("few", few.name, few.title)


def test_without_a_kind_experiments_are_not_spoken_of() -> None:
    found = advise({"classes": SPLIT}, ALL, digest(BETTER))
    assert (found.method, found.evidence, found.confidence, found.kind) == ("xtoken-hkl", (), "", "")


def test_damaged_evidence_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> Digest:
        raise EvidenceError("the evidence isn't whole JSON.")

    monkeypatch.setattr(advice, "load", fails)
    found = advise(FACTS, ALL)
    assert (found.method, found.confidence) == ("xtoken-hkl", NEVER)
    assert "isn't whole JSON" in found.warnings[-1]


def test_what_was_tried_on_a_named_pair() -> None:
    made = digest(BETTER)
    tried = "Tried in 1 setting, 1 of them decided: page Pair has what was found."
    assert tried_before(made, "smollm2", "gemma3-270m") == tried
    assert tried_before(made, "qwen", "smollm2") == "Never tried in an experiment."
    assert settings(made, "cross-family", "qwen", "smollm2")


@pytest.mark.real
@pytest.mark.slow
def test_kinds_in_experiments_are_those_of_their_tokenizers() -> None:
    """A kind is written in an experiment by hand; the tokenizers that are here say whether it is right."""
    from ctkd_core import load_tokenizer
    from ctkd_core.errors import TokenizerError
    from ctkd_core.pair.report import vocabulary_facts

    facts_of = cache(vocabulary_facts)  # few pairs in many conditions
    checked = 0
    for each in evidence.load().experiments:
        for condition in each.conditions:
            try:
                student, teacher = load_tokenizer(condition.student), load_tokenizer(condition.teacher)
            except TokenizerError:  # Gemma is here only where its terms were accepted
                continue
            facts = facts_of(student, teacher)
            facts = facts | {"overlap": {"canonical": facts["shares"]["canonical"]["smaller"]}}
            facts |= {"same_tokenizer": student is teacher}
            # A moved student is a transfer, and of the kind of its tokenizers as well.
            kinds = {kind_of(facts), kind_of(facts | {"student_model": condition.student_model})}
            assert condition.kind in kinds, f"{each.name}, {condition.name}"
            checked += 1
    assert checked
