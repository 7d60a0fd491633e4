"""Slots of CDM: the K largest entries of each group on either side, and their partners on the other.

A slot is one id of the source's list with its partner: first the teacher's list (partners in the student's vocabulary),
then the student's. Slots without a partner are left out of both soft-maxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ctkd_core.errors import LossInputError
from ctkd_core.losses.base import Rows
from ctkd_core.losses.batch import AlignedBatch
from ctkd_core.losses.engine.engine import Buffers, rows_per_chunk
from ctkd_core.losses.engine.fused import HeadLogits
from ctkd_core.losses.parts.group_rows import GroupRows, group_rows, segment_mean
from ctkd_core.losses.parts.matched import SameObject, one_to_one
from ctkd_core.losses.parts.mined_rows import prompt_ends
from ctkd_core.vocabulary.contextual import Rule, Side, contextual_map, sides

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer


@dataclass(frozen=True)
class Slots:
    """2K slots a group: the teacher's K, then the student's K.

    student, teacher  int64 [G, 2K] ids; where `mapped` bool [G, 2K] is False the partner is 0
    static            bool [G, 2K] slots that the static map fills
    """

    student: Tensor
    teacher: Tensor
    mapped: Tensor
    static: Tensor


def rows_after(rows: Rows, batch: AlignedBatch) -> GroupRows:
    """The rows AT the tokens of each group, which predict what follows them, and those at the prompts' last tokens.

    Both sides' last rows of a group have read the same text (where the alignment is right). A group counts if all its
    rows are learnt, on both sides: at the end of an answer nothing follows.
    """
    groups = batch.groups
    b, s, t = prompt_ends(batch).T
    groups = torch.cat([torch.stack([b, s, s + 1, t, t + 1], dim=1), groups])
    s1, t1 = groups[:, 2], groups[:, 4]
    inside = (s1 < batch.student_ids.shape[1]) & (t1 < batch.teacher_ids.shape[1])
    # The rows at tokens s0..s1 predict tokens s0 + 1..s1 + 1.
    shift = torch.tensor([0, 1, 1, 1, 1], device=groups.device)
    return group_rows(rows, replace(batch, groups=groups[inside] + shift))


def last_rows(group: Tensor, count: Tensor) -> Tensor:
    """int64 [G]: the place of each group's last row; group int64 [n] ascending, count int64 [G]."""
    return count.cumsum(0) - 1 if len(group) else count


def top_of_groups(
    logits: Tensor | HeadLogits, rows: Tensor, group: Tensor, count: Tensor, k: int, dtype: torch.dtype,
    chunk_rows: int | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """int64 [G, k] ids of the largest mean logits of each group, best first (equal ones by id on a CPU); bad bool [G].

    logits [..., V] without gradient; rows int64 [n] flat with their group int64 [n] ascending; count int64 [G]; `bad`
    tells where a row holds NaN.
    """
    ids = torch.zeros(len(count), k, dtype=torch.int64, device=logits.device)
    bad = torch.zeros(len(count), dtype=torch.bool, device=logits.device)
    buffers = Buffers(logits.device, dtype)
    step = rows_per_chunk(logits.shape[-1], logits.device, chunk_rows)
    ends = count.cumsum(0).cpu().numpy()
    first = 0
    while first < len(ends):
        start = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, start + step, side="right")))
        span, part = slice(start, int(ends[last - 1])), slice(first, last)
        z = buffers.read("logits", logits, rows[span])
        if logits.device.type == "cpu":
            from ctkd_core.losses.kernels.top import top_of_means

            bounds = np.concatenate([[0], ends[part] - start])
            top_of_means(z.numpy(), bounds, ids[part].numpy(), bad[part].numpy())
        else:
            merged = buffers.take("merged", last - first, z.shape[1])
            top = segment_mean(z, group[span] - first, count[part], merged).topk(k, dim=1)
            ids[part], bad[part] = top.indices, top.values.isnan().any(dim=1)
        first = last
    return ids, bad


