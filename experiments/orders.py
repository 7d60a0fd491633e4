"""Whether methods stand in one order in several conditions; an order that another condition turns round is none."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from statistics import fmean
from typing import Protocol

from ctkd_core.methods import evidence
from experiments.phrases import NOT_RUN, counted, listed
from experiments.standing import difference

Values = dict[str, dict[int, float]]  # by title of a method and seed


class Tried(Protocol):
    """A condition and the figures of its methods; `answers.Place` is one."""

    @property
    def condition(self) -> evidence.Condition:
        """As the digest has it."""
        ...

    def ends(self, label: str, figure: str) -> dict[int, float]:
        """A figure by seed."""
        ...


def orders_in_words(places: Mapping[str, Tried]) -> str:
    """The order in each of these named conditions, and which pairs keep theirs.

    Compared are the methods that all of them have, at the seeds that all methods have there.
    """
    values = {name: _values(place) for name, place in places.items()}
    orders = _orders(places, values)
    titles = next(iter(orders.values()), [])
    if not titles:
        return f"the order: {NOT_RUN}"
    higher = next(iter(places.values())).condition.higher_is_better
    each = "; ".join(f"{name}: {', '.join(order)}" for name, order in orders.items())
    return f"By the mean over equal seeds, best first: {each}. {_kept(titles, values, orders, higher)}"


def alike_in_words(places: Mapping[str, Tried]) -> str:
    """Whether the order is one in all these conditions: a sentence without its end."""
    orders = _orders(places, {name: _values(place) for name, place in places.items()})
    titles = next(iter(orders.values()), [])
    if not titles:
        return f"the order: {NOT_RUN}"
    settings = counted(len(orders), "setting")
    if len(set(map(tuple, orders.values()))) == 1:
        return f"the order is the same in all {settings}"
    return f"the order isn't the same in all {settings}, so of the {len(titles)} methods together there is none"


def _orders(places: Mapping[str, Tried], values: Mapping[str, Values]) -> dict[str, list[str]]:
    """The order in each condition of the methods that all have; empty ones where those are fewer than two."""
    titles = [t for t in next(iter(values.values()), {}) if all(t in found for found in values.values())]
    if len(titles) < 2:
        return {name: [] for name in places}
    higher = next(iter(places.values())).condition.higher_is_better
    return {name: _order({t: found[t] for t in titles}, higher) for name, found in values.items()}


def _values(place: Tried) -> Values:
    """The figure of each method, at the seeds that all of them have that were run."""
    condition = place.condition
    found = {tried.title: place.ends(tried.label, condition.figure) for tried in condition.methods}
    return {title: by_seed for title, by_seed in found.items() if by_seed}


def _order(values: Values, higher: bool) -> list[str]:
    seeds = set.intersection(*(set(by_seed) for by_seed in values.values()))
    return sorted(
        (title for title in values if seeds),
        key=lambda title: fmean(values[title][seed] for seed in sorted(seeds)),
        reverse=higher,
    )


def _kept(titles: list[str], values: Mapping[str, Values], orders: Mapping[str, list[str]], higher: bool) -> str:
    """The pairs of methods that stand alike everywhere, and in how many settings their difference is decided."""
    parts = []
    for first, second in permutations(titles, 2):
        if all(first in o and second in o and o.index(first) < o.index(second) for o in orders.values()):
            gaps = [difference(found[first], found[second]) for found in values.values()]
            decided = sum(gap is not None and gap.decided and (gap.mean > 0) == higher for gap in gaps)
            parts.append(f"{first} before {second} (decided in {decided} of {len(gaps)})")
    return f"Alike in all of them: {listed(parts)}."
