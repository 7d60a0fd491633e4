"""Slow, obvious twins of the losses: plain torch with autograd, one row at a time, straight from the formulas."""

from __future__ import annotations

import torch
from torch import Tensor

from ctkd_core.losses.batch import AlignedBatch


def ce_rows(logits: Tensor, batch: AlignedBatch) -> dict[tuple[int, int], Tensor]:
    """-log p of the token at each learnt (sample, position) that a row predicts."""
    rows = {}
    for b in range(len(batch)):
        for i in range(1, batch.student_ids.shape[1]):
            if batch.student_labels[b, i] != -100:
                rows[b, i] = -logits[b, i - 1].log_softmax(-1)[batch.student_ids[b, i]]
    return rows


def average(values) -> Tensor:
    values = list(values)
    return torch.stack(values).mean() if values else torch.zeros(())


def sft(s: Tensor, batch: AlignedBatch) -> Tensor:
    return average(ce_rows(s, batch).values())


def sorted_l1(p: Tensor, q: Tensor) -> Tensor:
    width = max(len(p), len(q))
    p, q = (torch.cat([x, x.new_zeros(width - len(x))]).sort(descending=True).values for x in (p, q))
    return (p - q).abs().sum()


def uld(s: Tensor, t: Tensor, batch: AlignedBatch, ce_weight=0.5, temperature=1.0, pairing="positional") -> Tensor:
    means = []
    for b in range(len(batch)):
        values = []
        if pairing == "positional":
            mine = (batch.student_labels[b] != -100).nonzero().flatten().tolist()
            theirs = (batch.teacher_labels[b] != -100).nonzero().flatten().tolist()
            pairs = list(zip(mine, theirs))
        else:
            pairs = [(s1 - 1, t1 - 1) for a, _, s1, _, t1 in batch.groups.tolist() if a == b]
        for i, j in pairs:
            if i >= 1 and j >= 1:
                p, q = (s[b, i - 1] / temperature).softmax(-1), (t[b, j - 1] / temperature).softmax(-1)
                values.append(sorted_l1(p, q))
        if values:
            means.append(average(values))
    return ce_weight * sft(s, batch) + (1 - ce_weight) * average(means)


def candidates(batch: AlignedBatch, group: list[int], row: Tensor, top_k: int) -> list[tuple[float, list[int]]]:
    """(teacher logit, student pieces) of the K best teacher tokens behind the group's earlier tokens, best first."""
    student, teacher = batch.student, batch.teacher
    b, _, _, t0, t1 = group
    prefix = b"".join(teacher.token_bytes(int(i)) for i in batch.teacher_ids[b, t0 : t1 - 1])
    found = []
    for logit, token in zip(*(x.tolist() for x in row.topk(min(top_k, len(row))))):
        if token == teacher.eos_id:
            found.append((logit, (student.encode_pieces([prefix])[0] if prefix else []) + [student.eos_id]))
        elif token < teacher.n_ids and token not in teacher.special_ids:
            text = prefix + teacher.token_bytes(token)
            pieces = student.encode_pieces([text])[0]
            if b"".join(student.token_bytes(i) for i in pieces) == text:
                found.append((logit, pieces))
    return found


def sedi_rows(batch, t, top_k=100, strict_prefix=False) -> dict[tuple[int, int], tuple[dict[int, float], Tensor]]:
    """(sample, position) -> ({student slot: teacher logit}, teacher entropy)."""
    rows = {}
    for group in batch.groups.tolist():
        b, s0, s1, _, t1 = group
        if t1 < 2:
            continue
        row = t[b, t1 - 2]
        entropy = torch.special.entr(row.softmax(-1)).sum()
        found = candidates(batch, group, row, top_k)
        for position in range(max(1, s0), s1):
            slots: dict[int, float] = {}
            piece = position - s0
            for logit, pieces in found:
                gold = batch.student_ids[b, s0:position].tolist()
                if piece < len(pieces) and not (strict_prefix and pieces[:piece] != gold):
                    slots[pieces[piece]] = max(logit, slots.get(pieces[piece], float("-inf")))
            if slots:
                rows[b, position] = (slots, entropy)
    return rows


def sedi(
    s, t, batch, omega, *, ce_weight=0.5, temperature=2.0, entropy_weight=1.0, top_k=100, strict_prefix=False,
    detach_target=False,
) -> Tensor:  # fmt: skip
    kl, entropies = [], []
    for (b, position), (slots, teacher_entropy) in sedi_rows(batch, t, top_k, strict_prefix).items():
        z = s[b, position - 1]
        inside = z.detach() if detach_target else z
        dense = torch.full_like(z, -10000.0)
        dense[list(slots)] = torch.tensor(list(slots.values()), dtype=z.dtype)
        pseudo = dense + omega * inside
        log_p = (pseudo / temperature).log_softmax(-1)
        kl.append((log_p.exp() * (log_p - (z / temperature).log_softmax(-1))).sum())
        log_h = pseudo.log_softmax(-1)
        entropies.append((-(log_h.exp() * log_h).sum() - teacher_entropy) ** 2)
    distilled = average(kl) + entropy_weight * average(entropies)
    return ce_weight * sft(s, batch) + (1 - ce_weight) * distilled
