"""A teacher's row in short: its k most probable tokens, three figures that stay exact, and the mass of all the rest.

Of a row of logits [V] this is kept, besides the ids and log-probabilities of the top k:

    normaliser  logsumexp of the logits: logits = log-probability + normaliser (0 where only probabilities are known)
    next, end   log-probability of the token that follows in the text, and of the tokenizer's end of text; NaN: unknown
    tail        log of the mass of all other tokens, those that begin a word and those that don't

`dense` makes a row of logits of it again: the tail's mass is spread evenly over the tokens that have no figure of their
own, in each of both classes by itself. So the probability of the text, of its end and of a new word are exact at any k,
and with k = V everything is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctkd_core.losses.parts.boundary import boundary_mask
from ctkd_core.tokenizers.tokenizer import Tokenizer

DTYPES = ("float16", "float32")
NO_CHANCE = -1e4  # log-probability or logit of a token that has none: finite in float16, and 0 times it is 0
Records = NDArray[np.void]  # [n] of `RowLayout.dtype`


@dataclass(frozen=True)
class RowLayout:
    """How a row lies in a file: `k` entries of a vocabulary of `width`, log-probabilities as `dtype`.

    merged: the row is that of a group, and the log of the group's factor stands beside it.

    As float16 a log-probability is off by at most 1/2048 of itself (0.0005 at -1, 0.005 at -10 nats).
    """

    k: int
    width: int
    dtype: str = "float16"
    merged: bool = False

    @property
    def record(self) -> np.dtype[np.void]:
        """One row."""
        ids = "<u2" if self.width <= 65_536 else "<i4"
        names = ("normaliser", "next", "end", *(("factor",) if self.merged else ()))
        figures = [(name, "<f4") for name in names]
        kept = [("ids", ids, (self.k,)), ("log_probs", "<f2" if self.dtype == "float16" else "<f4", (self.k,))]
        return np.dtype([*kept, *figures, ("tail", "<f4", (2,))])


@dataclass(frozen=True, eq=False)
class TeacherVocabulary:
    """What shortening and rebuilding need of the teacher's vocabulary: its width, its end of text, its word starts.

    begins  float32 [V], 1 for tokens that begin a word
    tokens  ids that the tokenizer has; columns behind them are the head's alone
    """

    width: int
    end: int | None
    begins: Tensor
    tokens: int

    @classmethod
    def of(cls, tokenizer: Tokenizer, width: int, device: torch.device | None = None) -> TeacherVocabulary:
        """Of a tokenizer and its model's logits, `width` wide."""
        end = tokenizer.eos_id if tokenizer.eos_id is not None and tokenizer.eos_id < width else None
        begins = boundary_mask(tokenizer, width, device or torch.device("cpu"), torch.float32)
        return cls(width, end, begins, min(width, tokenizer.n_ids))


def shorten(logits: Tensor, following: Tensor, layout: RowLayout, vocabulary: TeacherVocabulary) -> Records:
    """Rows of logits [n, V] in short; `following` int64 [n], the next token of each row, -1 where the text ends."""
    z = logits.detach().float()
    normaliser = z.logsumexp(dim=1)
    log_p = (z - normaliser[:, None]).clamp_(min=NO_CHANCE)
    top, ids = log_p.topk(layout.k, dim=1)
    found = np.zeros(len(z), dtype=layout.record)
    found["ids"], found["log_probs"] = ids.cpu().numpy(), top.cpu().numpy()
    found["normaliser"] = normaliser.cpu().numpy()
    follows = log_p.gather(1, following.clamp(min=0)[:, None]).squeeze(1)
    found["next"] = torch.where(following >= 0, follows, torch.nan).cpu().numpy()
    end = torch.full_like(normaliser, torch.nan) if vocabulary.end is None else log_p[:, vocabulary.end]
    found["end"] = end.cpu().numpy()
    rest = log_p.scatter_(1, _known(ids, following, vocabulary.end), -torch.inf)
    begins = vocabulary.begins.to(rest.device) > 0
    for column, outside in enumerate((~begins, begins)):
        found["tail"][:, column] = rest.masked_fill(outside, -torch.inf).logsumexp(dim=1).cpu().numpy()
    return found


def dense(records: Records, following: Tensor, vocabulary: TeacherVocabulary) -> Tensor:
    """Logits float32 [n, V] on the device of `following` (int64 [n], as `shorten` takes it)."""
    device = following.device

    def tensor(name: str, dtype: torch.dtype) -> Tensor:
        plain = records[name].astype(np.int64 if dtype == torch.int64 else np.float32)
        return torch.from_numpy(plain).to(device=device)

    ids, top, tail = tensor("ids", torch.int64), tensor("log_probs", torch.float32), tensor("tail", torch.float32)
    begins = vocabulary.begins.to(device)
    exact = [
        (following, tensor("next", torch.float32)),
        (torch.full_like(following, -1 if vocabulary.end is None else vocabulary.end), tensor("end", torch.float32)),
    ]
    each = _each(ids, exact, tail, begins)
    rows = torch.where(begins[None] > 0, each[:, :1], each[:, 1:])
    rows.scatter_(1, ids, top)
    for token, value in exact:
        known = ((token >= 0) & ~value.isnan()).nonzero().squeeze(1)
        rows[known, token[known]] = value[known]
    return rows.add_(tensor("normaliser", torch.float32)[:, None])


def _known(ids: Tensor, following: Tensor, end: int | None) -> Tensor:
    """int64 [n, k + 2]: the tokens that have a figure of their own; some stand twice."""
    first = ids[:, :1]
    follows = torch.where(following >= 0, following, first.squeeze(1))[:, None]
    return torch.cat([ids, follows, first if end is None else torch.full_like(first, end)], dim=1)


def _each(ids: Tensor, exact: list[tuple[Tensor, Tensor]], tail: Tensor, begins: Tensor) -> Tensor:
    """[n, 2]: what every token of the tail gets, of those that begin a word and of the others."""
    inside = begins[ids]
    count = torch.stack([inside.sum(dim=1), (1 - inside).sum(dim=1)], dim=1)
    told: list[Tensor] = []  # tokens beyond the top k, each counted once
    for token, value in exact:
        new = (token >= 0) & ~value.isnan() & ~(ids == token[:, None]).any(dim=1)
        for other in told:
            new &= token != other
        told.append(torch.where(new, token, -1))
        starts = begins[token.clamp(min=0)]
        count += torch.stack([starts, 1 - starts], dim=1) * new[:, None]
    whole = torch.stack([begins.sum(), len(begins) - begins.sum()])
    left = (whole - count).clamp(min=1)
    return (tail - left.log()).clamp(min=NO_CHANCE)
