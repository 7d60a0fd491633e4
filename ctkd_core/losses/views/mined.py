"""MinED: rows of equal tokens, copied through a map."""

from __future__ import annotations

import torch
from torch import Tensor

from ctkd_core.losses.mined import student_ids_of_teacher
from ctkd_core.losses.parts.mined_rows import facing_rows
from ctkd_core.losses.views.case import Case, Targets, by_identity, floats, lost_parts
from ctkd_core.losses.views.target import COLLIDED, EVERYTHING, NO_STUDENT_TOKEN, Target


def copied_rows(case: Case) -> Targets:
    """MinED: one-to-one rows copy the teacher through a map; elsewhere the text itself is the target."""
    if case.variant == "released":
        return []  # its own rows and targets: `losses/released/mined.py`
    o, rows = case.options, case.rows
    ids = student_ids_of_teacher(None, case.batch, case.widths, o["accept"], case.student.device)
    facing = facing_rows(rows, case.batch, o["accept"], o["byte_exact"], ids)
    found: Targets = []
    for g, (s0, *_) in enumerate(case.groups):
        r = int(rows.number[0, s0])
        if r < 0:
            found.append(None)
            continue
        p = case.p("student", s0 - 1)
        if int(facing[r]) < 0:
            token = rows.target[r]
            note = "no equal token faces this place one to one, so the text's own token is the target"
            own = floats(p[token][None])
            found.append(Target(g, "student", (int(token),), (1.0,), own, ((EVERYTHING, 1.0),), note=note))
            continue
        q = case.p("teacher", int(facing[r]))
        chosen = q.topk(min(o["top_k"], len(q))).indices if o["top_k"] else torch.arange(len(q))
        moved, kept = _moved(q[chosen], ids[chosen], case.widths[0], o["many_to_one"])
        lost = lost_parts(
            (f"outside the top {o['top_k']}", 1 - q[chosen].sum()),
            (NO_STUDENT_TOKEN, q[chosen].sum() - kept),
            (COLLIDED, kept - moved.sum()),
        )
        taken = moved / moved.sum().clamp(min=1e-12)
        found.append(by_identity(g, taken, p, torch.arange(len(p)), lost, position=int(facing[r]) + 1))
    return found


def _moved(q: Tensor, ids: Tensor, width: int, rule: str) -> tuple[Tensor, Tensor]:
    """Teacher probabilities on student ids [width] by the rule for several on one, and how much has an id."""
    mapped = ids >= 0
    moved = torch.zeros(width)
    if rule == "sum":
        moved.index_add_(0, ids[mapped], q[mapped])
    elif rule == "max":
        moved.scatter_reduce_(0, ids[mapped], q[mapped], "amax")
    else:
        for i, value in zip(reversed(ids[mapped].tolist()), reversed(q[mapped].tolist())):
            moved[i] = value  # the first one is written last
    return moved, q[mapped].sum()
