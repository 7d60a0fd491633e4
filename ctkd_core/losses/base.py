"""What every loss shares: input checks, response rows, the cross-entropy term, normalisation, the result.

A loss author writes a kernel (see `engine.Term`): one value per row and its gradient. Everything else is here or
in the engine. Row convention everywhere: logits row i predicts token i + 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ctkd_core.errors import LossInputError
from ctkd_core.losses.batch import IGNORE, AlignedBatch
from ctkd_core.losses.engine import units
from ctkd_core.losses.engine.engine import Balance, Chunk, RowSums, Term, compute_dtype, evaluate
from ctkd_core.losses.engine.fused import HeadLogits

__all__ = ["LossOutput", "Rows", "StateContext", "States", "cross_entropy_term", "finish", "response_rows"]


@dataclass(frozen=True)
class LossOutput:
    """A loss with its parts.

    loss         scalar, float32 (float64 for float64 logits), differentiable once
    terms        named means that the loss is mixed from, scalars without gradient
    per_group    float [G_total], one value per row of `batch.groups`, without gradient: the mixed, not yet averaged
                 values of the rows that predict the group's student tokens, added up
    diagnostics  figures about the batch, floats; a `facts.Count` or `facts.Mean` says how those of several batches add
    """

    loss: Tensor
    terms: dict[str, Tensor]
    per_group: Tensor
    diagnostics: dict[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        from ctkd_core.losses.display import loss_line

        return loss_line(self)

    def _repr_html_(self) -> str:
        from ctkd_core.losses.display import loss_card

        return loss_card(self)


@dataclass(frozen=True)
class Rows:
    """The student rows that predict response tokens; R in all, by sample, then position.

    sample, position  int64 [R] of the predicted token (its row is position - 1)
    target            int64 [R] the token that the data has there
    flat              int64 [R] row number in logits flattened to [B * Ts, V]
    number            int64 [B, Ts] row of the token at that place, -1 where no row predicts it
    """

    sample: Tensor
    position: Tensor
    target: Tensor
    flat: Tensor
    number: Tensor

    def __len__(self) -> int:
        return len(self.flat)


@dataclass(frozen=True)
class States:
    """What a loss may read of one model besides its logits; the teacher's carry no gradient.

    hidden      tuple of float [B, T, d]: the embeddings' output first, the last layer's (as the head reads it) last
    head        float [V, d] output embeddings; embeddings float [V, d] input embeddings (often the same tensor)
    """

    hidden: tuple[Tensor, ...]
    head: Tensor
    embeddings: Tensor


@dataclass(frozen=True)
class StateContext:
    """What a method may need to build the module that it trains beside the student.

    student_head, teacher_head  float [V, d] output embeddings or None; student, teacher  the tokenizers or None
    """

    student_vocab: int
    teacher_vocab: int | None = None
    student_width: int | None = None
    teacher_width: int | None = None
    student_head: Tensor | None = None
    teacher_head: Tensor | None = None
    student: Any = None
    teacher: Any = None


def response_rows(labels: Tensor) -> Rows:
    """Rows of `labels` int64 [B, T] (unshifted, -100 = not learnt).

    A response token at position 0 has no row before it, so nothing predicts it and it is left out.
    """
    learnt = labels != IGNORE
    learnt[:, :1] = False
    sample, position = learnt.nonzero(as_tuple=True)
    number = torch.full_like(labels, -1)
    number[sample, position] = torch.arange(len(sample), device=labels.device)
    return Rows(sample, position, labels[sample, position], sample * labels.shape[1] + position - 1, number)


def two_sided(groups: Tensor) -> Tensor:
    """bool [G]: groups int64 [G, 5] with tokens on both sides; alignments show others too, which nothing faces."""
    return (groups[:, 1] < groups[:, 2]) & (groups[:, 3] < groups[:, 4])


def check_inputs(student_logits: Tensor, teacher_logits: Tensor | None, batch: AlignedBatch) -> None:
    """Raise LossInputError for logits that don't fit the batch: shape, dtype, device or vocabulary width."""
    _check_side("student", student_logits, batch.student_ids, batch.student_attention)
    if teacher_logits is not None:
        _check_side("teacher", teacher_logits, batch.teacher_ids, batch.teacher_attention)
        if teacher_logits.device != student_logits.device:
            raise LossInputError(
                f"student logits are on {student_logits.device}, teacher logits on {teacher_logits.device}; "
                "move both to one device."
            )


