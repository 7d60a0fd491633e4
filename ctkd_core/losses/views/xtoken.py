"""X-Token: common tokens of two means (H-KL), and student probabilities in teacher columns (P-KL)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ctkd_core.losses.parts.columns import entries_of
from ctkd_core.losses.parts.group_rows import GroupRows, group_rows
from ctkd_core.losses.parts.matched import best_pairs, matched_from_pairs, one_to_one
from ctkd_core.losses.views.case import TOP, Case, Targets, by_identity, floats, lost_parts
from ctkd_core.losses.views.target import MEAN, OTHER_COLUMNS, UNMATCHED, UNREACHED, Target
from ctkd_core.losses.xtoken import compared_groups, default_projection, top_columns

SOURCES = 4  # student tokens named behind a teacher column


def common_tokens(case: Case) -> Targets:
    """X-Token H-KL: means of log-probabilities over a group's rows, common tokens by identity, the rest sorted."""
    o = case.options
    projection = default_projection(case.batch)
    pairs = one_to_one(projection) if o["common"] == "strict" else best_pairs(projection, o["threshold"])
    width = min(projection.shape[1], case.widths[1])
    ids = matched_from_pairs(pairs, (case.widths[0], width), none=True)
    groups = group_rows(case.rows, case.batch)
    found: Targets = []
    for g, k in enumerate(case.own(groups.owner)):
        if k < 0:
            found.append(None)
            continue
        s, t = _rows_of(case, groups, k)
        v = (case.teacher[0, t, :width].float() / o["temperature"]).log_softmax(-1).mean(0).exp()
        q = case.p("student", s).log().mean(0).exp()
        lost = lost_parts((UNMATCHED, v[ids.teacher_rest].sum()), (MEAN, 1 - v.sum()))
        found.append(by_identity(g, v[ids.teacher], q[ids.student], ids.student, lost, position=int(t[0]) + 1))
    return found


def teacher_columns(case: Case) -> Targets:
    """X-Token P-KL: the student's probabilities move to teacher columns, each with the student tokens behind it."""
    o = case.options
    matrix = default_projection(case.batch).matrix
    teacher = case.teacher[..., : matrix.shape[1]]
    columns = top_columns(teacher, o["top_k"], None if case.variant == "released" else case.batch)
    widths = (min(matrix.shape[0], case.widths[0]), teacher.shape[-1])
    part = entries_of(matrix, widths, case.student.device, torch.float32).columns(columns)
    groups = compared_groups(case.rows, case.batch, o["exact_only"])
    found: Targets = []
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


def _in_columns(g: int, v: Tensor, q: Tensor, inside: Tensor, part: Any, columns: Tensor, row: int) -> Target:
    """v [k] of the teacher against q [Vs] moved into the columns, and the student tokens that it comes from."""
    load = torch.bincount(part.column, minlength=len(columns))
    mass = part.project(q[None])[0]
    u = mass / mass.sum().clamp(min=1e-12)
    lost = lost_parts(
        (OTHER_COLUMNS, 1 - inside),
        (UNREACHED, v[load == 0].sum()),
        (MEAN, 1 - v.sum()),
    )
    best = v.topk(min(TOP, len(v)))
    sources = []
    for column in best.indices.tolist():
        mine = (part.column == column).nonzero().squeeze(1)
        brought = q[part.student[mine]] * part.weight[mine]
        first = brought.topk(min(SOURCES, len(mine)))
        ids = part.student[mine[first.indices]].tolist()
        sources.append(tuple(zip(ids, floats(first.values))))
    ids, sizes = tuple(columns[best.indices].tolist()), tuple(load[best.indices].tolist())
    both = floats(best.values), floats(u[best.indices])
    return Target(g, "teacher", ids, *both, lost, tuple(sources), sizes, position=row)


def _rows_of(case: Case, groups: GroupRows, k: int) -> tuple[Tensor, Tensor]:
    """Rows of the logits that predict the tokens of a method's group, student's and teacher's."""
    student = case.rows.flat[groups.student_row[groups.student_group == k]]
    return student, groups.teacher_row[groups.teacher_group == k]
