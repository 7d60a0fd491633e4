"""Whether experiments put another method in the place of the rule's, and what speaks against the one that is advised.

To recommend takes more than to warn: a method takes the rule's place at five seeds; three are enough to say where it is
worse, and to keep it from being recommended by settings of the same regime.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic.dataclasses import dataclass

from ctkd_core import methods
from ctkd_core.methods.evidence import Condition, Difference, Tried
from ctkd_core.methods.evidence.figures import in_words
from ctkd_core.methods.evidence.records import LEAST_RUNS
from ctkd_core.pair.evidence import LEAST_SEEDS, Finding, finding_of, fitting

# What decides must have been compared by this figure; what is worse by another one is told, and prevents nothing.
JUDGED_BY = "bits_per_byte"
# Intervals aren't corrected for the number of methods, so beside them every seed must agree: the probability of chance
# is as small as n seeds can make it, 2 / 2^n, or below one in a thousand. Ours.
SMALL_CHANCE = 0.001
Settings = Sequence[tuple[str, Condition]]


@dataclass(frozen=True)
class Judgement:
    """What the settings decide about the rule's method.

    method   that method
    tried    whether settings of the pair itself compare by the figure that decides
    best     the one that takes its place; None where the settings decide nothing, or not alike
    against  the settings that decide against it, each with the method that is decidedly better there
    worse    the settings that keep the one method that `against` names from its place
    own      whether `against` are settings of the pair itself; those of its kind are asked where these decide nothing
    """

    method: str
    tried: bool
    best: Tried | None
    against: list[tuple[Condition, Tried]]
    worse: list[Condition]
    own: bool


def favoured(found: Settings, method: str, able: Collection[str], pair: tuple[str, str] = ("", "")) -> Judgement:
    """What the experiments put in the place of `method` for a pair (student, teacher).

    A setting decides against a method for the first of its ranking that fits (`evidence.fitting`) and is decidedly
    better, in bits per byte and at LEAST_SEEDS equal seeds or more: than the method where that was tried with its
    defaults, else than the baseline. Decidedly: the 95 % interval leaves 0 out, and all differences have one sign (the
    sign-flip probability is at its minimum for n, or below SMALL_CHANCE). The settings of the pair itself are asked;
    where they decide nothing, those of its kind beside them. The method that is named takes the place if

    - every setting that decides names it, with the same options, and it can be trained (`able`);
    - none of the settings asked finds it decidedly worse at as many seeds;
    - none of this pair or its kind finds it decidedly worse in the regime of one that decides, for which LEAST_RUNS
      equal seeds are enough. Worse: than the same opponent, or than the baseline.
    """
    comparable = [condition for _, condition in found if condition.figure == JUDGED_BY]
    own = [condition for condition in comparable if _is_of(condition, pair)]
    alone = any(_better(condition, method) for condition in own)
    asked = own if alone else comparable
    named = [(condition, best) for condition in asked if (best := _better(condition, method)) is not None]
    first = named[0][1] if named else None
    if first is None or any((t.method, t.options) != (first.method, first.options) for _, t in named):
        return Judgement(method, bool(own), None, named, [], alone)
    regimes = {condition.regime for condition, _ in named}
    worse = [
        condition
        for condition in comparable
        if ((not alone or _is_of(condition, pair)) and _worse(condition, first, method, LEAST_SEEDS))
        or (condition.regime in regimes and _worse(condition, first, method, LEAST_RUNS))
    ]
    best = first if not worse and first.method in able else None
    return Judgement(method, bool(own), best, named, worse, alone)


def against(found: Settings, method: str, options: Mapping[str, Any], pair: tuple[str, str]) -> tuple[Finding, ...]:
    """The settings that find a method, with these options, decidedly worse than the baseline, by whatever figure.

    LEAST_RUNS equal seeds are enough, if they agree.
    """
    return tuple(
        finding_of(experiment, condition, tried, pair, worse=True)
        for experiment, condition in found
        for tried in fitting(condition)
        if (tried.method, tried.options) == (method, options)
        and _decides(tried.to_baseline, not condition.higher_is_better, LEAST_RUNS)
    )


def because(judged: Judgement, found: Settings, advised: str, counter: Sequence[Finding], kind: str) -> list[str]:
    """Sentences on what the experiments decide, and what speaks against the method that is advised (`against`)."""
    name = methods.get(judged.method).label
    if not found:
        return [f"No experiment of ours has a pair of this kind ({kind})."]
    if judged.best is not None:
        regimes = ", ".join(dict.fromkeys(condition.regime for condition, _ in judged.against))
        where = "Settings of this pair say so" if judged.own else f"Settings of pairs of its kind ({kind}) say so"
        undecided = "; those of this pair itself decide nothing" if judged.tried and not judged.own else ""
        said = [
            f"Experiments put {judged.best.title} in the place of {name}, which the rule names: better at every one of "
            f"{LEAST_SEEDS} seeds or more, and the interval of the difference leaves 0 out.",
            f"{where}, in the regime {regimes}{undecided}.",
        ]
    elif judged.against:
        said = [f"Experiments don't decide alike: {_named(judged)}."]
    elif any(tried.method == judged.method for _, condition in found for tried in fitting(condition)):
        said = [f"Experiments put no other method in the place of {name}."]
    else:
        said = [f"Experiments haven't tried {name} on such a pair, and put no other method in its place."]
    if counter:
        told = "; ".join(dict.fromkeys(f"{_figure(each)}, {each.regime}" for each in counter))
        said.append(f"But they find {methods.get(advised).label} decidedly worse than {counter[0].baseline}: {told}.")
    return said


def _figure(found: Finding) -> str:
    """The difference and its figure in words."""
    return f"{found.difference:+.3g} {in_words(found.figure)} at {found.n} seeds"


def _named(judged: Judgement) -> str:
    """What the settings that decide something name, and where the one that they name is worse."""
    named = ", ".join(f"{tried.title} ({condition.regime})" for condition, tried in judged.against)
    worse = ", ".join(dict.fromkeys(condition.regime for condition in judged.worse))
    return f"{named}; worse in {worse}" if worse else named


def _is_of(condition: Condition, pair: tuple[str, str]) -> bool:
    return (condition.student, condition.teacher) == pair


def _better(condition: Condition, method: str) -> Tried | None:
    """The first method of a setting that is decidedly better than `method` at equal seeds."""
    up = condition.higher_is_better
    return next((t for t in fitting(condition) if _decides(_gap(condition, t, method), up, LEAST_SEEDS)), None)


def _worse(condition: Condition, proposed: Tried, method: str, least: int) -> bool:
    """Whether a setting finds the proposed method, with its options, decidedly worse than `method` or the baseline."""
    same = [t for t in fitting(condition) if (t.method, t.options) == (proposed.method, proposed.options)]
    gaps = [gap for tried in same for gap in (_gap(condition, tried, method), tried.to_baseline)]
    return any(_decides(gap, not condition.higher_is_better, least) for gap in gaps)


def _gap(condition: Condition, tried: Tried, method: str) -> Difference | None:
    """A method's difference to `method` where that was tried with its defaults, else to the baseline."""
    mine = next((t for t in fitting(condition) if t.method == method and not t.options), None)
    than = mine.label if mine is not None else condition.baseline
    if tried.label == than:
        return None
    return tried.to_baseline if than == condition.baseline else tried.to_others.get(than)


def _decides(gap: Difference | None, up: bool, least: int) -> bool:
    """Whether a difference at `least` equal seeds or more is enough for advice, and goes up or down as is asked."""
    return (
        gap is not None
        and gap.decided
        and (gap.mean > 0) == up
        and gap.n >= least
        and gap.probability <= max(2 / 2**gap.n, SMALL_CHANCE)
    )
