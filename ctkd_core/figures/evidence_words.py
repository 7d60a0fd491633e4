"""What all experiments together say, in sentences: what didn't reproduce, what they took, what they have in common."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ctkd_core.figures.evidence import setting_name
from ctkd_core.methods.evidence import KINDS, REGIMES, Claim, Condition, Digest, Experiment, Verdict

IN_SHORT = "In short"  # how the first paragraph of an answer begins
BUDGET_HOURS = 6  # for all experiments on two cores, set before the first of them was run
# Verdicts that a list of what didn't reproduce holds, and what each means.
MISSED: dict[Verdict, str] = {
    "contradicted": "The difference is decided and goes the other way.",
    "undecided": "The interval holds 0, the difference is rounding, or there are fewer than three seeds: nothing is "
    "shown, neither way.",
}


def not_reproduced(found: Digest, verdict: Verdict) -> list[tuple[Experiment, list[Claim]]]:
    """The claims with this verdict, by the experiment that asked; experiments without any are left out."""
    by_experiment = [(each, [c for c in each.claims if c.verdict == verdict]) for each in found.experiments]
    return [(experiment, claims) for experiment, claims in by_experiment if claims]


def in_short(experiment: Experiment) -> str:
    """The first paragraph of its answer, without the words that announce it; "" where it isn't a short answer."""
    first = experiment.answer.partition("\n\n")[0]
    said = first.removeprefix(IN_SHORT).lstrip(":, ")
    return said[:1].upper() + said[1:] if first.startswith(IN_SHORT) else ""


def missed_sentence(found: Digest, verdict: Verdict) -> str:
    """How many claims have this verdict, and what it means."""
    count = sum(len(claims) for _, claims in not_reproduced(found, verdict))
    return f"{count} of {len(found.claims)} claims. {MISSED[verdict]}"


def spent_sentence(found: Digest) -> str:
    """What the runs that are kept took, beside the budget and what was said of each experiment beforehand."""
    taken, spent = (sum(getattr(e, name) for e in found.experiments) / 60 for name in ("run_minutes", "cpu_minutes"))
    announced = sum(each.minutes for each in found.experiments) / 60
    verdict = "more than" if taken > BUDGET_HOURS else "within"
    return (
        f"The budget set beforehand was {BUDGET_HOURS} hours on two cores for all of it. The runs kept here took "
        f"{taken:.1f} hours one after another, loading and measuring included, on a machine that other work shared; "
        f"that is {verdict} the budget. Those that train took {spent:.1f} hours of CPU time. What the experiments say "
        f"beforehand adds up to {announced:.1f} hours: each counts the runs that it shares with others."
    )


def cpu_sentence(found: Digest) -> str:
    """How steady CPU seconds, and seconds, are."""
    spread, seconds = found.cpu_spread, found.seconds_spread
    what = "CPU seconds are those of all threads. Other work on the machine changes them, too"
    if spread is None:
        return f"{what}."
    beside = "" if seconds is None else f"; of seconds, {seconds.median:.2f} and {seconds.most:.1f} times"
    return (
        f"{what}: between the seeds of one method in one setting the largest is {spread.median:.2f} times the smallest "
        f"(median of {spread.cells} cases), and {spread.most:.1f} times at most{beside}."
    )


def beaten_sentences(found: Digest, method: str) -> list[str]:
    """The settings in which a method, as it comes, is decidedly behind another one, and behind which: bits per byte.

    The first of them says in how many settings that is so; [] for a method that was never tried so.
    """
    sentences, tried_in = [], 0
    for experiment, condition in found.settings:
        tried = next((t for t in condition.done if t.method == method and not (t.options or t.further_teachers)), None)
        own = condition.figure == "bits_per_byte"
        if tried is None or tried.teacher or not (own or tried.bits_to_baseline):
            continue
        tried_in += 1
        gaps = {condition.baseline: tried.to_baseline if own else tried.bits_to_baseline}
        gaps |= tried.to_others if own else tried.bits_to_others
        behind = [
            f"{_title(condition, label)} {gap.mean:+.3g} ({gap.low:+.3g} to {gap.high:+.3g}; {gap.n} seeds)"
            for label, gap in gaps.items()
            if gap is not None and gap.decided and gap.mean > 0
        ]
        if behind:
            sentences.append(f"{setting_name(experiment.name, condition.title)}: behind {', '.join(behind)}")
    if not tried_in:
        return []
    return [f"Decidedly behind another method in {len(sentences)} of {tried_in} settings.", *sentences]


def _title(condition: Condition, label: str) -> str:
    found = condition.find(label)
    return found.title if found else label


def overlap_sentences(found: Digest) -> list[str]:
    """For each kind of pair and regime, how many of its settings learn from the same text or are measured on the same.

    Of settings that compare bits per byte with SFT. Those that share text aren't independent of each other.
    """
    sentences = []
    for kind, regime in itertools.product(KINDS, REGIMES):
        there = [
            condition
            for _, condition in found.settings
            if (condition.kind, condition.regime, condition.figure) == (kind, regime, "bits_per_byte")
            and condition.baseline == "sft"
        ]
        learnt, both = _sharing(there, 1), _sharing(there, 2)
        if learnt > 1:
            sentences.append(
                f"{kind}, {regime}: {learnt} of {len(there)} settings learn from the same pieces at equal seeds"
                + (f", {both} are measured on the same pieces too." if both > 1 else ".")
            )
    return sentences


def _sharing(conditions: Sequence[Condition], parts: int) -> int:
    """How many conditions have the first `parts` of their text files in common with most."""
    files = [tuple(c.text_files[:parts]) for c in conditions if len(c.text_files) >= parts]
    return max(map(files.count, files), default=0)