def need_teacher(name: str, teacher_logits: Tensor | None) -> Tensor:
    """`teacher_logits` without gradient; raises LossInputError when there are none."""
    if teacher_logits is None:
        raise LossInputError(f"loss {name!r} needs the teacher's logits [B, Tt, Vt]; got None.")
    if not isinstance(teacher_logits, (Tensor, HeadLogits)):
        raise LossInputError(f"teacher logits must be a tensor [B, Tt, Vt]; got {type(teacher_logits).__name__}.")
    return teacher_logits.detach()


def states_of(
    name: str,
    student: States | None,
    teacher: States | None,
    batch: AlignedBatch,
    widths: tuple[int, int] | None = None,
) -> tuple[States, States]:
    """Both models' states, checked against the batch; with `widths` the heads against the logits' widths, too.

    Raises LossInputError for missing states, other objects, and shapes that don't fit.
    """
    if student is None or teacher is None:
        raise LossInputError(f"loss {name!r} reads hidden states: pass student_states and teacher_states.")
    for side, states, ids in (("student", student, batch.student_ids), ("teacher", teacher, batch.teacher_ids)):
        if not isinstance(states, States) or not isinstance(states.hidden, (tuple, list)) or not states.hidden:
            raise LossInputError(
                f"{side}_states must be States(hidden=a tuple with a tensor for each layer, head, embeddings); got "
                f"{type(states.hidden if isinstance(states, States) else states).__name__}."
            )
        for layer in (states.hidden[0], states.hidden[-1]):
            if layer.shape[:-1] != ids.shape:
                raise LossInputError(
                    f"{side}_states hold hidden states of shape {list(layer.shape)}, but the batch has "
                    f"{ids.shape[0]} samples of {ids.shape[1]} {side} positions; pass the states of this batch, [B, T, "
                    "width], not shifted."
                )
    for side, states, width in zip(("student", "teacher"), (student, teacher), widths or ()):
        if states.head.ndim != 2 or states.head.shape[1] != states.hidden[-1].shape[-1] or len(states.head) != width:
            raise LossInputError(
                f"the {side}'s head is {list(states.head.shape)}, but its states are {states.hidden[-1].shape[-1]} "
                f"wide and its logits {width}: a head is [vocabulary, width], with a row for each logit."
            )
    return student, teacher


def _check_side(side: str, logits: Tensor, ids: Tensor, attention: Tensor) -> None:
    if not isinstance(logits, (Tensor, HeadLogits)) or logits.ndim != 3:
        got = list(logits.shape) if isinstance(logits, (Tensor, HeadLogits)) else type(logits).__name__
        raise LossInputError(f"{side} logits must be a tensor [batch, positions, vocabulary]; got {got}.")
    if not logits.dtype.is_floating_point:
        raise LossInputError(f"{side} logits must be floating point; got {logits.dtype}.")
    if logits.shape[:2] != ids.shape:
        raise LossInputError(
            f"{side} logits have shape {list(logits.shape)}, but the batch holds {ids.shape[0]} samples of "
            f"{ids.shape[1]} positions; pass the logits of this batch, not shifted."
        )
    if logits.device != ids.device:
        raise LossInputError(f"{side} logits are on {logits.device}, the batch on {ids.device}; use batch.to(device).")
    largest = int(torch.where(attention != 0, ids, -1).max()) if ids.numel() else -1
    if largest >= logits.shape[-1]:
        raise LossInputError(
            f"the batch holds {side} token id {largest}, but the {side} logits are only {logits.shape[-1]} wide; "
            f"the model's vocabulary must cover its tokenizer (resize its embeddings, or load the fitting tokenizer)."
        )


