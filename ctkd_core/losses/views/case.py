"""What the views of all families share: one method on one text, and how entries are made of probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ctkd_core.losses.base import Rows, response_rows
from ctkd_core.losses.batch import AlignedBatch
from ctkd_core.losses.views.target import Group, Lost, Target

TOP = 8  # entries of each group
SMALLEST = 5e-4  # lost mass below this isn't worth a line


@dataclass(frozen=True)
class Case:
    """One method's batch of one sample, logits [1, Ts, Vs] and [1, Tt, Vt], resolved options, the scene's groups.

    given: what the loss got besides: `state`, `student_states`, `teacher_states`
    """

    batch: AlignedBatch
    student: Tensor
    teacher: Tensor
    options: dict[str, Any]
    variant: str
    groups: tuple[Group, ...]
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> Rows:
        """The student rows that predict the text."""
        return response_rows(self.batch.student_labels)

    @property
    def widths(self) -> tuple[int, int]:
        """Vs and Vt."""
        return self.student.shape[-1], self.teacher.shape[-1]

    def own(self, numbers: Tensor) -> list[int]:
        """For each group of the scene, the place in `numbers` (int64 [G'] into batch.groups) of the method's group that
        holds its first student token; -1 for none."""
        bounds = self.batch.groups[numbers][:, 1:3].tolist()
        return [next((k for k, (a, b) in enumerate(bounds) if a <= s0 < b), -1) for s0, *_ in self.groups]

    def p(self, side: str, row: int | Tensor) -> Tensor:
        """softmax(logits[row] / temperature) of "student" or "teacher", float32."""
        logits = self.student if side == "student" else self.teacher
        return (logits[0, row].float() / self.temperature(side)).softmax(-1)

    def temperature(self, side: str) -> float:
        """Of "student" or "teacher", whose own option stands instead of the common one."""
        common = self.options.get("temperature", 1.0)
        return float((self.options.get("teacher_temperature") if side == "teacher" else None) or common)


# One for each group of the scene, None where the method compares nothing; empty where there is nothing to show.
Targets = list[Target | None]
View = Callable[[Case], Targets]


def lost_parts(*parts: tuple[str, Any]) -> Lost:
    """(what, probability) without what is too small to see."""
    return tuple((what, float(p)) for what, p in parts if float(p) > SMALLEST)


def floats(values: Tensor) -> tuple[float, ...]:
    """Six digits of each number."""
    return tuple(float(f"{v:.6g}") for v in values.tolist())


def by_identity(
    g: int, teacher: Tensor, student: Tensor, ids: Tensor, lost: Lost, note: str = "", position: int = -1
) -> Target:
    """The largest of `teacher` [n], with `student` [n] and ids int64 [n] of student tokens beside them."""
    best = teacher.topk(min(TOP, len(teacher)))
    chosen = tuple(ids[best.indices].tolist())
    both = floats(best.values), floats(student[best.indices])
    return Target(g, "student", chosen, *both, lost, note=note, position=position)


def by_size(g: int, q: Tensor, p: Tensor, k: int, lost: Lost, note: str = "", position: int = -1) -> Target:
    """The k largest probabilities of the teacher's q and of the student's p, whatever tokens they are."""
    best, own = q.topk(min(k, len(q))).values, p.topk(min(k, len(p))).values
    return Target(g, "rank", (-1,) * len(best), floats(best), floats(own), lost, note=note, position=position)
