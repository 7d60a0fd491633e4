"""Groups as TRL's GOLD loss takes them from labels and byte offsets.

Slips kept on purpose: the answer begins at the first label and is as long as there are labels, gaps or not; skipping
the end-of-text token takes one token off without looking whether it is one.
Source: TRL 1.16, `trl.experimental.gold`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ctkd_core.alignment.released.gold import end_boundary_walk
from ctkd_core.losses.batch import IGNORE

Offsets = Sequence[Sequence[Sequence[int]]]


def answer_span(labels: Tensor, skip_eos: bool) -> tuple[int, int]:
    """First position and number of tokens of the answer in `labels` int64 [T]; the number may be 0 or -1."""
    learnt = labels != IGNORE
    start = int(learnt.int().argmax()) if bool(learnt.any()) else 0
    return start, int(learnt.sum()) - int(skip_eos)


def released_groups(
    student_labels: Tensor,
    teacher_labels: Tensor,
    offsets: tuple[Offsets, Offsets] | None,
    skip_student_eos: bool = True,
    skip_teacher_eos: bool = True,
) -> Tensor:
    """int64 [G, 5] (sample, s0, s1, t0, t1) for labels int64 [B, Ts], [B, Tt].

    offsets  byte spans [B][T][2] of both sides: groups close where both reach the same byte, the rest is one group
             more; None: k-th token of one answer with k-th of the other, the longer cut (plain ULD)
    """
    groups: list[list[int]] = []
    for b, (mine, other) in enumerate(zip(student_labels, teacher_labels)):
        s0, n = answer_span(mine, skip_student_eos)
        t0, m = answer_span(other, skip_teacher_eos)
        if n <= 0 or m <= 0:
            continue
        if offsets is None:
            groups += [[b, s0 + k, s0 + k + 1, t0 + k, t0 + k + 1] for k in range(min(n, m))]
            continue
        walked = end_boundary_walk(offsets[0][b][s0 : s0 + n], offsets[1][b][t0 : t0 + m])
        groups += [[b, s0 + s[0], s0 + s[-1] + 1, t0 + t[0], t0 + t[-1] + 1] for s, t in walked if s and t]
    return torch.tensor(groups, dtype=torch.int64).reshape(-1, 5)
