"""When experiments put another method in the place of the rule's, and what they say against the one that is advised."""

from __future__ import annotations

import pytest

from ctkd_core.methods.evidence import Condition
from ctkd_core.pair.advice import advise
from tests.pair.test_evidence import (
    ALL,
    BEHIND,
    BETTER,
    COUPLE,
    ELSEWHERE,
    FACTS,
    HKL,
    KD,
    LEVEL,
    MASS,
    MAYBE_WORSE,
    MINE,
    MIXED,
    NOTHING,
    OTHERWISE_WORSE,
    OVER_IT,
    SFT,
    STRANGER,
    TEXT,
    THREE,
    TWO,
    WEIGHED,
    WORSE,
    WORSE_THAN_TEXT,
    digest,
    gap,
    setting,
    tried,
)

MINE_IS = {"student": "qwen", "teacher": "smollm2"}
# Decidedly worse than SFT, or than the rule's method, at three seeds of the regime in which others decide.
AS_BAD = setting(tried("sft", 1), tried("bytes", 2, gap(0.05, n=3)))
BEHIND_IT = setting(
    HKL.model_copy(update={"rank": 1}),
    tried("bytes", 2, gap(-0.01, n=3), to_others={"xtoken-hkl": gap(0.04, n=3)}),
    SFT,
)
TWO_WORSE = setting(tried("sft", 1), tried("bytes", 2, gap(0.05, n=2)))
MY_BETTER = BETTER.model_copy(update=MINE_IS)
MY_NOTHING = NOTHING.model_copy(update=MINE_IS)
MY_WORSE = AS_BAD.model_copy(update=MINE_IS)
MY_TEXT = MAYBE_WORSE.model_copy(update=MINE_IS)
MY_MANY = WORSE_THAN_TEXT.model_copy(update=MINE_IS)
HKL_WORSE = setting(tried("sft", 1), tried("xtoken-hkl", 2, gap(0.05, n=3)))


