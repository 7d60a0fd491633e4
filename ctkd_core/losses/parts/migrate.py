"""Token migration for SeDi: which student slots the teacher's top candidates hit, for every row of a batch.

For a group of teacher tokens t0 .. t1 - 1 and student tokens s0 .. s1 - 1, the row that predicts teacher token t1 - 1
gives the candidates; each is put behind the text of t0 .. t1 - 2 and re-encoded by the student. The first piece feeds
the row that predicts s0, piece l the row that predicts s0 + l. Everything stays sparse: [rows, K], never [rows, V].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ctkd_core.errors import LossInputError
from ctkd_core.losses.base import Rows, two_sided
from ctkd_core.losses.batch import AlignedBatch
from ctkd_core.losses.engine.engine import Buffers, rows_per_chunk, softmax
from ctkd_core.vocabulary.migration import MigrationTable, Pieces, migration_table

LOWEST = -1e30  # stands for minus infinity where 0 * infinity would be NaN


@dataclass(frozen=True)
class MigratedRows:
    """The teacher's candidates in student slots, R rows (all response rows), K candidates.

    slots          int64 [R, K] student ids; meaningful where `hit`, 0 elsewhere
    hit            bool [R, K] one per distinct slot; where candidates collide, the one with the largest logit
    logits         [R, K] teacher logit of each slot
    entropy        [R] of the teacher's full distribution, nats
    used           bool [R] rows with at least one slot
    candidates     int64 [R] candidates that could be written, collisions included
    top1_correct   bool [R] the teacher's best candidate became the data's own token
    top_k_mass     [R] teacher probability of all K candidates
    migrated_mass  [R] of those that could be written
    """

    slots: Tensor
    hit: Tensor
    logits: Tensor
    entropy: Tensor
    used: Tensor
    candidates: Tensor
    top1_correct: Tensor
    top_k_mass: Tensor
    migrated_mass: Tensor


@dataclass(frozen=True)
class _Teacher:
    """What a group needs of its teacher row: logits, ids [G, K] in falling order; normaliser, entropy [G]."""

    logits: Tensor
    ids: Tensor
    normaliser: Tensor
    entropy: Tensor


def migrate(
    teacher_logits: Tensor,
    rows: Rows,
    batch: AlignedBatch,
    student_width: int,
    top_k: int,
    strict_prefix: bool,
    dtype: torch.dtype,
) -> MigratedRows:
    """The target of every response row. Raises LossInputError when pieces lie outside the student's logits."""
    assert batch.student is not None and batch.teacher is not None
    table = migration_table(batch.student, batch.teacher)
    if len(table.whole.flat) and int(table.whole.flat.max()) >= student_width:
        raise LossInputError(
            f"the student's tokenizer {batch.student.name!r} has ids up to {int(table.whole.flat.max())}, but its "
            f"logits are only {student_width} wide; resize the model's embeddings or load the fitting tokenizer."
        )
    # others have no teacher row before their last token
    groups = batch.groups[two_sided(batch.groups) & (batch.groups[:, 4] >= 2)]
    group, piece = _places(rows, groups)
    teacher = _summarise(teacher_logits, groups[:, 0] * teacher_logits.shape[1] + groups[:, 4] - 2, top_k, dtype)
    flat, start, length = _pieces(table, teacher.ids, groups, batch)
    inside = group >= 0
    group = group.clamp(min=0)
    if not len(groups):
        return _empty(rows, dtype)
    written = inside[:, None] & (piece[:, None] < length[group])
    slots = torch.where(written, flat[(start[group] + piece[:, None]).clamp(max=len(flat) - 1)], 0)
    if strict_prefix:
        written &= _prefix_agrees(flat, start[group], rows, piece, batch.student_ids)
    return _assemble(slots, written, group, inside, teacher, rows)


def _places(rows: Rows, groups: Tensor) -> tuple[Tensor, Tensor]:
    """int64 [R]: which group each row's predicted token is in (-1: none), and which piece of it."""
    group_at, piece_at = torch.full_like(rows.number, -1), torch.zeros_like(rows.number)
    count = groups[:, 2] - groups[:, 1]
    owner = torch.repeat_interleave(torch.arange(len(groups), device=groups.device), count)
    piece = torch.arange(len(owner), device=groups.device) - (count.cumsum(0) - count)[owner]
    sample, position = groups[owner, 0], groups[owner, 1] + piece
    group_at[sample, position], piece_at[sample, position] = owner, piece
    return group_at[rows.sample, rows.position], piece_at[rows.sample, rows.position]


