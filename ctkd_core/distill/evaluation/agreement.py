"""How far a student says what its teacher says, behind the same text: first choices, and next bytes.

Both are measured where both models begin a token at the same byte of an answer. There each model's probability that
the next byte is c is the sum over its tokens that begin with c: exact, given that a token of both has just ended. What
spells no byte (the end of the text, other special tokens, rows of the model without a token) is one further outcome.

- `top1`: of the stretches that are one token on either side, the share in which the student's most probable token
  spells the same bytes as the teacher's (tokens that spell nothing count as equal).
- `byte_kl`: KL(teacher || student) over the 257 outcomes, in bits, mean over the common boundaries.
- `byte_top1`: share of the boundaries at which both find the same outcome most probable.

Nothing is said of what may follow inside of a token, nor of the row behind an answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.distill.evaluate import Heartbeat, Scored, read_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ctkd_core.tokenizers.tokenizer import Tokenizer

OUTCOMES = 257  # the bytes, and that no byte follows
NO_BYTE = 256
LEAST = 1e-12  # of a probability: a vocabulary may have no token at all that begins with a byte


@dataclass(frozen=True, eq=False)
class Said:
    """What one model says at each scored token of one answer.

    best   int64 [k]: its most probable token
    bytes  float64 [k, 257]: the probability of each next byte, and that none follows; rows sum to 1
    """

    best: NDArray[np.int64]
    bytes: NDArray[np.float64]


def first_bytes(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """int64 [n_ids]: the first byte of each token, NO_BYTE for those that spell none."""
    firsts = np.array([data[0] if data else NO_BYTE for data in tokenizer.all_token_bytes()], dtype=np.int64)
    firsts[list(tokenizer.special_ids)] = NO_BYTE
    return firsts


def said(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    items: Sequence[Scored],
    batch_size: int,
    pad_id: int = 0,
    between: Heartbeat | None = None,
) -> list[Said | None]:
    """What a model says of each item; None where nothing could be scored."""
    found: list[Said | None] = [None] * len(items)
    firsts = first_bytes(tokenizer)
    sorted_by_width: dict[int, tuple[Any, list[int]]] = {}

    def keep(number: int, rows: Any, _: Any) -> None:
        width = int(rows.shape[1])
        if width not in sorted_by_width:
            sorted_by_width[width] = _order(firsts, width, rows.device)
        order, sizes = sorted_by_width[width]
        found[number] = Said(rows.argmax(-1).cpu().numpy(), _byte_sums(rows.softmax(-1), order, sizes))

    read_rows(model, items, keep, batch_size, pad_id, between)
    return found


def _order(firsts: NDArray[np.int64], width: int, device: Any) -> tuple[Any, list[int]]:
    """The columns of a model's rows [k, width] in the order of their first bytes, and how many begin with each."""
    import torch

    known = np.full(width, NO_BYTE, dtype=np.int64)
    known[: min(width, len(firsts))] = firsts[:width]
    order = torch.from_numpy(np.argsort(known, kind="stable")).to(device)
    return order, np.bincount(known, minlength=OUTCOMES).tolist()


def _byte_sums(probabilities: Any, order: Any, sizes: list[int]) -> NDArray[np.float64]:
    """Sums of the columns by first byte, float64 [k, 257]; probabilities float32 [k, V]."""
    import torch

    sums = torch.stack([part.sum(1) for part in probabilities[:, order].split(sizes, dim=1)], dim=1)
    result: NDArray[np.float64] = sums.cpu().double().numpy()
    return result / result.sum(1, keepdims=True)


def byte_kl(teacher: NDArray[np.float64], student: NDArray[np.float64]) -> NDArray[np.float64]:
    """KL(teacher || student) in bits of each row, [n, 257] -> [n]."""
    safe = np.maximum(teacher, LEAST)
    return np.asarray((teacher * np.log2(safe / np.maximum(student, LEAST))).sum(1).clip(min=0.0))


def common_boundaries(student: Scored, teacher: Scored) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The scored tokens of both sides, int64 [n] each, that begin at the same byte and are all of what they stand for.

    A blank before an answer that belongs to the prompt, or a text that a tokenizer rewrote, is left out.
    """
    s, t = (np.flatnonzero(x.exact & (x.spans[:, 1] > x.spans[:, 0])) for x in (student, teacher))
    _, at_s, at_t = np.intersect1d(student.spans[s, 0], teacher.spans[t, 0], return_indices=True)
    return s[at_s], t[at_t]


def regrets(
    student: Sequence[Said | None],
    teacher: Sequence[Said | None],
    items: Sequence[tuple[Scored, Scored]],
) -> list[NDArray[np.float64]]:
    """KL on next bytes in bits at the common boundaries of each text, in their order; empty where there are none."""
    found = []
    for mine, theirs, pair in zip(student, teacher, items, strict=True):
        if mine is None or theirs is None:
            found.append(np.zeros(0))
            continue
        at_s, at_t = common_boundaries(*pair)
        found.append(byte_kl(theirs.bytes[at_t], mine.bytes[at_s]))
    return found


def agreement(
    student: Sequence[Said | None],
    teacher: Sequence[Said | None],
    items: Sequence[tuple[Scored, Scored]],
    tokenizers: tuple[Tokenizer, Tokenizer],
) -> dict[str, float]:
    """The three figures of the heading, with the `stretches` and `boundaries` that they are means over.

    items  each text as the student and as the teacher read it; NaN where there is nothing to compare
    """
    spellings = [_spellings(tokenizer) for tokenizer in tokenizers]
    equal = stretches = same = boundaries = 0
    for mine, theirs, (s, t) in zip(student, teacher, items, strict=True):
        if mine is None or theirs is None:
            continue
        at_s, at_t = common_boundaries(s, t)
        boundaries += len(at_s)
        same += int((mine.bytes[at_s].argmax(1) == theirs.bytes[at_t].argmax(1)).sum())
        alone = s.spans[at_s, 1] == t.spans[at_t, 1]  # they end together, too
        for i, j in zip(mine.best[at_s[alone]].tolist(), theirs.best[at_t[alone]].tolist()):
            equal += spellings[0](i) == spellings[1](j)
            stretches += 1
    values = np.concatenate([np.zeros(0), *regrets(student, teacher, items)])
    return {
        "top1": equal / stretches if stretches else math.nan,
        "byte_kl": float(values.mean()) if len(values) else math.nan,
        "byte_top1": same / boundaries if boundaries else math.nan,
        "stretches": stretches,
        "boundaries": boundaries,
    }


def _spellings(tokenizer: Tokenizer) -> Any:
    """id -> what it spells; b"" for special tokens and for rows of the model without a token."""
    table, special = tokenizer.all_token_bytes(), tokenizer.special_ids
    return lambda index: b"" if index in special or index >= len(table) else table[index]
