"""What a loss tells of a batch beside its terms: floats that know how those of several batches become one of a step.

A `Count` is added up, a `Mean` is averaged over what it was taken of. Any other number is of the batch as a whole (the
width of a table, a factor), and the plain mean of the batches is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # pages read runs without torch
    from torch import Tensor


class Count(float):
    """How many there were: rows, groups, bytes."""

    __slots__ = ()


class Mean(float):
    """A mean, or a share. `weight`: over how many, 0 for none, where the value says nothing."""

    weight: float

    def __new__(cls, value: float, weight: float) -> Mean:
        """The mean `value` of `weight` things."""
        made = super().__new__(cls, value)
        made.weight = float(weight)
        return made

    def __reduce__(self) -> tuple[type[Mean], tuple[float, float]]:
        # Processes tell one another what theirs was.
        return Mean, (float(self), self.weight)


def mean(values: Tensor, fallback: float = 0.0) -> Mean:
    """Mean of a tensor; `fallback` for no values."""
    return Mean(float(values.double().mean()) if values.numel() else fallback, values.numel())


def portion(part: Any, whole: Any) -> Mean:
    """`part` for each one of `whole`, both numbers or scalars; 0 of nothing."""
    return Mean(float(part) / float(whole) if whole else 0.0, float(whole))


def of_the_step(batches: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The facts of one step from those of its batches, by name; a batch may lack some."""
    return {name: _joined([b[name] for b in batches if name in b]) for name in sorted({n for b in batches for n in b})}


def _joined(values: Sequence[float]) -> float:
    if any(isinstance(value, Count) for value in values):
        return Count(sum(values))
    means = [value for value in values if isinstance(value, Mean)]
    if not means:
        return sum(values) / len(values)
    weight = sum(value.weight for value in means)  # a plain number among means stands for a batch without any
    return Mean(sum(value * value.weight for value in means) / weight if weight else means[0], weight)
