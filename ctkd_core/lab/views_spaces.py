"""Viewers of methods that put other things than equal tokens side by side: ranked columns, projected hidden states."""

from __future__ import annotations

import torch

from ctkd_core.lab.case import TOP, UNKNOWN, Case, by_identity, floats, lost_parts
from ctkd_core.lab.records import Heard


def ranked(case: Case) -> list[Heard | None]:
    """MultiLevelOT: the teacher's columns and the student's of equal rank over the whole answer."""
    from ctkd_core.losses.multilevel_ot import face, rank_columns

    if case.variant == "released":
        return []  # rows and ranks of its own
    o, rows = case.options, case.rows
    facing = face(rows, case.batch)
    s_columns, t_columns = rank_columns(
        case.student, case.teacher, facing, 1, o["top_k"], o["matching"], o["temperature"], torch.float32, None
    )
    mine, theirs = s_columns[0], t_columns[0]
    place = {r: k for k, r in enumerate(facing.engine.tolist())}
    found: list[Heard | None] = []
    for g, (s0, _, t0, t1) in enumerate(case.groups):
        k = place.get(int(rows.number[0, s0]), -1)
        if k < 0:
            found.append(None)
            continue
        row = int(facing.teacher[k])
        q, p = case.p("teacher", row)[theirs], case.p("student", int(facing.student[k]))[mine]
        best = q.topk(min(TOP, len(q))).indices
        lost = lost_parts((f"outside the {len(q)} columns", 1 - q.sum()), (UNKNOWN, q.sum()))
        crowd = tuple(((int(mine[i]), floats(p[i][None])[0]),) for i in best)
        note = "columns of equal rank over the whole answer face each other, whatever they mean"
        if not t0 <= row + 1 < t1:
            note += "; and positions drifted apart: the teacher's row here predicts another token"
        ids, sizes = tuple(theirs[best].tolist()), (1,) * len(best)
        found.append(Heard(g, "teacher", ids, floats(q[best]), floats(p[best]), lost, crowd, sizes, note, row + 1))
    return found


def projected_states(case: Case) -> list[Heard | None]:
    """DSKD v2: what the teacher's hidden state says in the student's space, at equal tokens after equal text."""
    from ctkd_core.losses.dskd_eta import crossed

    if not {"state", "student_states", "teacher_states"} <= case.given.keys():
        return []
    state, own, other = (case.given[name] for name in ("state", "student_states", "teacher_states"))
    with torch.no_grad():
        t2s, s2t = crossed(case.student, case.teacher, case.batch, state, own, other, variant=case.variant)
        z = t2s.hidden @ t2s.head.T
    place = {int(r): k for k, r in enumerate(t2s.number)}
    found: list[Heard | None] = []
    for g, (s0, *_) in enumerate(case.groups):
        r = int(case.rows.number[0, s0])
        k = place.get(r, -1)
        if k < 0:
            found.append(None)
            continue
        wants, target = (z[k] / case.options["temperature"]).softmax(-1), int(t2s.target[k])
        learns = target >= 0 and int(z[k].argmax()) == target
        note = (
            "the projected state predicts the teacher's own token, so the student learns from it"
            if learns
            else "the projected state predicts another token than the teacher, so only the projector learns here"
        )
        row = int(s2t.rows.position[s2t.number[k]])
        ids = torch.arange(len(wants))
        found.append(by_identity(g, wants, case.p("student", s0 - 1), ids, (), note, row))
    return found
