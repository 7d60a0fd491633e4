"""DSKD v2: what the teacher's hidden state predicts in the student's space."""

from __future__ import annotations

import torch

from ctkd_core.losses.dskd_eta import crossed
from ctkd_core.losses.views.case import Case, Targets, by_identity


def projected_states(case: Case) -> Targets:
    """DSKD v2: what the teacher's hidden state predicts in the student's space, at equal tokens after equal text."""
    if not {"state", "student_states", "teacher_states"} <= case.given.keys():
        return []
    state, own, other = (case.given[name] for name in ("state", "student_states", "teacher_states"))
    with torch.no_grad():
        t2s, s2t = crossed(case.student, case.teacher, case.batch, state, own, other, variant=case.variant)
        z = t2s.hidden @ t2s.head.T
    place = {int(r): k for k, r in enumerate(t2s.number)}
    found: Targets = []
    for g, (s0, *_) in enumerate(case.groups):
        r = int(case.rows.number[0, s0])
        k = place.get(r, -1)
        if k < 0:
            found.append(None)
            continue
        taken, target = (z[k] / case.options["temperature"]).softmax(-1), int(t2s.target[k])
        learns = target >= 0 and int(z[k].argmax()) == target
        note = (
            "the projected state predicts the teacher's own token, so the student learns from it"
            if learns
            else "the projected state predicts another token than the teacher, so only the projector learns here"
        )
        row = int(s2t.rows.position[s2t.number[k]])
        ids = torch.arange(len(taken))
        found.append(by_identity(g, taken, case.p("student", s0 - 1), ids, (), note, row))
    return found
