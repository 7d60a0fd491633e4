"""MultiLevelOT: columns of equal rank over the whole answer."""

from __future__ import annotations

import torch

from ctkd_core.losses.multilevel_ot import face, rank_columns
from ctkd_core.losses.views.case import TOP, Case, Targets, floats, lost_parts
from ctkd_core.losses.views.target import UNKNOWN, Target


def ranked_columns(case: Case) -> Targets:
    """MultiLevelOT: the teacher's columns and the student's of equal rank over the whole answer."""
    if case.variant == "released":
        return []  # rows and ranks of its own
    o, rows = case.options, case.rows
    facing = face(rows, case.batch, (o["skip_student_eos"], o["skip_teacher_eos"]))
    temperatures = case.temperature("student"), case.temperature("teacher")
    s_columns, t_columns = rank_columns(
        case.student, case.teacher, facing, 1, o["top_k"], o["matching"], temperatures, torch.float32, None
    )
    mine, theirs = s_columns[0], t_columns[0]
    place = {r: k for k, r in enumerate(facing.engine.tolist())}
    found: Targets = []
    for g, (s0, _, t0, t1) in enumerate(case.groups):
        k = place.get(int(rows.number[0, s0]), -1)
        if k < 0:
            found.append(None)
            continue
        row = int(facing.teacher[k])
        q, p = case.p("teacher", row)[theirs], case.p("student", int(facing.student[k]))[mine]
        best = q.topk(min(TOP, len(q))).indices
        lost = lost_parts((f"outside the {len(q)} columns", 1 - q.sum()), (UNKNOWN, q.sum()))
        sources = tuple(((int(mine[i]), floats(p[i][None])[0]),) for i in best)
        note = "columns of equal rank over the whole answer face each other, whatever they mean"
        if not t0 <= row + 1 < t1:
            note += "; and positions drifted apart: the teacher's row here predicts another token"
        ids, sizes = tuple(theirs[best].tolist()), (1,) * len(best)
        found.append(Target(g, "teacher", ids, floats(q[best]), floats(p[best]), lost, sources, sizes, note, row + 1))
    return found
