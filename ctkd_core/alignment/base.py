"""Alignment: which student tokens face which teacher tokens.

Always a list of groups (contiguous, monotone, possibly one-sided); DTW-like methods also carry the pairs of
their path and the cost surface it was found on. Records are frozen: functions make new ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ctkd_core import methods
from ctkd_core.alignment.kinds import KINDS, kinds_of
from ctkd_core.errors import AlignmentError

if TYPE_CHECKING:
    from ctkd_core.alignment.places import Places
    from ctkd_core.tokenizers.encoding import Encoding


class CostSurface(Protocol):
    """What a DTW-like aligner searched; matrices are [student tokens, teacher tokens] float32.

    Implementations may compute the matrices on first use. `window(kind, rows, columns)` must not build more than
    the window asked for where that is possible.
    """

    @property
    def unit(self) -> str:
        """What one unit of cost means, shown on the colour bar."""
        ...

    @property
    def student_weights(self) -> NDArray[np.float32]:
        """float32 [n_student]."""
        ...

    @property
    def teacher_weights(self) -> NDArray[np.float32]:
        """float32 [n_teacher]."""
        ...

    @property
    def student_entropy(self) -> NDArray[np.float32] | None:
        """float32 [n_student] in nats, None when no logits were given."""
        ...

    @property
    def teacher_entropy(self) -> NDArray[np.float32] | None:
        """float32 [n_teacher] in nats, None when no logits were given."""
        ...

    @property
    def shape(self) -> tuple[int, int]:
        """Student tokens, teacher tokens."""
        ...

    def window(self, kind: str, rows: slice, columns: slice) -> NDArray[np.float32]:
        """`kind` "local" (cost of one cell) or "accumulated" (cheapest way to it)."""
        ...

    def candidates(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """float32 [3, rows, columns]: the cheapest cost before each cell, by both sides, the teacher or the student."""
        ...

    def taken(self, candidates: NDArray[np.float32]) -> NDArray[np.int8]:
        """Which of the candidates [3, ...] the search takes, -1 without any."""
        ...

    def binned(self, kind: str, max_rows: int, max_columns: int) -> NDArray[np.float32]:
        """The whole surface, averaged down to at most [max_rows, max_columns]."""
        ...


def _other_side(note: str) -> str:
    """A sentence with student and teacher exchanged."""
    words = {"student": "teacher", "teacher": "student", "Student": "Teacher", "Teacher": "Student"}
    return re.sub(r"\b([Ss]tudent|[Tt]eacher)\b", lambda found: words[found[1]], note)


@dataclass(frozen=True, eq=False)
class Alignment:
    """One text under two tokenizers, joined.

    groups  int32 [G, 4]: student start, student end, teacher start, teacher end; half-open; an empty side has
            start == end. Every token that isn't special is in exactly one group (variant "clean").
    pairs   int32 [P, 2]: (student, teacher) along the path, or None for methods without pairs.
    flags   bool [G]: whether the method itself takes the group for correct, or None for methods that do not say.
    """

    student: Encoding
    teacher: Encoding
    method: str
    groups: NDArray[np.int32]
    pairs: NDArray[np.int32] | None = None
    cost: CostSurface | None = None
    variant: str = "clean"
    options: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # sentences a user must know: constant weights, uncovered bytes, ...
    flags: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.groups)

    def __repr__(self) -> str:
        from ctkd_core.alignment.display import alignment_line

        return alignment_line(self)

    def _repr_html_(self) -> str:
        from ctkd_core.alignment.display import alignment_card

        return alignment_card(self)

    @property
    def label(self) -> str:
        """The method, its variant and the options that aren't at their default: "alm (released, chunking space)"."""
        row = methods.METHODS.get(self.method)
        more = [] if self.variant == "clean" else [self.variant]
        for option in row.align_options_of(self.variant) if row else ():
            value = self.options.get(option.name, option.default)
            if value != option.default:
                word = option.name.replace("_", " ")
                more.append((word if value else f"no {word}") if option.kind == "bool" else f"{word} {value}")
        return f"{self.method} ({', '.join(more)})" if more else self.method

    @cached_property
    def sizes(self) -> NDArray[np.int32]:
        """int32 [G, 2]: student and teacher tokens of each group."""
        g = self.groups
        return np.stack([g[:, 1] - g[:, 0], g[:, 3] - g[:, 2]], axis=1)

    @cached_property
    def kind_codes(self) -> NDArray[np.int8]:
        """int8 [G]: index into KINDS."""
        return kinds_of(self.sizes)

    @cached_property
    def places(self) -> Places:
        """Where in the text both sides of each group stand."""
        from ctkd_core.alignment.places import places

        return places(self)

    @cached_property
    def counts(self) -> Mapping[str, int]:
        """What its rates are made of, as whole numbers: `ctkd_core.alignment.metrics.alignment_counts`."""
        from ctkd_core.alignment.metrics import alignment_counts

        return alignment_counts(self)

    @cached_property
    def equal_texts(self) -> NDArray[np.bool_]:
        """bool [G]: two-sided groups whose sides spell the same bytes, wherever they stand."""
        from ctkd_core.alignment.metrics import texts_equal

        return texts_equal(self)

    @cached_property
    def unequal(self) -> NDArray[np.bool_]:
        """bool [G]: two-sided groups whose sides don't spell the same bytes of the text; marked with a ≠."""
        from ctkd_core.alignment.metrics import faces_other

        return faces_other(self)

    def check_group(self, group: int) -> None:
        """Raise AlignmentError for the number of a group that isn't there."""
        if not 0 <= group < len(self):
            raise AlignmentError(f"there is no group {group}; this alignment has {len(self)}, counted from 0.")

    def kind(self, group: int) -> str:
        """Kind of one group, one of KINDS."""
        return KINDS[self.kind_codes[group]]

    def student_bytes(self, group: int) -> bytes:
        """Bytes that the group's student tokens spell."""
        return b"".join(self.student.token_bytes[self.groups[group, 0] : self.groups[group, 1]])

    def teacher_bytes(self, group: int) -> bytes:
        """Bytes that the group's teacher tokens spell."""
        return b"".join(self.teacher.token_bytes[self.groups[group, 2] : self.groups[group, 3]])

    def swap(self) -> Alignment:
        """The same alignment with the roles of student and teacher exchanged (the cost surface is dropped)."""
        return Alignment(
            student=self.teacher,
            teacher=self.student,
            method=self.method,
            groups=self.groups[:, [2, 3, 0, 1]],
            pairs=None if self.pairs is None else self.pairs[:, ::-1],
            variant=self.variant,
            options=self.options,
            notes=tuple(_other_side(note) for note in self.notes),
            flags=self.flags,
        )

    def metrics(self) -> dict[str, float]:
        """The rates of `ctkd_core.alignment.metrics.alignment_metrics`."""
        from ctkd_core.alignment.metrics import alignment_metrics

        return alignment_metrics(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the shape of `ctkd align --json`."""
        return {
            "student": self.student.to_dict(),
            "teacher": self.teacher.to_dict(),
            "method": self.method,
            "variant": self.variant,
            "options": dict(self.options),
            "groups": self.groups.tolist(),
            "pairs": None if self.pairs is None else self.pairs.tolist(),
            "flags": None if self.flags is None else self.flags.tolist(),
            "metrics": self.metrics(),
            "notes": list(self.notes),
        }