def merged_at(
    logits: Tensor | HeadLogits, rows: Tensor, group: Tensor, count: Tensor, columns: Tensor, dtype: torch.dtype,
    chunk_rows: int | None = None,
) -> Tensor:  # fmt: skip
    """[G, m]: mean logits of each group at its columns int64 [G, m]."""
    wanted = columns[group]
    if isinstance(logits, HeadLogits):  # made a few rows at a time
        buffers = Buffers(logits.device, dtype)
        step = rows_per_chunk(logits.shape[-1], logits.device, chunk_rows)
        z = torch.empty(wanted.shape, dtype=dtype, device=logits.device)
        for begin in range(0, len(rows), step):
            part = slice(begin, begin + step)
            torch.gather(buffers.read("logits", logits, rows[part]), 1, wanted[part], out=z[part])
    else:
        width = logits.shape[1]
        z = logits.detach()[(rows // width)[:, None], (rows % width)[:, None], wanted].to(dtype)
    return segment_mean(z, group, count, torch.empty(columns.shape, dtype=dtype, device=logits.device))


def fill_slots(
    student: Tensor, teacher: Tensor, sides: tuple[Side, Side], widths: tuple[int, int], threshold: float
) -> Slots:
    """Slots of both passes from the lists int64 [G, K] of either side, best first.

    `sides`: both vocabularies with their static map. Ids that it leaves out take the nearest spelling of their row's
    other list below `threshold`; 0: none do. `widths` of the logits: partners beyond them don't count.
    """
    lists = student.cpu().numpy(), teacher.cpu().numpy()
    found = contextual_map(*lists, *sides, Rule(threshold))
    passes = found.forward, found.backward
    to_student, to_teacher = (
        torch.from_numpy(np.where(p.target < width, p.target, -1)).to(student.device)
        for p, width in zip(passes, widths)
    )
    dynamic = torch.from_numpy(np.concatenate([p.dynamic for p in passes], axis=1)).to(student.device)
    mapped = torch.cat([to_student >= 0, to_teacher >= 0], dim=1)
    mine = torch.cat([to_student.clamp(min=0), student], dim=1)
    return Slots(mine, torch.cat([teacher, to_teacher.clamp(min=0)], dim=1), mapped, mapped & ~dynamic)


def map_sides(projection: Any, batch: AlignedBatch, widths: tuple[int, int], threshold: float) -> tuple[Side, Side]:
    """Student and teacher vocabulary with the static map, for logits of these widths.

    projection: one-to-one entries of weight 1 of a Projection or scipy matrix [Vs, Vt]; None: equal bytes of the
    batch's tokenizers. Raises LossInputError where tokenizers are needed and the batch has none.
    """
    if batch.student is None or batch.teacher is None:
        if projection is None or threshold > 0:
            raise LossInputError(
                "CDM maps tokens by their strings: pass both tokenizers to collate(samples, student, teacher), or give "
                "a projection and set threshold=0."
            )
        return _bare(SameObject(projection), widths)
    if projection is None:
        return sides(batch.student, batch.teacher)
    return _given(SameObject(projection), batch.student, batch.teacher)


@lru_cache(maxsize=8)
def _given(projection: SameObject, student: Tokenizer, teacher: Tokenizer) -> tuple[Side, Side]:
    own, other = sides(student, teacher)
    return _with_pairs(projection.value, own.strings, other.strings)


@lru_cache(maxsize=8)
def _bare(projection: SameObject, widths: tuple[int, int]) -> tuple[Side, Side]:
    return _with_pairs(projection.value, [None] * widths[0], [None] * widths[1])


def _with_pairs(projection: Any, student: Sequence[str | None], teacher: Sequence[str | None]) -> tuple[Side, Side]:
    pairs = one_to_one(projection)
    pairs = pairs[(pairs[:, 0] < len(student)) & (pairs[:, 1] < len(teacher))]
    forth, back = (np.full(len(strings), -1, dtype=np.int64) for strings in (student, teacher))
    forth[pairs[:, 0]], back[pairs[:, 1]] = pairs[:, 1], pairs[:, 0]
    return Side(student, forth), Side(teacher, back)
