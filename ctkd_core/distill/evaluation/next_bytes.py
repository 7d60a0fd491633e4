"""What a model says of the next byte: behind a whole token, and at every byte of an answer, as the loss `bytes` has it.

All is read off the rows of the tokens' logits, with the sums that the loss takes (`losses/parts/byte_masses.py`).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctkd_core.distill.evaluation.text_bits import common_cuts, stretch_of
from ctkd_core.losses.base import response_rows
from ctkd_core.losses.batch import IGNORE, AlignedBatch
from ctkd_core.losses.bytes import ByteComparison, NextBytes, answer_ends, next_bytes_at
from ctkd_core.losses.engine.engine import Buffers, rows_per_chunk, softmax
from ctkd_core.losses.parts.byte_masses import Masses, Nodes, add_masses
from ctkd_core.losses.parts.byte_tree import END, NO_SYMBOL, ByteTree, byte_tree
from ctkd_core.losses.parts.divergences import divergence_rule
from ctkd_core.losses.parts.facing_bytes import FacingBytes, facing_bytes, readings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ctkd_core.distill.evaluate import Scored
    from ctkd_core.tokenizers.tokenizer import Tokenizer

OUTCOMES = 257  # the bytes, and that no byte follows
NO_BYTE = 256


def tree_of(tokenizer: Tokenizer, width: int) -> ByteTree:
    """A vocabulary by bytes, for rows of `width` logits."""
    return byte_tree(tokenizer, width, answer_ends(tokenizer))


def head_width(model: PreTrainedModel) -> int:
    """How many logits a row of this model has."""
    head: Any = model.get_output_embeddings()
    return int(head.weight.shape[0]) if head is not None else int(model.config.vocab_size)


def first_bytes(rows: Tensor, tree: ByteTree) -> NDArray[np.float64]:
    """The probability of each first byte and of none, [k, 257] whose rows sum to 1, from logits rows float32 [k, V].

    No byte: the end of an answer, other special tokens, ids without a token.
    """
    edges = torch.from_numpy(tree.root.edges).to(rows.device)
    textless = torch.from_numpy(tree.first == NO_SYMBOL).to(rows.device)
    buffers, found = Buffers(rows.device, rows.dtype), []
    for part in rows.split(rows_per_chunk(rows.shape[1], rows.device)):
        p, _ = softmax(part, 1.0, buffers, "softmax")
        number = torch.arange(len(p), device=p.device)
        nodes = Nodes(number, torch.ones_like(number, dtype=torch.bool), 0 * number, edges.expand(len(p), -1))
        masses = Masses.zeros(len(p), p.device)
        add_masses(p, nodes, tree, masses)
        masses.goes_on[:, END] += p[:, textless].sum(dim=1, dtype=torch.float64)
        found.append(masses.goes_on)
    sums: NDArray[np.float64] = torch.cat(found).cpu().numpy()
    return sums / sums.sum(1, keepdims=True)


def facing(student: Scored, teacher: Scored, trees: tuple[ByteTree, ByteTree]) -> FacingBytes:
    """The bytes of one answer at which both sides can be asked, of stretches in which both spell the same.

    Rows count the scored tokens of either side.
    """
    sides = student, teacher
    cuts = common_cuts([side.spans for side in sides])
    marks = np.arange(max(0, len(cuts) - 1))
    edges = [
        side.start + np.searchsorted(stretch_of(side.spans, cuts), marks, where)
        for side in sides
        for where in ("left", "right")
    ]
    groups = np.stack([np.zeros_like(marks), *edges], axis=1) if len(marks) else np.zeros((0, 5), dtype=np.int64)
    groups = groups[(groups[:, 1] < groups[:, 2]) & (groups[:, 3] < groups[:, 4])]
    (s_ids, s_labels), (t_ids, t_labels) = (_labelled(side) for side in sides)
    some = torch.ones_like(s_ids), torch.ones_like(t_ids)
    batch = AlignedBatch(s_ids, t_ids, s_labels, t_labels, *some, torch.from_numpy(groups.astype(np.int64)))
    return facing_bytes(batch, (response_rows(s_labels), response_rows(t_labels)), trees)


def every_byte(rows: Tensor, item: Scored, tree: ByteTree, row: Tensor, offset: Tensor) -> NextBytes:
    """What a model says at P bytes of one answer, on the CPU, shares in float32.

    rows float32 [k, V] predict the item's scored tokens; row, offset int64 [P] as `facing` gives them for this side.
    """
    learnt = response_rows(_labelled(item)[1])
    reads = readings(learnt, tree, row, offset, mixed=True)
    nodes = reads.nodes
    moved = Nodes(*(x.to(rows.device) for x in (nodes.row, nodes.root, nodes.low, nodes.edges)))
    reads = replace(reads, nodes=moved, node=reads.node.to(rows.device), before=reads.before.to(rows.device))
    expected = next_bytes_at(rows, torch.arange(len(rows), device=rows.device), tree, reads, 1.0, rows.dtype)
    share, alone = expected.share.float().cpu(), expected.alone.float().cpu()
    return NextBytes(
        share, expected.speaks.cpu(), expected.rest.cpu(), expected.may_end.cpu(), expected.seen.cpu(), alone
    )


def compare(student: NextBytes, teacher: NextBytes) -> tuple[NDArray[np.float64], int]:
    """KL(teacher || student) in bits at each byte that both see, and at how many of them both expect the same most.

    Outcomes are the bytes of which both speak, and everything else as one more, as in the loss.
    """
    own, other = (replace(side, share=side.share.double()) for side in (student, teacher))
    nats, _, _ = ByteComparison(1.0, divergence_rule("forward_kl"), lump=True).values(own, other)
    seen = own.seen & other.seen
    same = _most_expected(own, other.speaks) == _most_expected(other, own.speaks)
    bits: NDArray[np.float64] = nats[seen].numpy() / math.log(2)
    return bits.clip(min=0.0), int(same[seen].sum())


def _most_expected(side: NextBytes, other_speaks: Tensor) -> Tensor:
    """int64 [P]: the most probable outcome; the last one for everything of which not both sides speak."""
    both = side.speaks & other_speaks
    rest = (~both * side.share).sum(dim=1) + side.rest
    return torch.cat([both * side.share, rest[:, None]], dim=1).argmax(dim=1)


def _labelled(item: Scored) -> tuple[Tensor, Tensor]:
    """Ids and labels of one answer, int64 [1, n]."""
    ids = torch.from_numpy(item.ids.astype(np.int64))[None]
    labels = torch.full_like(ids, IGNORE)
    labels[:, item.start :] = ids[:, item.start :]
    return ids, labels
