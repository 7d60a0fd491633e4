"""What experiments say about a pair: which kind it is, what was tried on such pairs, and whether that decides anything.

The rule of `advice` rests on published figures. Experiments change its method only where they decide: see `favoured`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pydantic.dataclasses import dataclass

from ctkd_core.methods import METHODS
from ctkd_core.methods.evidence import Condition, Difference, Digest, Tried
from ctkd_core.methods.evidence.records import CROSS, LITTLE, NUMBERS, SAME, TRANSFER

THIS, SUCH, NEVER = "tried on this pair", "tried on such a pair", "never tried on such a pair"
# The smallest canonical overlap (of the smaller vocabulary) that NeMo-RL's guide to X-Token lists: Llama 3.2 with
# OLMo2-SuperBPE. Below it nothing is published for methods that rest on a vocabulary map.
LEAST_OVERLAP = 0.498
# A critical class counts as missing below this share. Ours: the paper's pairs have 0 or 1, this lies half-way.
CRITICAL_SHARE = 0.5
# What it takes to put another method in the place of the rule's. Ours: a verdict needs three seeds, but three can't
# bring the probability of chance below 0.25; five can bring it to 0.06. And bits per byte must be what was compared.
# Intervals aren't corrected for the number of methods, so beside them every seed must agree: the probability of chance
# is as small as n seeds can make it, 2 / 2^n, or below one in a thousand.
LEAST_SEEDS = 5
SMALL_CHANCE = 0.001
JUDGED_BY = "bits_per_byte"
_MULTI_DIGIT = ("digits_2", "digits_3")


@dataclass(frozen=True)
class Finding:
    """The best method of one setting in which such a pair, or this one, was tried.

    method, options   what came first of the methods that such a pair can have (see `fitting`), and its run options that
                      aren't at their defaults
    difference        to the baseline (SFT), with its 95 % interval, at n seeds; None where the baseline is the best, or
                      wasn't run. probability: of such a difference by chance
    decided           whether that difference is: n of 3 and more, and the interval leaves 0 out
    ranked            whether there is an order: two methods or more with the most seeds
    tried_on          {"student", "teacher"}; this_pair: whether these are the pair asked about
    """

    kind: str
    regime: str
    title: str
    experiment: str
    condition: str
    tried_on: dict[str, str]
    this_pair: bool
    figure: str
    baseline: str
    method: str
    name: str
    options: dict[str, Any]
    difference: float | None
    low: float | None
    high: float | None
    probability: float | None
    n: int
    decided: bool
    ranked: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in `ctkd pair --json`."""
        return asdict(self)

    @property
    def sentence(self) -> str:
        """The finding in words."""
        pair = f"{self.tried_on['teacher']} → {self.tried_on['student']}"
        where = f"{self.title} ({pair}, {self.regime})"
        if not self.ranked:
            return f"{where}: no order yet, as no other method has as many seeds as {self.name}."
        if self.difference is None:
            return f"{where}: {self.name} comes first."
        ends = "" if self.low is None else f" ({self.low:+.3g} to {self.high:+.3g})"
        said = "undecided" if not self.decided else "decided" if self.n >= LEAST_SEEDS else "a lead"
        what = f"{self.difference:+.3g}{ends} {self.figure.replace('_', ' ')} against {self.baseline}"
        return f"{where}: {self.name} comes first, {what}, n = {self.n}, chance {self.probability:.3g}; {said}."


def kind_of(facts: Mapping[str, Any]) -> str:
    """The kind of a pair, one of `methods.evidence.KINDS`, from the facts that `advise` takes.

    student_model   how the student is made, where that is known; "transplant" is a tokenizer transfer
    """
    classes = facts.get("classes") or {}
    rows = [classes[name] for name in _MULTI_DIGIT if classes.get(name, {}).get("total")]
    overlap = (facts.get("overlap") or {}).get("canonical")
    if facts.get("same_tokenizer"):
        return SAME
    if facts.get("student_model") == "transplant":
        return TRANSFER
    if overlap is not None and overlap < LEAST_OVERLAP:
        return LITTLE
    return NUMBERS if any(row["matched"] / row["total"] < CRITICAL_SHARE for row in rows) else CROSS


def settings(digest: Digest, kind: str, student: str, teacher: str) -> list[tuple[str, Condition]]:
    """The settings that count for a pair, each with its experiment: of this pair where there are any, else of its kind.

    A setting with a single method compares nothing and doesn't count; one that several experiments share counts once.
    """
    there = [(e.name, c) for e, c in digest.settings if len(fitting(c)) > 1]
    own = [(name, c) for name, c in there if (c.student, c.teacher) == (student, teacher)]
    return own or [(name, c) for name, c in there if c.kind == kind]


def findings(found: Sequence[tuple[str, Condition]], student: str, teacher: str) -> tuple[Finding, ...]:
    """The best method of each setting."""
    return tuple(_finding(name, condition, (student, teacher)) for name, condition in found)


