"""What a teacher's prediction becomes before a method compares it, group by group (runs in the worker; needs torch).

Each viewer rebuilds a method's own view of a group with the building blocks of its loss and keeps the largest entries;
what reaches no entry by identity is listed as lost. VIEWERS names the viewer of each method; a method without one is
still computed, it only has no such picture.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ctkd_core.lab.case import (
    EVERYTHING,
    MEAN,
    OTHERS,
    TOP,
    UNMATCHED,
    WHICH,
    Case,
    Viewer,
    by_identity,
    by_size,
    floats,
    lost_parts,
)  # fmt: skip
from ctkd_core.lab.records import Heard
from ctkd_core.lab.views_slots import copied, migrated, slotted
from ctkd_core.lab.views_spaces import projected_states, ranked
from ctkd_core.losses.parts.group_rows import GroupRows, group_rows
from ctkd_core.losses.parts.merged import MergedSide, merged_side

CROWD = 4  # student tokens behind a teacher column


def hear(method: str, case: Case) -> tuple[Heard, ...]:
    """One record for each group of the scene that the method compares something in."""
    viewer = VIEWERS.get(method)
    return tuple(h for h in viewer(case) if h is not None) if viewer else ()


def data_only(case: Case) -> list[Heard | None]:
    """The text itself is the target, no teacher is asked."""
    found: list[Heard | None] = []
    for g, (s0, *_) in enumerate(case.groups):
        r = int(case.rows.number[0, s0])
        if r < 0:
            found.append(None)
            continue
        token = int(case.rows.target[r])
        has = floats(case.p("student", s0 - 1)[token][None])
        found.append(Heard(g, "student", (token,), (1.0,), has, ((EVERYTHING, 1.0),)))
    return found


def same_ids(case: Case) -> list[Heard | None]:
    """The same tokenizer on both sides: nothing is moved and nothing is lost."""
    found: list[Heard | None] = []
    for g, (s0, _, t0, _) in enumerate(case.groups):
        if s0 < 1 or t0 < 1:
            found.append(None)
            continue
        n = min(case.widths)
        q, p = case.p("teacher", t0 - 1)[:n], case.p("student", s0 - 1)[:n]
        found.append(by_identity(g, q, p, torch.arange(n), (), row=t0))
    return found


def sorted_rows(case: Case) -> list[Heard | None]:
    """ULD: sorted probabilities of the student's row and of the teacher's row that it is paired with."""
    from ctkd_core.losses.parts.pairing import PAIRINGS

    if case.variant == "released":
        return []  # its rows stand at the tokens, not before them
    o, rows = case.options, case.rows
    pair = PAIRINGS[o["pairing"]](rows, case.batch)
    found: list[Heard | None] = []
    for g, (s0, s1, t0, t1) in enumerate(case.groups):
        numbers = [r for r in rows.number[0, s0:s1].tolist() if r >= 0 and int(pair[r]) >= 0]
        if not numbers:
            found.append(None)
            continue
        r = numbers[-1] if o["pairing"] == "groups" else numbers[0]
        position = int(pair[r]) + 1
        q, p = case.p("teacher", position - 1), case.p("student", int(rows.position[r]) - 1)
        note = "" if t0 <= position < t1 else "positions drifted apart: the teacher's row here predicts another token"
        found.append(by_size(g, q, p, min(TOP, o["top_k"] or TOP), ((WHICH, 1.0),), note, position))
    return found


def merged(case: Case) -> list[Heard | None]:
    """GOLD: one merged row a group; matched tokens by identity, the rest sorted."""
    from ctkd_core.losses.gold import usable_groups
    from ctkd_core.losses.parts.matched import matched_ids

    o, batch = case.options, case.batch
    numbers = usable_groups(batch, o["merge"], o["with_eos"])
    sample, s0, s1, t0, t1 = batch.groups[numbers].T
    p = _merged_rows(case.student, merged_side(sample, s0, s1, batch.student_ids, o["merge"]), o["temperature"])
    q = _merged_rows(case.teacher, merged_side(sample, t0, t1, batch.teacher_ids, o["merge"]), o["temperature"])
    ids = matched_ids(None, batch, case.widths, raw=case.variant == "released") if o["hybrid"] else None
    found: list[Heard | None] = []
    for g, k in enumerate(case.own(numbers)):
        if k < 0:
            found.append(None)
            continue
        others = (OTHERS, 1 - q[k].sum())
        if ids is None:
            found.append(by_size(g, q[k], p[k], TOP, lost_parts((WHICH, q[k].sum()), others)))
            continue
        lost = lost_parts((UNMATCHED, q[k][ids.teacher_rest].sum()), others)
        found.append(by_identity(g, q[k][ids.teacher], p[k][ids.student], ids.student, lost, row=int(t1[k]) - 1))
    return found


def _merged_rows(logits: Tensor, side: MergedSide, tau: float) -> Tensor:
    """[G, V]: factor * softmax, as `_merged` defines it."""
    from ctkd_core.losses.parts.merged import log_factors, token_log_probs

    flat = logits.reshape(-1, logits.shape[-1])
    log_p = token_log_probs(logits, side.factor_row, side.factor_token, tau, torch.float32)
    return (flat[side.row].float() / tau).softmax(-1) * log_factors(side, log_p).exp()[:, None]


def common(case: Case) -> list[Heard | None]:
    """X-Token H-KL: means of log-probabilities over a group's rows, common tokens by identity, the rest sorted."""
    from ctkd_core.losses.parts.matched import best_pairs, matched_from_pairs, one_to_one
    from ctkd_core.losses.xtoken import default_projection

    o = case.options
    matrix = default_projection(case.batch).matrix
    pairs = one_to_one(matrix) if o["common"] == "strict" else best_pairs(matrix, o["threshold"])
    width = min(matrix.shape[1], case.widths[1])
    ids = matched_from_pairs(pairs, (case.widths[0], width))
    groups = group_rows(case.rows, case.batch)
    found: list[Heard | None] = []
    for g, k in enumerate(case.own(groups.owner)):
        if k < 0:
            found.append(None)
            continue
        s, t = _rows_of(case, groups, k)
        v = (case.teacher[0, t, :width].float() / o["temperature"]).log_softmax(-1).mean(0).exp()
        q = case.p("student", s).log().mean(0).exp()
        lost = lost_parts((UNMATCHED, v[ids.teacher_rest].sum()), (MEAN, 1 - v.sum()))
        found.append(by_identity(g, v[ids.teacher], q[ids.student], ids.student, lost, row=int(t[0]) + 1))
    return found


