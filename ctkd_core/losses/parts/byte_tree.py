"""A vocabulary sorted by bytes: all tokens that begin with the same bytes are one stretch of it.

The end of an answer is one more symbol behind the 256 bytes. Tokens without text (other special tokens, and the one for
whatever a tokenizer can't spell) aren't in it.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

END = 256  # the symbol that ends an answer
SYMBOLS = 257
NO_SYMBOL = 257  # where a token without text begins
MOST_NODES = 50_000  # kept of one vocabulary, 2 kB each

Key = tuple[int, ...]


@dataclass(frozen=True)
class Node:
    """A place in the tree: some bytes are behind us.

    low     the first token of the sorted vocabulary that begins with them; those up to edges[0] end there
    edges   int64 [SYMBOLS + 1]: tokens edges[c]..edges[c + 1] go on with symbol c
    """

    low: int
    edges: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ByteTree:
    """One side's vocabulary, n tokens with text (and those that end an answer) of logits that are `width` wide.

    order   int64 [n]: their ids by bytes, ends last
    first   int16 [width]: the symbol that each id begins with, NO_SYMBOL for tokens without text
    ends    ids that end an answer
    lengths, starts  int64 [width]: how many symbols each id has, and where they begin in `spelling`, int16 [L]
    """

    width: int
    order: NDArray[np.int64]
    first: NDArray[np.int16]
    ends: frozenset[int]
    lengths: NDArray[np.int64]
    starts: NDArray[np.int64]
    spelling: NDArray[np.int16]
    _keys: list[Key] = field(repr=False)
    _spelt: dict[int, Key] = field(repr=False)
    _nodes: dict[Key, Node] = field(default_factory=dict, repr=False)
    _paths: dict[int, list[Node]] = field(default_factory=dict, repr=False)

    @property
    def root(self) -> Node:
        """Where nothing is behind us."""
        return self._node((), None)

    def symbols(self, token: int) -> Key:
        """The symbols of a token, () for one without text."""
        return self._spelt.get(token, ())

    def path(self, token: int) -> list[Node]:
        """The m + 1 nodes along a token of m symbols; kept."""
        known = self._paths.get(token)
        if known is not None:
            return known
        key = self._spelt[token]
        nodes = [self.root]
        for depth in range(1, len(key) + 1):
            nodes.append(self._node(key[:depth], nodes[-1]))
        self._paths[token] = nodes
        return nodes

    def _node(self, prefix: Key, before: Node | None) -> Node:
        found = self._nodes.get(prefix)
        if found is None:
            low, high = (0, len(self._keys)) if before is None else before.edges[prefix[-1] : prefix[-1] + 2].tolist()
            depth, inner = len(prefix), low
            while depth and inner < high and len(self._keys[inner]) == depth:
                inner += 1
            edges = np.full(SYMBOLS + 1, inner, dtype=np.int64)
            while inner < high:
                symbol = self._keys[inner][depth]
                inner = bisect_left(self._keys, (*prefix, symbol + 1), inner, high)
                edges[symbol + 1 :] = inner
            if len(self._nodes) >= MOST_NODES:
                self._nodes.clear()
                self._paths.clear()
            found = self._nodes[prefix] = Node(low, edges)
        return found


@lru_cache(maxsize=8)
def byte_tree(tokenizer: Tokenizer, width: int, ends: frozenset[int]) -> ByteTree:
    """The tree of a tokenizer's ids below `width`; `ends`: special tokens that end an answer, one symbol together."""
    # Not every tokenizer declares its unknown token special; the bytes of its name are no text of it.
    table, textless = tokenizer.all_token_bytes(), tokenizer.special_ids | {tokenizer.unk_id}
    spelt: dict[int, Key] = {}
    for index in range(min(width, tokenizer.n_ids)):
        if index in ends:
            spelt[index] = (END,)
        elif table[index] and index not in textless:
            spelt[index] = tuple(table[index])
    order = sorted(spelt, key=lambda index: (spelt[index], index))
    keys = [spelt[index] for index in order]
    first = np.full(width, NO_SYMBOL, dtype=np.int16)
    lengths = np.zeros(width, dtype=np.int64)
    for index, key in spelt.items():
        first[index], lengths[index] = key[0], len(key)
    spelling = np.array([symbol for index in sorted(spelt) for symbol in spelt[index]], dtype=np.int16)
    starts = np.cumsum(lengths) - lengths
    return ByteTree(width, np.array(order, dtype=np.int64), first, ends, lengths, starts, spelling, keys, spelt)
