"""Twins of the analytic losses in the plain form: what a newcomer would write, straight from the formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ctkd_core.losses.author import (
    AlignedBatch,
    LossOutput,
    PlainGroups,
    PlainRows,
    cross_entropy_term,
    finish,
    group_loss,
    group_rows,
    group_term,
    response_rows,
    row_loss,
    row_term,
    uniform,
)
from ctkd_core.losses.engine.engine import Balance
from ctkd_core.losses.parts.matched import matched_ids
from ctkd_core.losses.parts.migrate import migrate
from ctkd_core.losses.xtoken import FLOOR, default_projection, top_columns

Given = dict[str, Any]


def sft(s: Tensor, t: Tensor, batch: AlignedBatch, **given: Any) -> LossOutput:
    def ce(rows: PlainRows) -> Tensor:
        return -rows.student.log_softmax(dim=1).gather(1, rows.target[:, None])[:, 0]

    return row_loss("ce", ce, s, None, batch, ce_weight=0.0, pairing=None, **given)


def forward_kl(p: Tensor, q: Tensor) -> Tensor:
    """[n] from log-probabilities [n, V] of student and teacher."""
    return (q.exp() * (q - p)).sum(dim=1)


def kd(
    s: Tensor, t: Tensor, batch: AlignedBatch, divergence="forward_kl", temperature=1.0, ce_weight=0.5, **given: Any
) -> LossOutput:
    width = s.shape[-1] if batch.student is None else batch.student.n_ids

    def kl(rows: PlainRows) -> Tensor:
        p, q = ((z[:, :width] / temperature).log_softmax(dim=1) for z in (rows.student, rows.teacher))
        return forward_kl(p, q) if divergence == "forward_kl" else forward_kl(q, p)

    return row_loss(divergence, kl, s, t, batch, ce_weight=ce_weight, pairing="positional", **given)


def sorted_l1(p: Tensor, q: Tensor) -> Tensor:
    width = max(p.shape[1], q.shape[1])
    p, q = (torch.nn.functional.pad(x, (0, width - x.shape[1])).sort(dim=1, descending=True).values for x in (p, q))
    return (p - q).abs().sum(dim=1)


def uld(
    s: Tensor, t: Tensor, batch: AlignedBatch, pairing="positional", temperature=1.0, ce_weight=0.5, **given: Any
) -> LossOutput:
    def distance(rows: PlainRows) -> Tensor:
        return sorted_l1(*((z / temperature).softmax(dim=1) for z in (rows.student, rows.teacher)))

    return row_loss("uld", distance, s, t, batch, pairing=pairing, average="samples", ce_weight=ce_weight, **given)


def merged(side: Any, temperature: float) -> Tensor:
    """[g, V]: the row of each group's last token times the probabilities of its earlier tokens."""
    log_p = (side.logits / temperature).log_softmax(dim=1)
    earlier = log_p.gather(1, side.target[:, None])[:, 0].clamp(min=float(torch.tensor(1e-8).log()))
    factor = side.sum(torch.where(side.is_last(), 0.0, earlier))
    return (side.last(log_p) + factor[:, None]).exp()


def gold(
    s: Tensor, t: Tensor, batch: AlignedBatch, temperature=1.0, beta=0.5, ce_weight=0.5, projection=None, **given: Any
) -> LossOutput:
    ids = matched_ids(projection, batch, (s.shape[-1], t.shape[-1])).to(s.device)
    keep = torch.ones(len(batch.groups), dtype=torch.bool, device=s.device)
    sides = (batch.student_ids, 2, batch.student), (batch.teacher_ids, 4, batch.teacher)
    for tokens, end, tokenizer in sides:  # groups that end the answer are left out
        if tokenizer is not None:
            keep &= tokens[batch.groups[:, 0], batch.groups[:, end] - 1] != tokenizer.eos_id
    share = len(ids.student) / t.shape[-1]

    def compare(groups: PlainGroups) -> Tensor:
        p, q = merged(groups.student, temperature), merged(groups.teacher, temperature)
        pm, qm = p[:, ids.student].clamp(min=1e-8), q[:, ids.teacher].clamp(min=1e-8)
        m = beta * qm + (1 - beta) * pm
        jsd = beta * (qm * (qm / m).log()).sum(dim=1) + (1 - beta) * (pm * (pm / m).log()).sum(dim=1)
        return torch.stack([jsd, sorted_l1(p[:, ids.student_rest], q[:, ids.teacher_rest])], dim=1)

    terms = {"matched": share, "unmatched": 1.0 - share}
    return group_loss(
        "gold", compare, s, t, batch, keep=keep, terms=terms, average="samples", ce_weight=ce_weight, **given
    )


