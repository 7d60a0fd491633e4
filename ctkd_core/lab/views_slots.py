"""Viewers of methods that write the teacher's candidates into student slots: SeDi, MinED, CDM."""

from __future__ import annotations

import torch
from torch import Tensor

from ctkd_core.lab.case import COLLIDED, EVERYTHING, Case, by_identity, floats, lost_parts
from ctkd_core.lab.records import Heard


def migrated(case: Case) -> list[Heard | None]:
    """SeDi: the top candidates re-encoded; what collides on one slot counts once. Probabilities at temperature 1."""
    from ctkd_core.losses.parts.migrate import migrate

    o, rows, bounds = case.options, case.rows, case.batch.groups
    target = migrate(case.teacher, rows, case.batch, case.widths[0], o["top_k"], o["strict_prefix"], torch.float32)
    found: list[Heard | None] = []
    for g, ((s0, *_), k) in enumerate(zip(case.groups, case.own(torch.arange(len(bounds))))):
        r = int(rows.number[0, s0])
        if r < 0 or k < 0 or not bool(target.used[r]):
            found.append(None)
            continue
        position = int(bounds[k, 4]) - 1
        normaliser = case.teacher[0, position - 1].float().logsumexp(-1)
        hit = target.hit[r]
        wants, slots = (target.logits[r][hit] - normaliser).exp(), target.slots[r][hit]
        has = case.student[0, s0 - 1].float().softmax(-1)[slots]
        lost = lost_parts(
            (f"outside the top {o['top_k']}", 1 - target.top_k_mass[r]),
            ("can't be written by the student", target.top_k_mass[r] - target.migrated_mass[r]),
            (COLLIDED, target.migrated_mass[r] - wants.sum()),
        )
        note = "" if o["omega"] == 0 else "the target also holds the student's own logits on these slots (omega)"
        found.append(by_identity(g, wants, has, slots, lost, note, position))
    return found


def copied(case: Case) -> list[Heard | None]:
    """MinED: one-to-one rows copy the teacher through a map; elsewhere the text itself is the target."""
    from ctkd_core.losses.mined import student_ids_of_teacher
    from ctkd_core.losses.parts.mined_rows import facing_rows

    if case.variant == "released":
        return []  # its own rows and targets: `losses/released/mined.py`
    o, rows = case.options, case.rows
    ids = student_ids_of_teacher(None, case.batch, case.widths, o["accept"], case.student.device)
    facing = facing_rows(rows, case.batch, o["accept"], o["byte_exact"], ids)
    found: list[Heard | None] = []
    for g, (s0, *_) in enumerate(case.groups):
        r = int(rows.number[0, s0])
        if r < 0:
            found.append(None)
            continue
        p = case.p("student", s0 - 1)
        if int(facing[r]) < 0:
            token = rows.target[r]
            note = "no equal token faces this place one to one, so the text's own token is the target"
            has = floats(p[token][None])
            found.append(Heard(g, "student", (int(token),), (1.0,), has, ((EVERYTHING, 1.0),), note=note))
            continue
        q = case.p("teacher", int(facing[r]))
        chosen = q.topk(min(o["top_k"], len(q))).indices if o["top_k"] else torch.arange(len(q))
        moved, kept = _moved(q[chosen], ids[chosen], case.widths[0], o["many_to_one"])
        lost = lost_parts(
            (f"outside the top {o['top_k']}", 1 - q[chosen].sum()),
            ("no student token for it", q[chosen].sum() - kept),
            (COLLIDED, kept - moved.sum()),
        )
        wants = moved / moved.sum().clamp(min=1e-12)
        found.append(by_identity(g, wants, p, torch.arange(len(p)), lost, row=int(facing[r]) + 1))
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


def slotted(case: Case) -> list[Heard | None]:
    """CDM: the teacher's K best tokens of a group's mean logits, on those slots that have a partner, scaled to 1."""
    from ctkd_core.losses import cdm
    from ctkd_core.losses.parts.slots import fill_slots, map_sides, merged_at, rows_after, top_of_groups

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
    found: list[Heard | None] = []
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
        lost = lost_parts((f"outside the top {k}", 1 - listed), ("without a partner", listed - partnered))
        wants, has = z_t[n, :k][kept].softmax(-1), z_s[n, :k][kept].softmax(-1)
        note = "slots of the teacher's list, scaled to 1; the student's own list is compared too"
        found.append(by_identity(g, wants, has, slots.student[n, :k][kept], lost, note, int(positions[-1]) + 1))
    return found
