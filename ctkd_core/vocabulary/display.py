"""A vocabulary map on one line, and its summary as HTML for notebooks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ctkd_core.markup import blocks
from ctkd_core.markup.visible import counted, one_line, shorten
from ctkd_core.tokenizers.display import token_text

if TYPE_CHECKING:
    from ctkd_core.vocabulary.projection import Projection

MAX_NAME = 60
EXAMPLES_OF_A_REASON = 2
MAX_TARGETS = 4  # teacher tokens of an example
TOKEN_CHARACTERS = 24


def projection_line(projection: Projection) -> str:
    """What it is, in one line without arrays."""
    student, teacher = (shorten(one_line(side.name), MAX_NAME) for side in (projection.student, projection.teacher))
    empty = int((projection.fan_out() == 0).sum())
    return (
        f"<Projection {one_line(projection.method)}: {student} → {teacher}, {projection.shape[0]:,} x "
        f"{projection.shape[1]:,}, {projection.matrix.nnz:,} non-zero, {counted(empty, 'empty row')}>"
    )


def projection_card(projection: Projection) -> str:
    """Shape, rows by reason, row sums and a few rows of each reason."""
    rows = {reason: count for reason, count in projection.rows().items() if count}
    total = max(1, projection.shape[0])
    return blocks.card(
        f"{projection.method}: {shorten(projection.student.name, MAX_NAME)} → "
        f"{shorten(projection.teacher.name, MAX_NAME)}",
        blocks.facts(
            {
                "student ids x teacher ids": f"{projection.shape[0]:,} x {projection.shape[1]:,}",
                "entries": projection.matrix.nnz,
                "most teacher tokens of a row": int(projection.fan_out().max(initial=0)),
                "largest error of a row's sum": f"{projection.row_sum_error:.2g}",
                "options": ", ".join(f"{name}={value}" for name, value in projection.options.items()),
            }
        ),
        blocks.table(
            ("rows by reason", "rows", "share"),
            [(reason, count, f"{100 * count / total:.1f} %") for reason, count in rows.items()],
        ),
        blocks.table(("student id", "student token", "teacher tokens", "reason"), examples(projection), _TEXTS),
    )


_TEXTS = ("student token", "teacher tokens")


def examples(projection: Projection) -> Iterator[tuple[int, str, str, str]]:
    """Rows from the middle of each reason's: student id, token, teacher tokens with their weights, reason."""
    for code in np.unique(projection.row_reason[projection.row_reason >= 0]).tolist():
        ids = np.flatnonzero(projection.row_reason == code)
        middle = len(ids) // 2
        for student_id in ids[middle : middle + EXAMPLES_OF_A_REASON].tolist():
            row = projection.explain(student_id)
            parts = [
                f"{token_text(projection.teacher, teacher_id, TOKEN_CHARACTERS)} ({weight:.3g})"
                for teacher_id, weight in zip(row["teacher_id"][:MAX_TARGETS], row["weight"])
            ]
            more = f" … {len(row) - MAX_TARGETS:,} more" if len(row) > MAX_TARGETS else ""
            own = token_text(projection.student, student_id, TOKEN_CHARACTERS)
            yield student_id, own, " │ ".join(parts) + more, str(row["reason"][0])
