"""Which teacher row a student row may copy (MinED), from the pairs of a batch.

Row i of a model stands at token i and predicts token i + 1. A student row may copy a teacher row when its token has
exactly one partner on the path and that partner is accepted: equal strings, or the vocabulary map says so. The row at
the last token of a prompt has read the prompt and no more, on both sides, and needs no partner.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctkd_core.errors import LossInputError, unknown
from ctkd_core.losses.base import Rows
from ctkd_core.losses.batch import IGNORE, AlignedBatch
from ctkd_core.losses.parts.group_rows import in_groups

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

ACCEPTANCE = ("soft", "hard", "map")


def facing_rows(
    rows: Rows, batch: AlignedBatch, accept: str, byte_exact: bool, teacher_to_student: Tensor, released: bool = False
) -> Tensor:
    """int64 [R]: flat teacher row (into [B * Tt]) that each student row may copy, -1 for none.

    accept              "hard": equal strings, blanks and space markers apart; "map": `teacher_to_student` int64 [Vt]
                        (-1 without an entry) sends the partner to the student's token; "soft": either
    byte_exact          both tokens must also end at the same byte of the response
    released            strings are compared with their blanks, and the row at the prompt's last token faces the
                        teacher's only if that token is accepted too

    Without `batch.pairs` every token of a group faces every token of its other side.
    Raises LossInputError for an unknown `accept`, or without tokenizers where strings or bytes are asked for.
    """
    if accept not in ACCEPTANCE:
        raise unknown("value of 'accept'", accept, ACCEPTANCE, LossInputError)
    partner = sole_partners(batch)
    sample, token = rows.sample, rows.position - 1
    prompt = torch.full_like(partner, -1)
    b, s, t = prompt_ends(batch).T
    prompt[b, s] = t
    at_prompt = prompt[sample, token] >= 0
    other = torch.where(at_prompt, prompt[sample, token], partner[sample, token])
    found = other >= 0
    other = other.clamp(min=0)
    mine, theirs = batch.student_ids[sample, token], batch.teacher_ids[sample, other]
    good = torch.zeros_like(found)
    if accept != "map":
        own, others = string_codes(*_tokenizers(batch), blanks=released)
        good |= _looked_up(own, mine, -1) == _looked_up(others, theirs, -2)
    if accept != "hard":
        good |= teacher_to_student[theirs] == mine
    if byte_exact:
        ends = _ends(batch)
        good &= ends[0][sample, token] == ends[1][sample, other]
    if not released:
        good |= at_prompt
    return torch.where(found & good, sample * batch.teacher_ids.shape[1] + other, -1)


def sole_partners(batch: AlignedBatch) -> Tensor:
    """int64 [B, Ts]: the teacher position of each student token that has exactly one partner, -1 elsewhere."""
    if batch.pairs is None:
        groups = batch.groups[batch.groups[:, 4] - batch.groups[:, 3] == 1]
        length = groups[:, 2] - groups[:, 1]
        sample, other = (groups[:, k].repeat_interleave(length) for k in (0, 3))
        inside = torch.arange(len(sample), device=sample.device) - (length.cumsum(0) - length).repeat_interleave(length)
        own = groups[:, 1].repeat_interleave(length) + inside
    else:
        sample, own, other = batch.pairs.T
    width = batch.student_ids.shape[1]
    cell = sample * width + own
    count = torch.bincount(cell, minlength=batch.student_ids.numel())
    partner = torch.zeros_like(count).index_add_(0, cell, other)  # a sum of one where it counts
    return torch.where(count == 1, partner, -1).view(-1, width)


def lowest_of_each(ids: Tensor, n: int) -> Tensor:
    """ids int64 [Vt], the student id of each teacher id or -1, with -1 behind the n lowest teacher ids of each."""
    entries = (ids >= 0).nonzero().squeeze(1)
    place, order = ids[entries].sort(stable=True)
    index = torch.arange(len(place), device=ids.device)
    begins = torch.ones_like(place, dtype=torch.bool)
    begins[1:] = place[1:] != place[:-1]
    rank = index - torch.where(begins, index, 0).cummax(0).values
    kept = entries[order[rank < n]]
    return torch.full_like(ids, -1).index_copy_(0, kept, ids[kept])


def aligned_tokens(batch: AlignedBatch) -> tuple[Tensor, Tensor]:
    """bool [B, Ts], [B, Tt]: tokens of either side that are in a group or on the path."""
    inside = in_groups(batch)
    if batch.pairs is not None:
        for side, table in enumerate(inside):
            table[batch.pairs[:, 0], batch.pairs[:, 1 + side]] = True
    return inside


def prompt_ends(batch: AlignedBatch) -> Tensor:
    """int64 [N, 3], (sample, student position, teacher position): last tokens of prompts, which face each other.

    They stand before the first learnt tokens of both sides, or, in a conversation, before a group that begins an
    answer; they aren't aligned themselves. Where labels begin inside the aligned text there is no such token.
    """
    starts = first_learnt(batch.student_labels), first_learnt(batch.teacher_labels)
    begin = ((starts[0] >= 1) & (starts[1] >= 1)).nonzero().squeeze(1)
    first = torch.stack([begin, starts[0][begin] - 1, starts[1][begin] - 1], dim=1)
    later = batch.groups[(batch.groups[:, 1] >= 1) & (batch.groups[:, 3] >= 1)][:, [0, 1, 3]]
    later = later - torch.tensor([0, 1, 1], device=later.device)
    learnt = batch.student_labels != IGNORE, batch.teacher_labels != IGNORE
    later = later[~learnt[0][later[:, 0], later[:, 1]] & ~learnt[1][later[:, 0], later[:, 2]]]
    found = torch.cat([first, later]).unique(dim=0)
    aligned = aligned_tokens(batch)
    return found[~aligned[0][found[:, 0], found[:, 1]] & ~aligned[1][found[:, 0], found[:, 2]]]


def first_learnt(labels: Tensor) -> Tensor:
    """int64 [B]: position of the first label of each sample that isn't -100, -1 without one."""
    learnt = labels != IGNORE
    return torch.where(learnt.any(dim=1), learnt.int().argmax(dim=1), -1)


