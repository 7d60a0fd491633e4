"""ALM: the chance of the text's own tokens on each side, against everything else."""

from __future__ import annotations

import torch

from ctkd_core.losses.views.case import Case, Targets
from ctkd_core.losses.views.target import Target


def text_or_other(case: Case) -> Targets:
    """ALM: the chance of the text's own tokens on each side, against everything else."""
    groups = case.batch.groups
    log_p, log_q = (logits[0].float().log_softmax(-1) for logits in (case.student, case.teacher))
    found: Targets = []
    for g, k in enumerate(case.own(torch.arange(len(groups)))):
        _, s0, s1, t0, t1 = groups[k].tolist() if k >= 0 else (0, 0, 0, 0, 0)
        if k < 0 or s0 < 1 or t0 < 1:
            found.append(None)
            continue
        p, q = (
            float(torch.stack([log[i - 1, ids[0, i]] for i in range(start, end)]).sum().exp())
            for log, ids, start, end in (
                (log_p, case.batch.student_ids, s0, s1),
                (log_q, case.batch.teacher_ids, t0, t1),
            )
        )
        note = "everything else that the teacher might predict counts as one event"
        found.append(Target(g, "event", (-1, -1), (q, 1 - q), (p, 1 - p), note=note, position=t0))
    return found
