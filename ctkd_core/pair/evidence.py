"""What experiments say about a pair: which kind it is, what was tried on it and on such pairs, and how near that comes.

Whether it changes the rule's method is told by `judging`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pydantic.dataclasses import dataclass

from ctkd_core.methods import METHODS
from ctkd_core.methods.evidence import Condition, Digest, SettingName, Tried
from ctkd_core.methods.evidence.figures import in_words
from ctkd_core.methods.evidence.records import CROSS, LITTLE, NUMBERS, SAME, TRANSFER

THIS, SUCH, NEVER = "tried on this pair", "tried on such a pair", "never tried on such a pair"
# What stands behind the first two where all that was tried had a student made of its teacher, which isn't asked about.
MOVED = " of tokenizers, with a transplanted student"
TRANSPLANT = "transplant"
# The smallest canonical overlap (of the smaller vocabulary) that NeMo-RL's guide to X-Token lists: Llama 3.2 with
# OLMo2-SuperBPE. Below it nothing is published for methods that rest on a vocabulary map.
LEAST_OVERLAP = 0.498
# A critical class counts as missing below this share. Ours: the paper's pairs have 0 or 1, this lies half-way.
CRITICAL_SHARE = 0.5
# Seeds at which experiments may put another method in the place of the rule's. Ours: a verdict needs three, but three
# can't bring the probability of chance below 0.25; five can bring it to 0.06.
LEAST_SEEDS = 5
_MULTI_DIGIT = ("digits_2", "digits_3")


@dataclass(frozen=True)
class Finding:
    """The best method of one setting in which such a pair, or this one, was tried; or (`worse`) where one loses.

    title, experiment, condition   where the method has most runs; experiments may share the setting
    method, options   what came first of the methods that such a pair can have (see `fitting`), and its run options that
                      aren't at their defaults; with `worse`, the method that is advised
    difference        to the baseline (SFT), with its 95 % interval, at n seeds; None where the baseline is the best, or
                      wasn't run. probability: of such a difference by chance
    decided           whether that difference is: n of 3 and more, and the interval leaves 0 out
    ranked            whether there is an order: two methods or more with the most seeds
    tried_on          {"student", "teacher"}; this_pair: whether these are the pair asked about
    student_model     how the student was made: "transplant" is its teacher's body moved to the student's tokenizer
    worse             whether the setting finds the method decidedly worse than the baseline
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
    student_model: str = ""
    worse: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in `ctkd pair --json`."""
        return asdict(self)

    @property
    def sentence(self) -> str:
        """The finding in words."""
        pair = f"{self.tried_on['teacher']} → {self.tried_on['student']}"
        moved = "a transplanted student, " if self.student_model == TRANSPLANT else ""
        where = f"{self.title} ({pair}, {moved}{self.regime})"
        if not self.ranked:
            return f"{where}: no order yet, as no other method has as many seeds as {self.name}."
        if self.difference is None:
            return f"{where}: {self.name} comes first."
        ends = "" if self.low is None else f" ({self.low:+.3g} to {self.high:+.3g})"
        said = "undecided" if not self.decided else "decided" if self.n >= LEAST_SEEDS else "a lead"
        what = f"{self.difference:+.3g}{ends} {in_words(self.figure)} against {self.baseline}"
        order = "is decidedly worse" if self.worse else "comes first"
        return f"{where}: {self.name} {order}, {what}, n = {self.n}, chance {self.probability:.3g}; {said}."


def kind_of(facts: Mapping[str, Any]) -> str:
    """The kind of a pair, one of `methods.evidence.KINDS`, from the facts that `advise` takes.

    student_model   how the student is made, where that is known; "transplant" is a tokenizer transfer
    """
    classes = facts.get("classes") or {}
    rows = [classes[name] for name in _MULTI_DIGIT if classes.get(name, {}).get("total")]
    overlap = (facts.get("overlap") or {}).get("canonical")
    if facts.get("same_tokenizer"):
        return SAME
    if facts.get("student_model") == TRANSPLANT:
        return TRANSFER
    if overlap is not None and overlap < LEAST_OVERLAP:
        return LITTLE
    return NUMBERS if any(row["matched"] / row["total"] < CRITICAL_SHARE for row in rows) else CROSS


def settings(digest: Digest, kind: str, student: str, teacher: str) -> list[tuple[str, Condition]]:
    """The settings that count for a pair, each with its experiment: those of this pair, then the others of its kind.

    A setting with a single method compares nothing and doesn't count; one that several experiments share counts once.
    """
    there = [(e.name, c) for e, c in digest.settings if len(fitting(c)) > 1]
    own = [(name, c) for name, c in there if (c.student, c.teacher) == (student, teacher)]
    return own + [(name, c) for name, c in there if c.kind == kind and (c.student, c.teacher) != (student, teacher)]


def findings(found: Sequence[tuple[str, Condition]], student: str, teacher: str) -> tuple[Finding, ...]:
    """The best method of each setting."""
    return tuple(finding_of(name, c, fitting(c)[0], (student, teacher)) for name, c in found)


def tried_before(digest: Digest, student: str, teacher: str) -> str:
    """How much was tried on this very pair, in a sentence, without a look at its tokenizers."""
    found = findings(settings(digest, "", student, teacher), student, teacher)
    if not found:
        return "Never tried in an experiment."
    decided = sum(finding.decided for finding in found)
    where = "1 setting" if len(found) == 1 else f"{len(found)} settings"
    return f"Tried in {where}, {decided or 'none'} of them decided: page Pair has what was found."


def confidence(found: Sequence[Finding], kind: str = "") -> str:
    """How near the experiments came to a pair of this kind: THIS, SUCH or NEVER.

    The first two with MOVED behind, where all students that come so near were transplanted and the pair asked about is
    no transfer: its tokenizers were tried, another student wasn't.
    """
    own = [each for each in found if each.this_pair]
    near = own or list(found)
    if not near:
        return NEVER
    moved = kind not in ("", TRANSFER) and all(each.student_model == TRANSPLANT for each in near)
    return f"{THIS if own else SUCH}{MOVED if moved else ''}"


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


def finding_of(
    experiment: str, condition: Condition, tried: Tried, pair: tuple[str, str], worse: bool = False
) -> Finding:
    """What a setting finds of one of its methods: that it comes first, or with `worse` that it is decidedly worse.

    pair   the (student, teacher) asked about
    """
    base = condition.find(condition.baseline)
    gap = tried.to_baseline
    where = tried.source or SettingName(experiment=experiment, condition=condition.name, title=condition.title)
    return Finding(
        kind=condition.kind,
        regime=condition.regime,
        title=where.title,
        experiment=where.experiment,
        condition=where.condition,
        tried_on={"student": condition.student, "teacher": condition.teacher},
        this_pair=(condition.student, condition.teacher) == pair,
        figure=condition.figure,
        baseline=base.title if base else "",
        method=tried.method,
        name=tried.title,
        options=dict(tried.options),
        difference=gap.mean if gap else None,
        low=gap.low if gap else None,
        high=gap.high if gap else None,
        probability=gap.probability if gap else None,
        n=gap.n if gap else len(tried.runs),
        decided=bool(gap and gap.decided),
        ranked=worse or sum(each.rank is not None for each in fitting(condition)) > 1,
        student_model=condition.student_model,
        worse=worse,
    )