def tried_before(digest: Digest, student: str, teacher: str) -> str:
    """How much was tried on this very pair, in a sentence, without a look at its tokenizers."""
    found = findings(settings(digest, "", student, teacher), student, teacher)
    if not found:
        return "Never tried in an experiment."
    decided = sum(finding.decided for finding in found)
    where = "1 setting" if len(found) == 1 else f"{len(found)} settings"
    return f"Tried in {where}, {decided or 'none'} of them decided: page Pair has what was found."


def confidence(found: Sequence[Finding]) -> str:
    """How near the experiments came to the pair: THIS, SUCH or NEVER."""
    return THIS if any(each.this_pair for each in found) else SUCH if found else NEVER


def fitting(condition: Condition) -> list[Tried]:
    """The methods of a setting that have runs and speak for its pair, ranked ones first, best first.

    Left out are those with another teacher or with further ones, and those that need one tokenizer on both sides where
    the pair has two: what they reach, such a pair can't.
    """
    return [
        tried
        for tried in condition.done
        if not (tried.teacher or tried.further_teachers)
        and (condition.kind == SAME or not (tried.method in METHODS and METHODS[tried.method].same_tokenizer))
    ]


@dataclass(frozen=True)
class Judgement:
    """What the settings decide about a method.

    best     the method that takes its place; None where the settings decide nothing, or not alike
    against  the settings that decide against it, each with the method that is decidedly better there
    worse    the settings in which the one method that `against` names is itself decidedly worse
    """

    best: Tried | None
    against: list[tuple[Condition, Tried]]
    worse: list[Condition]


def favoured(found: Sequence[tuple[str, Condition]], method: str, able: Collection[str]) -> Judgement:
    """What the experiments put in the place of `method`.

    A setting decides against a method for the first of its ranking that fits (`fitting`) and is decidedly better, in
    bits per byte and at LEAST_SEEDS equal seeds or more: than the method where that was tried with its defaults, else
    than the baseline. Decidedly: the 95 % interval leaves 0 out, and all differences have one sign (the sign-flip
    probability is at its minimum for n, or below SMALL_CHANCE). It takes the place if every setting that decides names
    the same one, with the same options, if no setting finds it decidedly worse than the same opponent, and if it can be
    trained (`able`).
    """
    settings = [condition for _, condition in found if condition.figure == JUDGED_BY]
    against = [(condition, best) for condition in settings if (best := _better(condition, method)) is not None]
    first = against[0][1] if against else None
    if first is None or any((t.method, t.options) != (first.method, first.options) for _, t in against):
        return Judgement(None, against, [])
    worse = [condition for condition in settings if _worse(condition, first, method)]
    return Judgement(first if not worse and first.method in able else None, against, worse)


def _better(condition: Condition, method: str) -> Tried | None:
    """The first method of a setting that is decidedly better than `method` at equal seeds."""
    up = condition.higher_is_better
    return next((tried for tried in fitting(condition) if _decides(_gap(condition, tried, method), up)), None)


def _worse(condition: Condition, proposed: Tried, method: str) -> bool:
    """Whether a setting finds the proposed method, with its options, decidedly worse than `method` at equal seeds."""
    same = [t for t in fitting(condition) if (t.method, t.options) == (proposed.method, proposed.options)]
    return any(_decides(_gap(condition, tried, method), not condition.higher_is_better) for tried in same)


def _gap(condition: Condition, tried: Tried, method: str) -> Difference | None:
    """A method's difference to `method` where that was tried with its defaults, else to the baseline."""
    mine = next((t for t in fitting(condition) if t.method == method and not t.options), None)
    than = mine.label if mine is not None else condition.baseline
    if tried.label == than:
        return None
    return tried.to_baseline if than == condition.baseline else tried.to_others.get(than)


def _decides(gap: Difference | None, up: bool) -> bool:
    """Whether a difference at equal seeds is enough for advice, and goes up or down as is asked."""
    return (
        gap is not None
        and gap.decided
        and (gap.mean > 0) == up
        and gap.n >= LEAST_SEEDS
        and gap.probability <= max(2 / 2**gap.n, SMALL_CHANCE)
    )


def _finding(experiment: str, condition: Condition, pair: tuple[str, str]) -> Finding:
    there = fitting(condition)
    best = there[0]
    base = condition.find(condition.baseline)
    gap = best.to_baseline
    return Finding(
        kind=condition.kind,
        regime=condition.regime,
        title=condition.title,
        experiment=experiment,
        condition=condition.name,
        tried_on={"student": condition.student, "teacher": condition.teacher},
        this_pair=(condition.student, condition.teacher) == pair,
        figure=condition.figure,
        baseline=base.title if base else "",
        method=best.method,
        name=best.title,
        options=dict(best.options),
        difference=gap.mean if gap else None,
        low=gap.low if gap else None,
        high=gap.high if gap else None,
        probability=gap.probability if gap else None,
        n=gap.n if gap else len(best.runs),
        decided=bool(gap and gap.decided),
        ranked=sum(tried.rank is not None for tried in there) > 1,
    )