def _ends(batch: AlignedBatch) -> tuple[Tensor, Tensor]:
    """int64 [B, Ts], [B, Tt]: where each token ends, in bytes of aligned text from the beginning of the sample."""
    student, teacher = _tokenizers(batch)
    # A tokenizer that changes the text (WordPiece) has no bytes of its own: blanks are left out on both sides then.
    exact = all(t.kind in ("byte-level", "sentencepiece") for t in (student, teacher))
    out = []
    sides = ((student, batch.student_ids), (teacher, batch.teacher_ids))
    for (tokenizer, ids), inside in zip(sides, aligned_tokens(batch)):
        lengths = _looked_up(_lengths(tokenizer, exact), torch.where(inside, ids, 0), 0)
        out.append(torch.where(inside, lengths, 0).cumsum(dim=1))
    return out[0], out[1]


def _looked_up(table: NDArray[np.int64], ids: Tensor, missing: int) -> Tensor:
    """table[ids], `missing` for ids that the head alone has."""
    return torch.from_numpy(np.append(table, missing)).to(ids.device)[ids.clamp(max=len(table))]


def _tokenizers(batch: AlignedBatch) -> tuple[Tokenizer, Tokenizer]:
    if batch.student is None or batch.teacher is None:
        raise LossInputError(
            "loss 'mined' compares token strings and where they end: pass both tokenizers to collate(samples, student, "
            "teacher), or use accept='map' with byte_exact=False and a projection."
        )
    return batch.student, batch.teacher


@lru_cache(maxsize=8)
def string_codes(
    student: Tokenizer, teacher: Tokenizer, blanks: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """int64 [ids] of both: equal numbers for equal strings, blanks deleted unless `blanks`; specials equal nothing."""
    number: dict[bytes, int] = {}
    out = []
    for alone, tokenizer in ((-1, student), (-2, teacher)):
        special = tokenizer.special_ids
        table = [piece if blanks else piece.replace(b" ", b"") for piece in tokenizer.all_token_bytes()]
        codes = [alone if i in special else number.setdefault(text, len(number)) for i, text in enumerate(table)]
        out.append(np.array(codes, dtype=np.int64))
    return out[0], out[1]


@lru_cache(maxsize=8)
def _lengths(tokenizer: Tokenizer, exact: bool) -> NDArray[np.int64]:
    """int64 [ids]: bytes of each token, blanks left out unless `exact`; special tokens have none."""
    special = tokenizer.special_ids
    table = tokenizer.all_token_bytes()
    lengths = [len(piece) if exact else len(b"".join(piece.split())) for piece in table]
    return np.array([0 if i in special else n for i, n in enumerate(lengths)], dtype=np.int64)