@pytest.mark.parametrize(
    ("conditions", "method", "said"),
    [
        ((BETTER,), "bytes", "Experiments put Bytes in the place of X-Token H-KL"),
        ((OVER_IT,), "bytes", "Experiments put Bytes"),
        ((LEVEL,), "xtoken-hkl", "Experiments put no other method in the place of X-Token H-KL."),
        ((NOTHING,), "xtoken-hkl", "rests on the rule, that is on X-Token's figures for H-KL"),
        ((TWO,), "xtoken-hkl", "haven't tried X-Token H-KL on such a pair, and put no other method in its place"),
        ((THREE,), "xtoken-hkl", "haven't tried"),  # a verdict, and too few seeds for advice
        ((MASS,), "xtoken-hkl", "haven't tried"),
        ((TEXT,), "sft", "Experiments put SFT"),
        ((BETTER, TEXT), "xtoken-hkl", "don't decide alike: Bytes (few samples), SFT (fresh text)"),
        ((BETTER, NOTHING), "bytes", "Experiments put Bytes"),
        ((OVER_IT, WORSE), "xtoken-hkl", "don't decide alike: Bytes (few samples); worse in fresh text"),
        ((BETTER, WORSE_THAN_TEXT), "xtoken-hkl", "don't decide alike: Bytes (few samples); worse in fresh text"),
        # Three seeds of another regime are told; in the same they are enough to prevent.
        ((BETTER, MAYBE_WORSE), "bytes", "decidedly worse than SFT: +0.05 bits per byte at 3 seeds, fresh text"),
        ((BETTER, AS_BAD), "xtoken-hkl", "don't decide alike: Bytes (few samples); worse in few samples"),
        ((OVER_IT, BEHIND_IT), "xtoken-hkl", "don't decide alike: Bytes (few samples); worse in few samples"),
        ((BETTER, TWO_WORSE), "bytes", "Settings of pairs of its kind (cross-family) say so"),
        ((BETTER, OTHERWISE_WORSE), "bytes", "Experiments put Bytes"),  # with options that nobody proposes
        ((WORSE,), "xtoken-hkl", "put no other method in the place of"),
        ((BETTER, MINE), "alm", "Settings of this pair say so"),  # what was tried on the pair itself comes first
        ((BETTER, MY_NOTHING), "bytes", "; those of this pair itself decide nothing"),  # and its kind isn't forgotten
        ((BETTER, MY_WORSE), "xtoken-hkl", "don't decide alike: Bytes (few samples); worse in few samples"),
        ((BETTER, MY_TEXT), "bytes", "decidedly worse than SFT: +0.05 bits per byte at 3 seeds, fresh text"),
        ((BETTER, MY_MANY), "xtoken-hkl", "don't decide alike: Bytes (few samples); worse in fresh text"),
        ((MY_BETTER, WORSE_THAN_TEXT), "bytes", "decidedly worse than SFT: +0.05 bits per byte at 5 seeds, fresh text"),
        ((MY_BETTER, AS_BAD), "xtoken-hkl", "don't decide alike: Bytes (few samples); worse in few samples"),
        ((HKL_WORSE,), "xtoken-hkl", "But they find X-Token H-KL decidedly worse than SFT: +0.05"),
        ((WEIGHED,), "bytes", "Experiments put Bytes"),
        ((ELSEWHERE,), "xtoken-hkl", "put no other method"),
        ((BEHIND,), "bytes", "Experiments put Bytes"),
        ((MIXED,), "xtoken-hkl", "haven't tried"),
        ((KD,), "bytes", "Experiments put Bytes"),
        ((STRANGER,), "bytes", "Experiments put Bytes"),
        ((COUPLE,), "xtoken-hkl", "haven't tried"),
        ((), "xtoken-hkl", "No experiment of ours has a pair of this kind (cross-family)"),
    ],
)
def test_experiments_change_the_method_only_where_they_decide(
    conditions: tuple[Condition, ...], method: str, said: str
) -> None:
    found = advise(FACTS, ALL, digest(*conditions))
    assert found.method == method
    assert said in found.because[-1]
    assert (found.family, found.verdict) == ("xtoken-hkl", "H-KL")
    assert found.options == ({"method_options.ce_weight": 0.2} if conditions == (WEIGHED,) else {})


def test_what_cannot_be_trained_here_is_not_advised() -> None:
    assert advise(FACTS, ALL - {"bytes"}, digest(BETTER)).method == "xtoken-hkl"


def test_what_speaks_against_the_advised_method_is_listed() -> None:
    lost = setting(
        tried("sft", 1), tried("bytes", 2, gap(-0.2, n=3)), regime="no gold text", higher_is_better=True, figure="mass"
    )
    found = advise(FACTS, ALL, digest(BETTER, MAYBE_WORSE, lost))
    assert (found.method, [each.regime for each in found.counter]) == ("bytes", ["fresh text", "no gold text"])
    first = found.counter[0]
    assert (first.method, first.difference, first.n, first.worse) == ("bytes", 0.05, 3, True)
    assert first.sentence == (
        "Setting fresh text (gemma3-270m → smollm2, fresh text): Bytes is decidedly worse, +0.05 (+0.04 to +0.06) bits "
        "per byte against SFT, n = 3, chance 0.0625; a lead."
    )
    assert "-0.2 mass at 3 seeds, no gold text" in found.because[-1]
    assert [row["worse"] for row in found.to_dict()["counter"]] == [True, True]
    assert not any(row["worse"] for row in found.to_dict()["evidence"])


def test_nothing_speaks_against_what_is_undecided_or_has_other_options() -> None:
    mixed = MAYBE_WORSE.methods[1].model_copy(
        update={"to_baseline": gap(0.05, n=4).model_copy(update={"probability": 0.25})}
    )
    seeds_differ = MAYBE_WORSE.model_copy(update={"methods": [MAYBE_WORSE.methods[0], mixed]})
    for other in (OTHERWISE_WORSE, TWO_WORSE, seeds_differ):
        assert advise(FACTS, ALL, digest(BETTER, other)).counter == ()