def pkl(
    s: Tensor,
    t: Tensor,
    batch: AlignedBatch,
    scaling="dynamic",
    temperature=1.0,
    top_k=200,
    projection=None,
    chunk_rows=None,
) -> LossOutput:
    """Written with terms: the distillation is scaled to the cross-entropy."""
    matrix = default_projection(batch).matrix if projection is None else projection
    t = t[..., : matrix.shape[1]]
    columns = top_columns(t, top_k, batch)
    part = matrix.tocsc()[:, columns.numpy()].tocoo()
    places = torch.from_numpy(np.stack([part.col, part.row]).astype(np.int64))
    w = torch.sparse_coo_tensor(
        places, torch.from_numpy(part.data).to(s.dtype), (len(columns), s.shape[-1]), check_invariants=False
    )
    rows = response_rows(batch.student_labels)
    groups = group_rows(rows, batch)

    def kl(part: PlainGroups) -> Tensor:
        q = part.student.mean((part.student.logits / temperature).softmax(dim=1))
        mass = torch.sparse.mm(w.to(q.dtype), q.T).T
        u = mass / (mass.sum(dim=1, keepdim=True) + FLOOR)
        v = part.teacher.mean((part.teacher.logits[:, columns] / temperature).log_softmax(dim=1))
        return forward_kl((u + FLOOR).log(), v)

    share = (1.0 if scaling == "dynamic" else 0.5) * temperature**2
    term = group_term(kl, rows, groups, groups.group_mean(len(rows)), (t, batch), {"pkl": share})
    ce = cross_entropy_term(rows, 1.0 if scaling == "dynamic" else 0.5)
    return finish(
        s, rows, [ce, term], batch,
        teacher_logits=t, chunk_rows=chunk_rows, cuts=groups.cuts(len(rows)),
        balance=Balance(10.0) if scaling == "dynamic" else None,
    )  # fmt: skip


def sedi(
    s: Tensor, t: Tensor, batch: AlignedBatch, state=None, temperature=2.0, top_k=100, chunk_rows=None
) -> LossOutput:
    """Two terms over one set of rows, and omega that learns beside the student."""
    rows = response_rows(batch.student_labels)
    target = migrate(t, rows, batch, s.shape[-1], top_k, False, s.dtype)

    def kl_and_entropy(part: PlainRows) -> Tensor:
        slots, hit = target.slots[part.number], target.hit[part.number]
        omega = state.omega[slots].to(part.student.dtype)
        pseudo = target.logits[part.number] + omega * part.student.gather(1, slots)
        pseudo = pseudo.masked_fill(~hit, -1e30)
        log_q = (part.student / temperature).log_softmax(dim=1).gather(1, slots)
        log_p, log_h = (pseudo / temperature).log_softmax(dim=1), pseudo.log_softmax(dim=1)
        kl = (log_p.exp() * torch.where(hit, log_p - log_q, 0.0)).sum(dim=1)
        entropy = -(log_h.exp() * torch.where(hit, log_h, 0.0)).sum(dim=1)
        return torch.stack([kl, (entropy - target.entropy[part.number]) ** 2], dim=1)

    weights = {"kl": 0.5, "entropy": 0.5}
    term = row_term(kl_and_entropy, rows, uniform(rows, target.used), None, rows.flat, weights, state)
    terms = [cross_entropy_term(rows, 0.5), term]
    return finish(s, rows, terms, batch, teacher_logits=t, chunk_rows=chunk_rows)
