"""What one step of a loss will cost at the user's own sizes: an estimate from figures measured on one machine.

Memory is counted (logits, their gradient) plus the extra that was measured; time is scaled from the measured case by
the number of logits. `benchmarks/losses.py` measures and writes `costs.json`, which comes with the package; of a loss
that isn't in it only memory is counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydantic import NonNegativeFloat

from ctkd_core import methods
from ctkd_core.errors import CtkdError
from ctkd_core.files import documents
from ctkd_core.files.sized_cache import MIB

COSTS = Path(__file__).with_name("costs.json")


@dataclass(frozen=True)
class Sizes:
    """Batch, positions of a sample on each side, width of each model's logits, bytes of one logit."""

    batch: int
    student_length: int
    teacher_length: int
    student_vocab: int
    teacher_vocab: int
    width: int = 4

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise CtkdError(f"{name.replace('_', ' ')} must be at least 1; got {value}.")

    @property
    def student_logits(self) -> int:
        """Numbers in the student's logits."""
        return self.batch * self.student_length * self.student_vocab

    @property
    def teacher_logits(self) -> int:
        """Numbers in the teacher's logits."""
        return self.batch * self.teacher_length * self.teacher_vocab


@dataclass(frozen=True)
class LossCost:
    """Bytes of both logits, of the student's gradient, and beyond; seconds and extra are None where not measured."""

    logits: int
    gradient: int
    extra: int | None
    seconds: float | None
    device: str = ""

    @property
    def total(self) -> int:
        """Bytes in all, as far as they are known."""
        return self.logits + self.gradient + (self.extra or 0)


def cost(method: str, sizes: Sizes, costs: Path = COSTS) -> LossCost:
    """The estimate for one forward and backward step. Raises CtkdError for an unknown method.

    Extra memory: what was measured beyond the gradient, scaled with the student's vocabulary (losses work on a few rows
    at a time, so positions don't count). Time: in proportion to the numbers in both logits.
    """
    logits = (sizes.student_logits + sizes.teacher_logits) * sizes.width
    gradient = sizes.student_logits * sizes.width
    measured = _measured(costs)
    case = methods.get(method).cost_of or method
    if measured is None or case not in measured.cases:
        return LossCost(logits, gradient, None, None)
    found, reference = measured.cases[case], measured.sizes
    beyond = max(0.0, found.extra_mib * MIB - reference.student_logits * reference.width)
    numbers = sizes.student_logits + sizes.teacher_logits
    scale = numbers / (reference.student_logits + reference.teacher_logits)
    extra = round(beyond * sizes.student_vocab / reference.student_vocab)
    return LossCost(logits, gradient, extra, found.seconds * scale, measured.device)


def memory(size: int) -> str:
    """Bytes as "2.8 GiB" or "340 MiB"; small amounts, which no measurement tells apart, as "under 50 MiB"."""
    if size < 50 * MIB:
        return "under 50 MiB"
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{size / MIB:,.0f} MiB"


class CaseCost(documents.Document):
    """Seconds of a step, and MiB beyond the inputs, the gradient included."""

    seconds: NonNegativeFloat
    extra_mib: NonNegativeFloat


class MeasuredCosts(documents.Document):
    """What was measured at `sizes` on `device`, by case: costs.json."""

    device: str
    sizes: Sizes
    cases: dict[str, CaseCost]


@lru_cache(maxsize=4)
def _measured(costs: Path) -> MeasuredCosts | None:
    """The figures in a file; None where they can't be read."""
    try:
        return documents.stored(MeasuredCosts, documents.read_json(costs, "costs"), "costs")
    except CtkdError:
        return None