def _rows_of(case: Case, groups: GroupRows, k: int) -> tuple[Tensor, Tensor]:
    """Rows of the logits that predict the tokens of a method's group, student's and teacher's."""
    student = case.rows.flat[groups.student_row[groups.student_group == k]]
    return student, groups.teacher_row[groups.teacher_group == k]


def projected(case: Case) -> list[Heard | None]:
    """X-Token P-KL: the student's probabilities move to teacher columns; so entries are teacher tokens with a crowd."""
    from ctkd_core.losses.parts.columns import entries_of
    from ctkd_core.losses.xtoken import default_projection, top_columns

    o = case.options
    matrix = default_projection(case.batch).matrix
    teacher = case.teacher[..., : matrix.shape[1]]
    columns = top_columns(teacher, o["top_k"], None if case.variant == "released" else case.batch)
    widths = (min(matrix.shape[0], case.widths[0]), teacher.shape[-1])
    part = entries_of(matrix, widths, case.student.device, torch.float32).columns(columns)
    groups = group_rows(case.rows, case.batch)
    found: list[Heard | None] = []
    for g, k in enumerate(case.own(groups.owner)):
        if k < 0:
            found.append(None)
            continue
        s, t = _rows_of(case, groups, k)
        if o["merge"] == "chain":  # the rows of the last tokens
            s, t = s[-1:], t[-1:]
        z = teacher[0, t].float() / o["temperature"]
        inside = z.softmax(-1)[:, columns].sum(-1).mean()
        v = z[:, columns].log_softmax(-1).mean(0).exp()
        found.append(_in_columns(g, v, case.p("student", s).mean(0), inside, part, columns, int(t[0]) + 1))
    return found


def _in_columns(g: int, v: Tensor, q: Tensor, inside: Tensor, part: Any, columns: Tensor, row: int) -> Heard:
    """v [k] of the teacher against q [Vs] moved into the columns; who brings the student's mass."""
    load = torch.bincount(part.column, minlength=len(columns))
    mass = part.project(q[None])[0]
    u = mass / mass.sum().clamp(min=1e-12)
    lost = lost_parts(
        ("outside the chosen teacher columns", 1 - inside),
        ("no student token points there", v[load == 0].sum()),
        (MEAN, 1 - v.sum()),
    )
    best = v.topk(min(TOP, len(v)))
    crowd = []
    for column in best.indices.tolist():
        mine = (part.column == column).nonzero().squeeze(1)
        brought = q[part.student[mine]] * part.weight[mine]
        first = brought.topk(min(CROWD, len(mine)))
        ids = part.student[mine[first.indices]].tolist()
        crowd.append(tuple(zip(ids, floats(first.values))))
    ids, sizes = tuple(columns[best.indices].tolist()), tuple(load[best.indices].tolist())
    return Heard(g, "teacher", ids, floats(best.values), floats(u[best.indices]), lost, tuple(crowd), sizes, row=row)


def event(case: Case) -> list[Heard | None]:
    """ALM: the chance of the text's own tokens on each side, against everything else."""
    groups = case.batch.groups
    log_p, log_q = (logits[0].float().log_softmax(-1) for logits in (case.student, case.teacher))
    found: list[Heard | None] = []
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
        note = "whatever else the teacher would have said is one lump"
        found.append(Heard(g, "event", (-1, -1), (q, 1 - q), (p, 1 - p), note=note, row=t0))
    return found


VIEWERS: dict[str, Viewer] = {
    "sft": data_only,
    "kd": same_ids,
    "uld": sorted_rows,
    "gold": merged,
    "xtoken-hkl": common,
    "xtoken-pkl": projected,
    "sedi": migrated,
    "mined": copied,
    "cdm": slotted,
    "alm": event,
    "multilevel_ot": ranked,
    "dskd-eta": projected_states,
}
