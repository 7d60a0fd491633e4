"""CDM: the teacher's candidates that have a partner among the student's."""

from __future__ import annotations

import torch

from ctkd_core.losses import cdm
from ctkd_core.losses.parts.slots import fill_slots, map_sides, merged_at, rows_after, top_of_groups
from ctkd_core.losses.views.case import Case, Targets, by_identity, lost_parts
from ctkd_core.losses.views.target import NO_PARTNER


def candidate_slots(case: Case) -> Targets:
    """CDM: the teacher's K best tokens of a group's mean logits, on those slots that have a partner, scaled to 1."""
    if case.variant == "released":
        return []  # one soft-max over both passes: `losses/released/cdm.py`
    o, rows = case.options, case.rows
    groups = rows_after(rows, case.batch)
    both = cdm._sides(groups, rows.flat, o["merge"])
    k = min(o["top_k"], *case.widths)
    logits = (case.student, case.teacher)
    best = [top_of_groups(x, *side, k, torch.float32, None)[0] for x, side in zip(logits, both)]
    sides = map_sides(None, case.batch, case.widths, o["threshold"])
    slots = fill_slots(best[0], best[1], sides, case.widths, o["threshold"])
    z_s, z_t = (
        merged_at(x, *side, ids, torch.float32) / o["temperature"]
        for x, side, ids in zip(logits, both, (slots.student, slots.teacher))
    )
    found: Targets = []
    for g, (s0, *_) in enumerate(case.groups):
        r = int(rows.number[0, s0])
        mine = groups.student_group[groups.student_row == r]
        n = int(mine[0]) if r >= 0 and len(mine) else -1
        kept = slots.mapped[n, :k]
        if n < 0 or not bool(kept.any()):
            found.append(None)
            continue
        flat, group, _ = both[1]
        positions = flat[group == n]
        full = (case.teacher[0, positions].float().mean(0) / o["temperature"]).softmax(-1)
        listed, partnered = full[best[1][n]].sum(), full[slots.teacher[n, :k][kept]].sum()
        lost = lost_parts((f"outside the top {k}", 1 - listed), (NO_PARTNER, listed - partnered))
        taken, own = z_t[n, :k][kept].softmax(-1), z_s[n, :k][kept].softmax(-1)
        note = "slots of the teacher's list, scaled to 1; the student's own list is compared too"
        found.append(by_identity(g, taken, own, slots.student[n, :k][kept], lost, note, int(positions[-1]) + 1))
    return found
