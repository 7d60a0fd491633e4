"""The bytes of a text at which both sides have a learnt token, and the places of the trees that they read there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctkd_core.losses.base import Rows
from ctkd_core.losses.batch import AlignedBatch
from ctkd_core.losses.parts.byte_masses import Nodes
from ctkd_core.losses.parts.byte_tree import SYMBOLS, ByteTree

_LONGEST = 1 << 24  # more symbols than a token has: a row and a place in its token as one number


@dataclass(frozen=True)
class FacingBytes:
    """P bytes of the text at which both sides have a token that is learnt, by student row.

    row, offset     int64 [P, 2]: number among the learnt rows of student and teacher, bytes of that token before this
    unequal_groups  how many groups were passed over, since their sides spell different bytes
    """

    row: Tensor
    offset: Tensor
    unequal_groups: int

    def __len__(self) -> int:
        return len(self.row)

    def chosen(self, which: Tensor) -> FacingBytes:
        """Those of bool [P]."""
        return FacingBytes(self.row[which], self.offset[which], self.unequal_groups)


@dataclass(frozen=True)
class _Spelt:
    """One side of all groups, byte by byte: int64 each, by group and place.

    group, row, offset, symbol  of each byte: its group, learnt row (-1: none), bytes of its token before it, what it is
    """

    group: NDArray[np.int64]
    row: NDArray[np.int64]
    offset: NDArray[np.int64]
    symbol: NDArray[np.int64]

    def chosen(self, groups: NDArray[np.bool_]) -> _Spelt:
        """The bytes of those groups."""
        which = groups[self.group]
        return _Spelt(self.group[which], self.row[which], self.offset[which], self.symbol[which])


def facing_bytes(batch: AlignedBatch, rows: tuple[Rows, Rows], trees: tuple[ByteTree, ByteTree]) -> FacingBytes:
    """The bytes of the batch's groups, where the two sides of a group spell the same."""
    groups = batch.groups.cpu().numpy().astype(np.int64).reshape(-1, 5)
    own = _spelt(batch.student_ids, groups[:, [0, 1, 2]], rows[0], trees[0])
    other = _spelt(batch.teacher_ids, groups[:, [0, 3, 4]], rows[1], trees[1])
    lengths = [np.bincount(side.group, minlength=len(groups)) for side in (own, other)]
    equal = lengths[0] == lengths[1]
    own, other = own.chosen(equal), other.chosen(equal)
    equal[own.group[own.symbol != other.symbol]] = False
    own, other = own.chosen(equal), other.chosen(equal)
    learnt = (own.row >= 0) & (other.row >= 0)
    table = np.stack([own.row, other.row, own.offset, other.offset], axis=1)[learnt]
    table = table[np.lexsort((table[:, 2], table[:, 0]))]
    found = torch.from_numpy(table).to(batch.student_ids.device)
    return FacingBytes(found[:, :2], found[:, 2:], int((~equal).sum()))


def _spelt(ids: Tensor, spans: NDArray[np.int64], rows: Rows, tree: ByteTree) -> _Spelt:
    """The bytes of spans int64 [G, 3] (sample, first token, the one behind the last) of ids [B, T]."""
    sample, first, behind = spans.T
    sizes = behind - first
    group = np.repeat(np.arange(len(spans)), sizes)
    position = _within(sizes) + np.repeat(first, sizes)
    place = np.repeat(sample, sizes), position
    tokens = ids.cpu().numpy().astype(np.int64)[place]
    number = rows.number.cpu().numpy()[place]
    known = np.minimum(tokens, tree.width - 1)
    lengths = np.where(tokens < tree.width, tree.lengths[known], 0)  # a tokenizer may have ids without logits
    offset = _within(lengths)
    symbol = tree.spelling[np.repeat(tree.starts[known], lengths) + offset].astype(np.int64)
    return _Spelt(np.repeat(group, lengths), np.repeat(number, lengths).astype(np.int64), offset, symbol)


def _within(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, ... size - 1 for each size, one after another."""
    ends = np.cumsum(sizes)
    return np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - sizes, sizes)


@dataclass(frozen=True)
class Readings:
    """Where one side's masses are read, for P bytes of the text.

    nodes  of all rows that have a byte or stand before one, by row
    row    int64 [P]: the row whose token holds the byte; its node is nodes[node], int64 [P]
    before int64 [P]: the node behind the token before, where the byte begins a token and its row is mixed with that
           token's; -1 elsewhere
    """

    nodes: Nodes
    row: Tensor
    node: Tensor
    before: Tensor


def readings(rows: Rows, tree: ByteTree, row: Tensor, offset: Tensor, mixed: bool) -> Readings:
    """The nodes that P bytes read, at row int64 [P] and offset int64 [P] in its token.

    mixed: a byte that begins a token reads the node behind the token before, too, where that is learnt.
    """
    device = row.device
    at, depth = row.cpu().numpy().astype(np.int64), offset.cpu().numpy().astype(np.int64)
    target = rows.target.cpu().numpy().astype(np.int64)
    read = at * _LONGEST + depth
    last = np.full(len(at), -1, dtype=np.int64)
    if mixed and len(at):
        sample, position = rows.sample.cpu().numpy(), rows.position.cpu().numpy()
        number = rows.number.cpu().numpy()
        previous = np.where(position > 0, number[sample, np.maximum(position - 1, 0)], -1)
        last = np.where(depth == 0, previous[at], -1)
        before = target[np.maximum(last, 0)]
        last = np.where((tree.lengths[before] > 0) & ~np.isin(before, list(tree.ends)), last, -1)
    behind = last >= 0
    ended = last[behind] * _LONGEST + tree.lengths[target[last[behind]]]
    wanted, place = np.unique(np.concatenate([read, ended]), return_inverse=True)
    own_row, own_depth = wanted // _LONGEST, wanted % _LONGEST
    chosen = [tree.path(token)[k] for token, k in zip(target[own_row].tolist(), own_depth.tolist())]
    edges = np.stack([node.edges for node in chosen]) if chosen else np.zeros((0, SYMBOLS + 1), dtype=np.int64)
    nodes = Nodes(
        torch.from_numpy(own_row).to(device),
        torch.from_numpy(own_depth == 0).to(device),
        torch.tensor([node.low for node in chosen], dtype=torch.int64, device=device),
        torch.from_numpy(edges).to(device),
    )
    found = np.full(len(at), -1, dtype=np.int64)
    found[behind] = place[len(read) :]
    return Readings(
        nodes, row, torch.from_numpy(place[: len(read)].copy()).to(device), torch.from_numpy(found).to(device)
    )
