"""What one step of a loss will cost at the user's own sizes: an estimate from figures measured on one machine.

Memory is counted (logits, their gradient) plus the extra that was measured; time is scaled from the measured case by
the number of logits. `benchmarks/losses.py` measures; without its results only memory is counted.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ctkd_core.errors import CtkdError

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "losses.json"
# The measured case "large" of benchmarks/losses.py: batch, student and teacher positions, vocabularies; float32.
MEASURED = (1, 257, 301, 128_256, 151_936)
# Methods that another case stands for; DSKD v2 reads the same two extra heads, at fewer positions.
STANDS_FOR = {"kd": "forward-kl", "dskd-eta": "dskd"}
MIB = 2**20


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
class Cost:
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


def cost(method: str, sizes: Sizes, results: Path = RESULTS) -> Cost:
    """The estimate for one forward and backward step. Raises CtkdError for sizes below 1.

    Extra memory: what was measured beyond the gradient, scaled with the student's vocabulary (losses work on a few rows
    at a time, so positions don't count). Time: in proportion to the numbers in both logits.
    """
    logits = (sizes.student_logits + sizes.teacher_logits) * sizes.width
    gradient = sizes.student_logits * sizes.width
    row = _measured(results).get(STANDS_FOR.get(method, method))
    if row is None:
        return Cost(logits, gradient, None, None)
    seconds, extra_mib, device = row
    reference = Sizes(*MEASURED)
    beyond = max(0.0, extra_mib * MIB - reference.student_logits * 4)
    numbers = sizes.student_logits + sizes.teacher_logits
    scale = numbers / (reference.student_logits + reference.teacher_logits)
    extra = round(beyond * sizes.student_vocab / reference.student_vocab)
    return Cost(logits, gradient, extra, seconds * scale, device)


def memory(size: int) -> str:
    """Bytes as "2.8 GiB" or "340 MiB"; small amounts, which no measurement tells apart, as "under 50 MiB"."""
    if size < 50 * MIB:
        return "under 50 MiB"
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{size / MIB:,.0f} MiB"


@lru_cache(maxsize=4)
def _measured(results: Path) -> dict[str, tuple[float, float, str]]:
    """Seconds, extra MiB and the device of each case of the size "large"; {} without readable results."""
    try:
        data = json.loads(results.read_text(encoding="utf-8"))
        device = str(data["environment"]["device"])
        return {
            row["case"]: (float(row["seconds"]), float(row["extra_mib"]), device)
            for row in data["rows"]
            if row["size"] == "large"
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}
