"""Figures and verdicts in words, as answers and tables hold them: better or worse, by how much, over how many seeds."""

from __future__ import annotations

from collections.abc import Sequence

from ctkd_core.methods.evidence import Difference, Interval

NOT_RUN = "not run"
UNDECIDED = "undecided"


def words_of(figure: str) -> tuple[str, str]:
    """What less and more of a figure are called."""
    return ("better", "worse") if figure.startswith("bits") else ("lower", "higher")


def word(gap: Difference | None, figure: str) -> str:
    """What a difference is: "decidedly better", "undecided", "not run"."""
    if gap is None:
        return NOT_RUN
    return f"decidedly {words_of(figure)[gap.mean > 0]}" if gap.decided else UNDECIDED


def stand(verdict: str, figure: str, name: str) -> str:
    """A word with what it is said against: "decidedly better than SFT", "not decidedly better or worse than SFT"."""
    if verdict != UNDECIDED:
        return f"{verdict} than {name}"
    return f"not decidedly {' or '.join(words_of(figure))} than {name}"


def in_words(gap: Difference | None, figure: str) -> str:
    """A difference, as "decidedly better by 0.03 (0.02 to 0.04; 5 seeds)" or "undecided (-0.01, ...)"."""
    if gap is None:
        return NOT_RUN
    seeds = counted(gap.n, "seed")
    if not gap.decided or gap.low is None or gap.high is None:
        ends = "" if gap.low is None or gap.high is None else f", {signed(gap.low)} to {signed(gap.high)}"
        return f"{word(gap, figure)} ({signed(gap.mean)}{ends}; {seeds})"
    low, high = sorted((abs(gap.low), abs(gap.high)))
    return f"{word(gap, figure)} by {short(abs(gap.mean))} ({short(low)} to {short(high)}; {seeds})"


def value(found: Interval | None, count: bool = False) -> str:
    """A mean with its interval; `count`: with the number of runs."""
    if found is None:
        return NOT_RUN
    ends = "" if found.low is None or found.high is None else f" ({short(found.low)} to {short(found.high)})"
    return f"{short(found.mean)}{ends}" + (f", n = {found.n}" if count else "")


def signed(number: float) -> str:
    """Three digits with a sign."""
    return f"{number:+.3g}"


def short(number: float) -> str:
    """Three digits, whole numbers in full."""
    return f"{number:.0f}" if abs(number) >= 1000 else f"{number:.3g}"


def counted(number: int, thing: str) -> str:
    """The number of things: "1 seed", "3 seeds"."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def listed(names: Sequence[str]) -> str:
    """Names in a row: "a, b and c"; "none" without any."""
    if len(names) < 2:
        return "".join(names) or "none"
    return f"{', '.join(names[:-1])} and {names[-1]}"