def _summarise(logits: Tensor, index: Tensor, top_k: int, dtype: torch.dtype) -> _Teacher:
    """Top candidates, normaliser and entropy of teacher rows, int64 [G] into the flattened logits."""
    width = logits.shape[-1]
    k, buffers = min(top_k, width), Buffers(logits.device, dtype)
    parts: list[tuple[Tensor, ...]] = []
    step = rows_per_chunk(width, logits.device)
    for begin in range(0, len(index), step):
        z = buffers.gather("teacher", logits, index[begin : begin + step]).clamp_(min=LOWEST)
        best, ids = z.topk(k, dim=1)
        p, normaliser = softmax(z, 1.0, buffers, "softmax")
        entropy = normaliser - (p.mul_(z)).sum(dim=1)
        parts.append((best, ids, normaliser, entropy))
    if not parts:
        empty = torch.zeros((0, k), dtype=dtype, device=logits.device)
        return _Teacher(empty, empty.long(), empty.sum(dim=1), empty.sum(dim=1))
    return _Teacher(*(torch.cat(column) for column in zip(*parts)))


def _pieces(table: MigrationTable, ids: Tensor, groups: Tensor, batch: AlignedBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Pieces of every candidate: flat int64 [n], start and length int64 [G, K]."""
    flat, starts, lengths = (torch.from_numpy(x).to(ids.device) for x in _arrays(table.whole))
    known = ids < len(starts)  # the head of a model may be wider than its tokenizer
    safe = ids.clamp(max=len(starts) - 1)
    start, length = starts[safe], torch.where(known, lengths[safe], 0)
    behind = (groups[:, 4] - groups[:, 3] > 1).nonzero().squeeze(1)
    if len(behind):
        token_bytes = table.teacher.all_token_bytes()
        teacher_ids = batch.teacher_ids.cpu().numpy()
        prefixes = [
            b"".join([token_bytes[i] if i < len(token_bytes) else b"" for i in teacher_ids[b, t0 : t1 - 1].tolist()])
            for b, _, _, t0, t1 in groups[behind].tolist()
        ]
        own = table.prefixed(prefixes, ids[behind].cpu().numpy())
        own_flat, own_start, own_length = (torch.from_numpy(x).to(ids.device) for x in _arrays(own))
        start[behind], length[behind] = own_start + len(flat), own_length
        flat = torch.cat([flat, own_flat])
    return flat, start, length


def _arrays(pieces: Pieces) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return pieces.flat, pieces.start, pieces.length


def _prefix_agrees(flat: Tensor, start: Tensor, rows: Rows, piece: Tensor, student_ids: Tensor) -> Tensor:
    """bool [R, K]: the pieces before a row's own are the tokens that the student really read."""
    agrees = torch.ones_like(start, dtype=torch.bool)
    for back in range(1, int(piece.max()) + 1 if len(piece) else 1):
        inner = piece >= back
        read = student_ids[rows.sample, (rows.position - back).clamp(min=0)]
        pieces = flat[(start + (piece - back).clamp(min=0)[:, None]).clamp(max=len(flat) - 1)]
        agrees &= (pieces == read[:, None]) | ~inner[:, None]
    return agrees


def _assemble(
    slots: Tensor, written: Tensor, group: Tensor, inside: Tensor, teacher: _Teacher, rows: Rows
) -> MigratedRows:
    logits = teacher.logits[group]
    mass = (logits - teacher.normaliser[group, None]).exp()
    used = written.any(dim=1)
    top1 = written[:, 0] & (slots[:, 0] == rows.target)
    # Candidates come in falling order and the sort is stable: the first of equal slots has the largest logit.
    ordered, order = torch.where(written, slots, -1).sort(dim=1, stable=True)
    hit = ordered >= 0
    hit[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
    # Rows without a target keep a harmless slot, so that nothing of theirs becomes NaN; their weight is 0.
    hit[:, 0] |= ~used
    return MigratedRows(
        slots=torch.where(hit, ordered, 0).clamp(min=0),
        hit=hit,
        logits=logits.gather(1, order),
        entropy=torch.where(inside, teacher.entropy[group], 0.0),
        used=used,
        candidates=written.sum(dim=1),
        top1_correct=top1,
        top_k_mass=mass.sum(dim=1),
        migrated_mass=torch.where(written, mass, 0.0).sum(dim=1),
    )


def _empty(rows: Rows, dtype: torch.dtype) -> MigratedRows:
    n = len(rows)
    numbers = torch.zeros(n, dtype=dtype, device=rows.flat.device)
    table = numbers.new_zeros((n, 0))
    none = numbers.bool()
    return MigratedRows(table.long(), table.bool(), table, numbers, none, numbers.long(), none, numbers, numbers)
