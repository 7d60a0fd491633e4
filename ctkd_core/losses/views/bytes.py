"""Bytes: what each side says of one next byte."""

from __future__ import annotations

from ctkd_core.losses.bytes import both_next_bytes, compared
from ctkd_core.losses.views.case import TOP, Case, Targets, floats
from ctkd_core.losses.views.target import Lost, Target


def next_byte(case: Case) -> Targets:
    """Bytes: the next byte by both sides, at the byte of each group where they differ most."""
    faced, own, teacher = both_next_bytes(case.student, case.teacher, case.batch, case.options)
    value, _, q_rest = compared(case.options).values(own, teacher)
    rows = case.rows
    found: Targets = []
    place = rows.position[faced.row[:, 0]] if len(faced) else faced.row[:, 0]
    outcome = case.options["lump"] == "outcome"
    for g, (s0, s1, _, t1) in enumerate(case.groups):
        here = ((place >= s0) & (place < s1)).nonzero().squeeze(1)
        if not len(here):
            found.append(None)
            continue
        at = int(here[value[here].argmax()])
        both = (own.speaks[at] & teacher.speaks[at]).nonzero().squeeze(1)
        q, p = teacher.share[at, both], own.share[at, both]
        best = q.topk(min(TOP - 1, len(both))).indices
        few_q, few_p = q[best], p[best]
        ids, t_values, s_values = both[best].tolist(), floats(few_q), floats(few_p)
        others = float(q.sum() - few_q.sum()), float(p.sum() - few_p.sum())
        rest = float(q_rest[at]), float(1 - p.sum())
        lost: Lost = ()
        if outcome:
            others = others[0] + rest[0], others[1] + rest[1]
        elif rest[0] > 0:
            lost = (("other bytes, or a token that ends here", rest[0]),)
        ids, t_values, s_values = [*ids, -1], (*t_values, others[0]), (*s_values, others[1])
        token = int(case.batch.student_ids[0, place[at]])
        spelt = case.batch.student.token_bytes(token)[: int(faced.offset[at, 0])] if case.batch.student else b""
        note = f"byte {int((here < at).sum()) + 1} of {len(here)}, where the sides differ most"
        if case.options["starts"] != "byte" and not bool(faced.offset[at].any()):
            note += "; here both begin a token, and the loss compares more of it than this byte"
        if spelt:
            note += f"; the student's token has begun with {spelt.decode('utf-8', 'backslashreplace')!r}"
        found.append(Target(g, "byte", tuple(ids), t_values, s_values, lost, note=note, position=t1 - 1))
    return found
