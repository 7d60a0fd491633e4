"""SFT: next-token cross-entropy on the data, the baseline that asks no teacher."""

from __future__ import annotations

from torch import Tensor

from ctkd_core.losses.base import LossOutput, check_inputs, cross_entropy_term, finish, response_rows
from ctkd_core.losses.batch import AlignedBatch
from ctkd_core.losses.facts import Count


def sft_loss(
    student_logits: Tensor,
    teacher_logits: Tensor | None,  # noqa: ARG001
    batch: AlignedBatch,
    *,
    variant: str = "clean",  # noqa: ARG001
    chunk_rows: int | None = None,
) -> LossOutput:
    """Token mean of -log p(y_i | y_<i) over the response tokens of the batch.

    student_logits [B, Ts, Vs]; teacher_logits is ignored and may be None. `per_group` holds the summed
    cross-entropy of each group's student tokens. Raises LossInputError (see `base.check_inputs`).
    """
    check_inputs(student_logits, None, batch)
    rows = response_rows(batch.student_labels)
    out = finish(student_logits, rows, [cross_entropy_term(rows)], batch, chunk_rows=chunk_rows)
    return LossOutput(out.loss, out.terms, out.per_group, {"rows": Count(len(rows))})
