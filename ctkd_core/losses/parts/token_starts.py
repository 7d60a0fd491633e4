"""Where both sides begin a token, more than the next byte can be compared: classes of whole tokens.

Both vocabularies are cut into classes by the bytes that tokens begin with, or by whole tokens that both sides have. The
tokens of a class that only one side has are one class more, everything else. A side's say is the probability of each
class by the row at hand, over the tokens that have text. This sees off the text's own path, and asks for more than both
sides can say: a token that has ended is another class than one that goes on, although the text may be the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ctkd_core.losses.parts.byte_tree import ByteTree, Key

TokenClass = tuple[Key, bool]  # symbols that tokens begin with; whether they end there

DEPTHS = {"two_bytes": 2, "three_bytes": 3}


@dataclass(frozen=True)
class TokenClasses:
    """C classes that both vocabularies have.

    student, teacher  int64 [Vs], [Vt]: the class of each id; C: everything else, C + 1: no text
    count             C
    else_in_student   whether some token of the student is in no class of both
    """

    student: Tensor
    teacher: Tensor
    count: int
    else_in_student: bool


@lru_cache(maxsize=8)
def token_classes(student: ByteTree, teacher: ByteTree, how: str) -> TokenClasses:
    """Classes for `how`, an option `starts` of the loss other than "byte"."""
    trees = student, teacher
    tables = [{int(i): tree.symbols(int(i)) for i in tree.order} for tree in trees]
    rule = _rule(how, set(tables[0].values()) & set(tables[1].values()))
    names = [{rule(key) for key in table.values()} for table in tables]
    numbers = {name: n for n, name in enumerate(sorted(names[0] & names[1]))}
    found = []
    for tree, table in zip(trees, tables):
        of = torch.full((tree.width,), len(numbers) + 1, dtype=torch.int64)
        for index, key in table.items():
            of[index] = numbers.get(rule(key), len(numbers))
        found.append(of)
    return TokenClasses(found[0], found[1], len(numbers), bool((found[0] == len(numbers)).any()))


def _rule(how: str, common: set[Key]) -> Callable[[Key], TokenClass]:
    """What a token of these symbols belongs to."""
    depth = DEPTHS.get(how)
    if depth is None:
        return lambda key: (key, True) if key in common else (key[:1], False)
    return lambda key: (key[:depth], len(key) < depth)


def class_shares(p: Tensor, of: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Shares [r, count] of the classes, [r] of everything else, and [r] the probability of all tokens with text.

    p [r, V] probabilities, of [V] classes as `TokenClasses` has them. float64; a row without text has shares of 0.
    """
    sums = torch.zeros(len(p), count + 2, dtype=torch.float64, device=p.device)
    sums.scatter_add_(1, of.to(p.device).expand(len(p), -1), p.double())
    total = sums[:, : count + 1].sum(dim=1)
    shares = sums[:, : count + 1] / total.clamp(min=torch.finfo(torch.float64).tiny)[:, None]
    return shares[:, :count], shares[:, count], total


def class_gradient(p: Tensor, of: Tensor, d_share: Tensor, share: Tensor, total: Tensor) -> Tensor:
    """d loss / d logits [r, V] in p's dtype, from d loss / d share [r, C] with everything else as what is left of 1.

    The shares don't change when all tokens with text grow alike, so the soft-max takes nothing back.
    """
    level = (d_share * share).sum(dim=1, keepdim=True)
    scale = total.clamp(min=torch.finfo(torch.float64).tiny)[:, None]
    slope = torch.cat([d_share - level, -level, torch.zeros_like(level)], dim=1) / scale
    return slope.to(p.dtype).index_select(1, of.to(p.device)).mul_(p)
