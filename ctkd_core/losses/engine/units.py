"""What the means of a loss divide by where one optimiser step has several batches, one after another or on devices.

A loss is a mean over the rows, groups or samples of the batch that it sees, and the mean of such means isn't the mean
over the step: short batches would count too much. So whoever trains counts the units of all batches first
(`StepUnits.recording`) and then computes each batch with the counts of the whole step (`StepUnits.applied`): the parts
add up to the loss of one large batch. Without either, every function here gives the batch's own figure.

What a loss picks from its batch (X-Token's most probable columns, the best of several teachers) stays the batch's own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

_CURRENT: ContextVar[_Pass | None] = ContextVar("units of a step", default=None)


class NeedsLogitsError(Exception):
    """The units of a loss depend on what the models answer, so they can't be counted from the batch alone."""


@dataclass
class StepUnits:
    """Units of all batches of one optimiser step, by the name that the loss gives them.

    totals  floats, or float64 tensors on the CPU; those of several devices are added by whoever trains
    tokens  learnt tokens of the student, for losses that count nothing
    """

    totals: dict[str, Any] = field(default_factory=dict)
    tokens: int = 0

    @contextmanager
    def recording(self, alone: bool = False) -> Iterator[None]:
        """Losses computed inside add their units to `totals`.

        alone: the logits mean nothing (any of the right shape), and no row is computed; a loss whose units depend on
        them raises NeedsLogitsError.
        """
        with _set(_Pass(self.totals, True, alone)):
            yield

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Losses computed inside divide by `totals`."""
        with _set(_Pass(self.totals, False)):
            yield

    def add(self, others: dict[str, Any]) -> None:
        """Add the totals of another device."""
        for name, value in others.items():
            self.totals[name] = self.totals[name] + value if name in self.totals else value


@dataclass
class _Pass:
    totals: dict[str, Any]
    records: bool
    alone: bool = False
    scope: str = ""
    calls: Counter[str] = field(default_factory=Counter)
    own: dict[str, float] = field(default_factory=dict)  # of this batch

    def key(self, name: str) -> str:
        """The name, with the teacher and with a number where a loss has several of that name."""
        full = f"{self.scope}{name}"
        self.calls[full] += 1
        return full if self.calls[full] == 1 else f"{full} {self.calls[full]}"

    def take(self, name: str, own: Any) -> Any:
        key = self.key(name)
        if not self.records:
            return self.totals.get(key, own)
        self.totals[key] = self.totals[key] + own if key in self.totals else own
        return own


@contextmanager
def _set(one: _Pass) -> Iterator[None]:
    token = _CURRENT.set(one)
    try:
        yield
    finally:
        _CURRENT.reset(token)


@contextmanager
def scope(name: str) -> Iterator[None]:
    """The units of what is computed inside are those of the teacher `name`, counted anew."""
    one = _CURRENT.get()
    if one is None:
        yield
        return
    before, one.scope = one.scope, f"{name}: "
    one.calls = Counter({key: n for key, n in one.calls.items() if not key.startswith(one.scope)})
    try:
        yield
    finally:
        one.scope = before


def divisor(name: str, count: Tensor | int | float) -> Any:
    """`count` units of this batch, or of the whole step; at least 1."""
    one = _CURRENT.get()
    if one is None:
        return count.clamp(min=1) if isinstance(count, Tensor) else max(1, count)
    own = float(count)
    one.own[name] = max(1.0, own)
    return max(1.0, one.take(name, own))


def whole(name: str, value: Tensor | int | float) -> Any:
    """A sum over this batch, a number or a tensor without gradient, or the same over the whole step."""
    one = _CURRENT.get()
    if one is None:
        return value
    if not isinstance(value, Tensor):
        return one.take(name, float(value))
    return one.take(name, value.detach().double().cpu()).to(value)


def share(name: str, count: Tensor | int | float) -> float:
    """Share of the step's units that this batch has: the factor of a mean that a loss takes by other means; 1 alone."""
    one = _CURRENT.get()
    if one is None:
        return 1.0
    own = float(count)
    total = one.take(name, own)
    return 1.0 if one.records or not total else own / total


def spread(name: str, values: Tensor) -> Tensor:
    """Standard deviation (unbiased) of all `values`, without gradient; 0 for fewer than two."""
    one = _CURRENT.get()
    if one is None:
        return values.std() if values.numel() > 1 else values.new_zeros(())
    exact = values.detach().double()
    n, total, squares = (
        one.take(f"{name} {kind}", float(x)) for kind, x in
        (("count", values.numel()), ("sum", exact.sum()), ("squares", exact.square().sum()))
    )  # fmt: skip
    return values.new_tensor(max(0.0, squares - total**2 / n) / (n - 1) if n > 1 else 0.0).sqrt()


def balanced(first: float, others: float, units: tuple[str, str]) -> tuple[float, float]:
    """Means of the first term and of the others, over the batch or the step; `units`: names of what they divide by."""
    one = _CURRENT.get()
    if one is None:
        return first, others
    found = []
    for name, value, unit in (("first", first, units[0]), ("others", others, units[1])):
        if one.records:
            one.take(f"balance, {name}", value * one.own.get(unit, 1.0))
            found.append(value)
        else:
            sums = one.totals.get(f"{one.scope}balance, {name}")  # asked for more than once
            found.append(value if sums is None else sums / max(1.0, one.totals[f"{one.scope}{unit}"]))
    return found[0], found[1]


def needs_logits() -> None:
    """Raise NeedsLogitsError where units are counted alone: the first line of a loss whose units depend on logits."""
    if nothing_computed():
        raise NeedsLogitsError


def nothing_computed() -> bool:
    """Whether units are being counted from the batch alone."""
    one = _CURRENT.get()
    return one is not None and one.alone


def zero_logits(ids: Tensor, width: int) -> Tensor:
    """Logits [B, T, width] for the tokens int64 [B, T], for counting alone: they take no memory."""
    return torch.zeros((), device=ids.device).expand(*ids.shape, width)
