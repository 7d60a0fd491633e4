"""Probability of all tokens that begin alike, at each node that a text passes, and the way back to the logits.

A row's masses are sums of its probabilities over stretches of the sorted vocabulary. On a CPU they are added up in one
pass over the row (`kernels/byte_sums.py`); elsewhere they are differences of running sums in float64, since those of
float32 would lose the small ones.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ctkd_core.losses.parts.byte_tree import SYMBOLS, ByteTree

NOISE = 1e-13  # of a difference of running sums
SMALL = 400_000  # below this many entries of a vocabulary a second thread costs more than it saves


@dataclass(frozen=True)
class Nodes:
    """N nodes of one side, those of a row one after another, its root first.

    row         int64 [N]: the row that reads them
    root        bool [N]: nothing of the row's token is behind
    low, edges  int64 [N], [N, SYMBOLS + 1]: as `byte_tree.Node` has them
    """

    row: Tensor
    root: Tensor
    low: Tensor
    edges: Tensor

    def __len__(self) -> int:
        return len(self.row)

    @property
    def goes_on(self) -> Tensor:
        """bool [N, SYMBOLS]: symbols with which some token goes on."""
        return self.edges[:, 1:] > self.edges[:, :-1]

    def cut(self, start: int, stop: int, first_row: int = 0) -> Nodes:
        """Nodes start..stop, rows counted from `first_row`."""
        part = slice(start, stop)
        return Nodes(self.row[part] - first_row, self.root[part], self.low[part], self.edges[part])


@dataclass(frozen=True)
class Masses:
    """Of N nodes, float64: `goes_on` [N, SYMBOLS] by the next symbol, `equal` [N] of the tokens that end there."""

    goes_on: Tensor
    equal: Tensor

    @property
    def total(self) -> Tensor:
        """[N]: all tokens that begin so."""
        return self.goes_on.sum(dim=1) + self.equal

    @staticmethod
    def zeros(n: int, device: Any) -> Masses:
        """N times nothing."""
        return Masses(
            torch.zeros(n, SYMBOLS, dtype=torch.float64, device=device),
            torch.zeros(n, dtype=torch.float64, device=device),
        )

    def cut(self, start: int, stop: int) -> Masses:
        """Those of nodes start..stop."""
        return Masses(self.goes_on[start:stop], self.equal[start:stop])


def add_masses(p: Tensor, nodes: Nodes, tree: ByteTree, into: Masses) -> None:
    """Fill `into` with the masses at `nodes` of probabilities p [r, V]; a node's row is a row of p."""
    if not len(nodes):
        return
    if _on_cpu(p):
        from ctkd_core.losses.kernels.byte_sums import node_sums

        _by_rows(node_sums, p, nodes, tree, (into.goes_on.numpy(), into.equal.numpy()))
        return
    order = torch.from_numpy(tree.order).to(p.device)
    running = torch.nn.functional.pad(p.index_select(1, order).double().cumsum(dim=1), (1, 0))
    found = running[nodes.row[:, None], nodes.edges]
    into.goes_on.copy_(found[:, 1:] - found[:, :-1])
    into.equal.copy_(found[:, 0] - running[nodes.row, nodes.low])
    for mass in (into.goes_on, into.equal):  # a difference of sums near 1 can't tell less from nothing
        mass.masked_fill_(mass < NOISE, 0.0)


def add_gradient(p: Tensor, nodes: Nodes, tree: ByteTree, slope: Masses, out: Tensor) -> None:
    """out [r, V] += p * (the slopes of all masses that a token is in), p [r, V].

    That is the gradient of the logits wherever the slopes come from shares of masses: such a function doesn't change
    when all of a row's masses grow alike, so the soft-max takes nothing back.
    """
    if not len(nodes):
        return
    if _on_cpu(p):
        from ctkd_core.losses.kernels.byte_sums import add_slopes

        _by_rows(add_slopes, p, nodes, tree, (slope.goes_on.numpy(), slope.equal.numpy(), out.numpy()))
        return
    order = torch.from_numpy(tree.order).to(p.device)
    step = torch.zeros(len(p), len(order) + 1, dtype=torch.float64, device=p.device)
    rows = nodes.row[:, None].expand(-1, SYMBOLS)
    for place, row, change in (
        (nodes.edges[:, :-1], rows, slope.goes_on),
        (nodes.edges[:, 1:], rows, -slope.goes_on),
        (nodes.low, nodes.row, slope.equal),
        (nodes.edges[:, 0], nodes.row, -slope.equal),
    ):
        step.index_put_((row, place), change, accumulate=True)
    each = step.cumsum(dim=1)[:, :-1] * p.index_select(1, order)
    out.index_add_(1, order, each.to(out.dtype))


def _on_cpu(p: Tensor) -> bool:
    return p.device.type == "cpu"


def _by_rows(loop: Callable[..., None], p: Tensor, nodes: Nodes, tree: ByteTree, arrays: tuple[Any, ...]) -> None:
    """Run a loop over the nodes; where there is much to do, in threads of which each has rows of its own."""
    given = (p.numpy(), tree.first, tree.order, *(t.numpy() for t in (nodes.row, nodes.root, nodes.low, nodes.edges)))
    threads = max(1, min(torch.get_num_threads(), len(p), len(p) * p.shape[1] // SMALL))
    if threads == 1:
        loop(*given, *arrays, 0, len(nodes))
        return
    wanted = np.linspace(0, len(p), threads + 1).astype(int)
    bounds = [0, *np.searchsorted(nodes.row.numpy(), wanted[1:-1]).tolist(), len(nodes)]
    # Threads of our own rather than numba's: its pools clash with forks and with calls from several threads.
    spans = list(itertools.pairwise(bounds))
    jobs = [_threads(os.getpid()).submit(loop, *given, *arrays, a, b) for a, b in spans[1:]]
    try:
        loop(*given, *arrays, *spans[0])
    finally:
        for job in jobs:
            job.result()


@lru_cache(maxsize=1)
def _threads(process: int) -> ThreadPoolExecutor:  # noqa: ARG001
    """Threads kept from call to call; a process that was forked off has none of its parent's, so it gets its own."""
    return ThreadPoolExecutor(max(1, (os.cpu_count() or 1) - 1), thread_name_prefix="byte-sums")
