"""How far a student says what its teacher says, behind the same text: first choices, and next bytes.

Where both models begin a token at the same byte of an answer, each model's probability that the next byte is c is the
sum over its tokens that begin with c: exact, given that a token of both has just ended. What spells no byte (the end of
the text, other special tokens, rows of the model without a token) is one further outcome.

- `top1`: of the stretches that are one token on either side, the share in which the student's most probable token
  spells the same bytes as the teacher's (tokens that spell nothing count as equal).
- `byte_kl`: KL(teacher || student) over the 257 outcomes, in bits, mean over the common boundaries.
- `byte_top1`: share of the boundaries at which both find the same outcome most probable.

At every byte of an answer, inside of tokens too, with the outcomes of the loss `bytes` (`next_bytes.compare`):

- `next_byte_kl`: KL(teacher || student) in bits, mean over the bytes.
- `next_byte_top1`: share of the bytes at which both find the same outcome most probable.

Nothing is said of the row behind an answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.distill.evaluate import Heartbeat, Scored, read_rows
from ctkd_core.distill.evaluation.next_bytes import NO_BYTE, OUTCOMES, compare, every_byte, first_bytes, tree_of

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from ctkd_core.losses.bytes import NextBytes
    from ctkd_core.tokenizers.tokenizer import Tokenizer

__all__ = [
    "NO_BYTE",
    "OUTCOMES",
    "AnswerPredictions",
    "agreement",
    "answer_predictions",
    "byte_kl",
    "common_boundaries",
    "regrets",
]

LEAST = 1e-12  # of a probability: a vocabulary may have no token at all that begins with a byte
Places = tuple["Tensor", "Tensor"]  # int64 [P] each: scored token, and bytes of it before the one that is asked for


@dataclass(frozen=True, eq=False)
class AnswerPredictions:
    """What one model says at each scored token of one answer.

    best   int64 [k]: its most probable token
    bytes  float64 [k, 257]: the probability of each next byte, and that none follows; rows sum to 1
    every  what it says of the next byte at each of the places that were asked for; None where none were
    """

    best: NDArray[np.int64]
    bytes: NDArray[np.float64]
    every: NextBytes | None = None


def answer_predictions(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    items: Sequence[Scored],
    batch_size: int,
    pad_id: int = 0,
    between: Heartbeat | None = None,
    places: Sequence[Places] | None = None,
) -> list[AnswerPredictions | None]:
    """What a model says of each item; None where nothing could be scored.

    places  of each item, where the next byte is asked for besides (`next_bytes.facing`)
    """
    found: list[AnswerPredictions | None] = [None] * len(items)

    def keep(number: int, rows: Any, _: Any) -> None:
        tree = tree_of(tokenizer, int(rows.shape[1]))
        inside = every_byte(rows, items[number], tree, *places[number]) if places is not None else None
        found[number] = AnswerPredictions(rows.argmax(-1).cpu().numpy(), first_bytes(rows, tree), inside)

    read_rows(model, items, keep, batch_size, pad_id, between)
    return found


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
    student: Sequence[AnswerPredictions | None],
    teacher: Sequence[AnswerPredictions | None],
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
    student: Iterable[AnswerPredictions | None],
    teacher: Iterable[AnswerPredictions | None],
    items: Iterable[tuple[Scored, Scored]],
    tokenizers: tuple[Tokenizer, Tokenizer],
) -> dict[str, float]:
    """The figures of the heading, with the `stretches`, `boundaries` and `bytes` that they are means over.

    items  each text as the student and as the teacher read it; NaN where there is nothing to compare. The three are
           gone through once, side by side. Those at every byte are there where both models were asked for it.
    """
    spellings = [_spellings(tokenizer) for tokenizer in tokenizers]
    equal = stretches = same = same_inside = 0
    at_boundaries, inside = [np.zeros(0)], [np.zeros(0)]
    asked = False
    for mine, theirs, (s, t) in zip(student, teacher, items, strict=True):
        if mine is None or theirs is None:
            continue
        at_s, at_t = common_boundaries(s, t)
        same += int((mine.bytes[at_s].argmax(1) == theirs.bytes[at_t].argmax(1)).sum())
        at_boundaries.append(byte_kl(theirs.bytes[at_t], mine.bytes[at_s]))
        alone = s.spans[at_s, 1] == t.spans[at_t, 1]  # they end together, too
        for i, j in zip(mine.best[at_s[alone]].tolist(), theirs.best[at_t[alone]].tolist()):
            equal += spellings[0](i) == spellings[1](j)
            stretches += 1
        if mine.every is not None and theirs.every is not None:
            asked = True
            bits, alike = compare(mine.every, theirs.every)
            inside.append(bits)
            same_inside += alike
    values, everywhere = np.concatenate(at_boundaries), np.concatenate(inside)
    found = {
        "top1": equal / stretches if stretches else math.nan,
        "byte_kl": _mean(values),
        "byte_top1": same / len(values) if len(values) else math.nan,
        "stretches": stretches,
        "boundaries": len(values),
    }
    if asked:
        found |= {
            "next_byte_kl": _mean(everywhere),
            "next_byte_top1": same_inside / len(everywhere) if len(everywhere) else math.nan,
            "bytes": len(everywhere),
        }
    return found


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else math.nan


def _spellings(tokenizer: Tokenizer) -> Any:
    """id -> what it spells; b"" for special and unknown tokens and for rows of the model without a token."""
    table, textless = tokenizer.all_token_bytes(), tokenizer.special_ids | {tokenizer.unk_id}
    return lambda index: b"" if index in textless or index >= len(table) else table[index]
