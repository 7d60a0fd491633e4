"""Which teacher row a student row may copy (MinED), from the pairs of a batch.

Row i of a model stands at token i and predicts token i + 1. A student row may copy a teacher row when its token has
exactly one partner on the path and that partner is accepted: equal strings, or the vocabulary map says so. The row at
the last token of the prompt has read the prompt and no more, on both sides, and needs no partner.
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
    starts = first_learnt(batch.student_labels), first_learnt(batch.teacher_labels)
    begin = (starts[0] >= 1) & (starts[1] >= 1)
    sample, token = rows.sample, rows.position - 1
    at_prompt = begin[sample] & (token == starts[0][sample] - 1)
    other = torch.where(at_prompt, starts[1][sample] - 1, partner[sample, token])
    found = other >= 0
    other = other.clamp(min=0)
    mine, theirs = batch.student_ids[sample, token], batch.teacher_ids[sample, other]
    good = torch.zeros_like(found)
    if accept != "map":
        codes = [torch.from_numpy(c).to(mine.device) for c in string_codes(*_tokenizers(batch), blanks=released)]
        good |= codes[0][mine] == codes[1][theirs]
    if accept != "hard":
        good |= teacher_to_student[theirs] == mine
    if byte_exact:
        ends = _ends(batch, starts)
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


def first_learnt(labels: Tensor) -> Tensor:
    """int64 [B]: position of the first label of each sample that isn't -100, -1 without one."""
    learnt = labels != IGNORE
    return torch.where(learnt.any(dim=1), learnt.int().argmax(dim=1), -1)


def _ends(batch: AlignedBatch, starts: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """int64 [B, Ts], [B, Tt]: where each token ends, in bytes from the beginning of the response."""
    student, teacher = _tokenizers(batch)
    # A tokenizer that changes the text (WordPiece) has no bytes of its own: blanks are left out on both sides then.
    exact = all(t.kind in ("byte-level", "sentencepiece") for t in (student, teacher))
    out = []
    sides = (
        (student, batch.student_ids, batch.student_attention, starts[0]),
        (teacher, batch.teacher_ids, batch.teacher_attention, starts[1]),
    )
    for tokenizer, ids, attention, start in sides:
        lengths = torch.from_numpy(_lengths(tokenizer, exact)).to(ids.device)
        position = torch.arange(ids.shape[1], device=ids.device)
        inside = (attention != 0) & (start[:, None] >= 0) & (position >= start[:, None])
        out.append(torch.where(inside, lengths[torch.where(inside, ids, 0)], 0).cumsum(dim=1))
    return out[0], out[1]


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
