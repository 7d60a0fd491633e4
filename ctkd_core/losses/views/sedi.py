"""SeDi: the teacher's candidates re-encoded into the student's slots."""

from __future__ import annotations

import torch

from ctkd_core.losses.parts.migrate import migrate
from ctkd_core.losses.views.case import Case, Targets, by_identity, lost_parts
from ctkd_core.losses.views.target import COLLIDED, UNWRITABLE


def migrated_candidates(case: Case) -> Targets:
    """SeDi: the top candidates re-encoded; what collides on one slot counts once. Probabilities at temperature 1."""
    o, rows, bounds = case.options, case.rows, case.batch.groups
    target = migrate(case.teacher, rows, case.batch, case.widths[0], o["top_k"], o["strict_prefix"], torch.float32)
    found: Targets = []
    for g, ((s0, *_), k) in enumerate(zip(case.groups, case.own(torch.arange(len(bounds))))):
        r = int(rows.number[0, s0])
        if r < 0 or k < 0 or not bool(target.used[r]):
            found.append(None)
            continue
        position = int(bounds[k, 4]) - 1
        normaliser = case.teacher[0, position - 1].float().logsumexp(-1)
        hit = target.hit[r]
        taken, slots = (target.logits[r][hit] - normaliser).exp(), target.slots[r][hit]
        own = case.student[0, s0 - 1].float().softmax(-1)[slots]
        lost = lost_parts(
            (f"outside the top {o['top_k']}", 1 - target.top_k_mass[r]),
            (UNWRITABLE, target.top_k_mass[r] - target.migrated_mass[r]),
            (COLLIDED, target.migrated_mass[r] - taken.sum()),
        )
        note = "" if o["omega"] == 0 else "the target also holds the student's own logits on these slots (omega)"
        found.append(by_identity(g, taken, own, slots, lost, note, position))
    return found