def cross_entropy_term(rows: Rows, coefficient: float = 1.0, used: Tensor | None = None) -> Term:
    """Token-mean cross-entropy of the data's own tokens, in nats; `used` bool [R]: rows that count (default all)."""

    def kernel(chunk: Chunk, weight: Tensor) -> Tensor:
        normaliser = chunk.normaliser()
        target = rows.target[chunk.rows, None]
        if chunk.learns:
            chunk.add_softmax(weight[:, 0])
            chunk.add_at(target, -weight)
        return normaliser[:, None] - chunk.at(target)

    return Term(("ce",), (coefficient,), uniform(rows, used), kernel, scratch=0)


def uniform(rows: Rows, used: Tensor | None = None) -> Tensor:
    """float64 [R]: one over the number of used rows (bool [R], default all) for used rows, else 0."""
    if used is None:
        used = torch.ones_like(rows.flat, dtype=torch.bool)
    return used.double() / units.divisor("rows", used.sum())


def finish(
    logits: Tensor,
    rows: Rows,
    terms: Sequence[Term],
    batch: AlignedBatch,
    *,
    teacher_logits: Tensor | None = None,
    chunk_rows: int | None = None,
    cuts: Tensor | None = None,
    balance: Balance | None = None,
) -> LossOutput:
    """Run the engine and put the result together; raises LossInputError where a value isn't finite.

    cuts: bool [R], rows at which a chunk may begin; balance: scale the later terms to the first (`engine.evaluate`),
    and the scale is among the terms, as "kd_scale".
    """
    sums = evaluate(logits, rows.flat, terms, compute_dtype(logits, teacher_logits), chunk_rows, cuts, balance)
    check_finite(sums, terms, rows)
    means: dict[str, Tensor] = {}
    mixed = torch.zeros(len(rows), dtype=torch.float64, device=logits.device)
    owned = torch.zeros(len(batch.groups), dtype=torch.float64, device=logits.device)
    for number, (term, values) in enumerate(zip(terms, sums.values)):
        scale = sums.scale if number else 1.0
        used = (term.norm != 0)[:, None]
        exact = torch.where(used, values.double(), 0.0)
        for column, name in enumerate(term.names):
            means[name] = (term.norm * exact[:, column]).sum().to(values.dtype)
            value = scale * term.coefficients[column] * exact[:, column]
            if term.owner is None:
                mixed += value
            elif len(owned):
                owned.index_add_(0, term.owner.clamp(min=0), torch.where(term.owner >= 0, value, 0.0))
    facts = {}
    if balance is not None:
        facts["kd_scale"] = sums.scale
        means["kd_scale"] = torch.tensor(sums.scale, dtype=sums.loss.dtype, device=logits.device)
    return LossOutput(sums.loss, means, (owned + per_group(mixed, rows, batch.groups)).to(sums.loss.dtype), facts)


def per_group(values: Tensor, rows: Rows, groups: Tensor) -> Tensor:
    """float64 [G]: `values` float64 [R] added up over the student tokens of each group (int64 [G, 5])."""
    placed = torch.where(rows.number >= 0, values[rows.number.clamp(min=0)] if len(values) else 0.0, 0.0)
    total = torch.nn.functional.pad(placed.cumsum(dim=1), (1, 0))
    sample, start, end = groups[:, 0], groups[:, 1], groups[:, 2]
    return total[sample, end] - total[sample, start]


def check_finite(sums: RowSums, terms: Sequence[Term], rows: Rows) -> None:
    """Raise LossInputError where a value that counts isn't finite; `rows` are the ones that were evaluated."""
    for term, values in zip(terms, sums.values):
        bad = (~torch.isfinite(values)).any(dim=1) & (term.norm != 0)
        count = int(bad.sum())
        if count:
            first = int(bad.nonzero()[0, 0])
            raise LossInputError(
                f"{'/'.join(term.names)} isn't finite in {count} of {len(rows)} rows, first in sample "
                f"{int(rows.sample[first])} at position {int(rows.position[first])}: the logits of a model hold NaN or "
                "infinity there (or give the data's token no probability at all). Lower the learning rate, or compute "
                "the model in float32 or bfloat16."
            )
