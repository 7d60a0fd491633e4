"""Which of several runs is better, in one sentence that doesn't claim more than the seeds support."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import mean
from typing import Any


def better_sentence(summaries: Iterable[Mapping[str, Any]]) -> str:
    """Compare runs by bits per byte on held-out text; runs that differ in the seed alone count as one kind.

    summaries: `Run.summary()` of each run, in the order of comparison.
    """
    kinds: dict[tuple[Any, ...], list[float]] = {}
    for row in summaries:
        value = row["metrics"].get("bits_per_byte_after")
        if value is not None:
            key = tuple(row.get(name) for name in ("method", "variant", "student", "teacher", "student_model", "steps"))
            kinds.setdefault(key, []).append(value)
    if len(kinds) < 2:
        return "" if not kinds else "Only one kind of run has been evaluated; there is nothing to rank yet."
    (best, low), (second, next_low) = sorted(kinds.items(), key=lambda item: mean(item[1]))[:2]
    names = [_name(key, kinds) for key in (best, second)]
    gap = mean(next_low) - mean(low)
    text = f"{names[0]} is ahead of {names[1]} by {gap:.3f} bits per byte"
    if min(len(low), len(next_low)) < 2:
        return f"{text}, with {len(low)} and {len(next_low)} seeds: too few to tell it from chance."
    if max(low) < min(next_low):
        return f"{text}; every one of its {len(low)} seeds is better than all {len(next_low)} of the other."
    return f"{text}, but their seeds overlap: the difference isn't supported."


def _name(key: tuple[Any, ...], kinds: Mapping[tuple[Any, ...], Any]) -> str:
    """The method, and what else tells it from the other kinds."""
    differs = [k for k in range(1, len(key)) if len({other[k] for other in kinds}) > 1]
    more = ", ".join(f"{key[k]} steps" if k == 5 else str(key[k]) for k in differs)
    return f"{key[0]} ({more})" if more else str(key[0])
