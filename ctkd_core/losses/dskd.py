"""DSKD, first version: two hidden spaces, joined by attention between the tokens of both sides.

No alignment is computed. A learnt query from the student's token embeddings attends over the teacher's, so each student
row sees a mixture of teacher states and each teacher row one of student states; `parts/dual_space.py` has the three
terms.
Source: Zhang et al., EMNLP 2024 (arXiv 2406.17328), and its released code. Differs (variant "clean"): each term is a
mean over its own rows, and scales are measured on the answers only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ctkd_core.errors import LossInputError
from ctkd_core.losses.base import (
    LossOutput,
    Rows,
    StateContext,
    States,
    check_inputs,
    need_teacher,
    response_rows,
    states_of,
)
from ctkd_core.losses.batch import AlignedBatch
from ctkd_core.losses.engine import units
from ctkd_core.losses.engine.engine import compute_dtype
from ctkd_core.losses.parts.divergences import TAIL_MASS, divergence_rule
from ctkd_core.losses.parts.dual_space import DualRule, StudentInTeacher, TeacherInStudent, dual_space
from ctkd_core.losses.parts.pairing import positional
from ctkd_core.losses.same import check_same_tokens, common_width

SMALLEST_SCALE = 1e-6  # constant states have no scale and stay as they are
MASKED = -1e5  # added to attention between tokens that aren't both learnt; finite, so that empty rows stay finite


class CrossModelProjectors(nn.Module):
    """Linear maps with bias: query 2d -> 2D (token embeddings), t2s D -> d and s2t d -> D (hidden states)."""

    def __init__(self, student_width: int, teacher_width: int):
        super().__init__()
        self.query = nn.Linear(2 * student_width, 2 * teacher_width)
        self.t2s = nn.Linear(teacher_width, student_width)
        self.s2t = nn.Linear(student_width, teacher_width)


def make_state(student_vocab: int, *, context: StateContext | None = None, **_: Any) -> CrossModelProjectors:  # noqa: ARG001
    """The projectors for two models whose widths `context` tells. Raises LossInputError without them."""
    if context is None or not context.student_width or not context.teacher_width:
        raise LossInputError(
            "loss 'dskd' projects between hidden spaces: make_state needs context=StateContext(...) with the hidden "
            "widths of both models."
        )
    return CrossModelProjectors(context.student_width, context.teacher_width)


def dskd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor | None,
    batch: AlignedBatch,
    *,
    ce_weight: float = 0.5,
    divergence: str = "forward_kl",
    temperature: float = 2.0,
    teacher_temperature: float = 1.0,
    skew: float = 0.1,
    tail_mass: float = TAIL_MASS,
    one_vocabulary: bool = False,
    state: CrossModelProjectors | None = None,
    student_states: States | None = None,
    teacher_states: States | None = None,
    variant: str = "clean",
    chunk_rows: int | None = None,
) -> LossOutput:
    """ce_weight * CE + (1 - ce_weight) * (t2s CE + t2s divergence + s2t forward KL).

    t2s CE          of the data's tokens under the student's head on attended teacher states; trains the projectors
    t2s divergence  of the student from these distributions, at rows where they predict the data's token
    s2t forward KL  of the teacher's head on attended student states from the teacher

    divergence, skew, tail_mass  of the t2s term, as in `divergences.divergence`
    temperature          of both sides; `teacher_temperature` divides the t2s logits besides
    one_vocabulary       both sides have one tokenizer: row k of either answer faces row k, nothing is attended to, and
                         the student learns from every t2s row (the released form for one vocabulary)
    variant              "released": sums over rows, all divided by the number of student rows, and scales measured over
                         whole padded sequences; rows of samples where one side has no answer face all that it holds
    Such rows learn from CE alone in "clean". Raises LossInputError.
    """
    teacher = need_teacher("dskd", teacher_logits)
    check_inputs(student_logits, teacher, batch)
    widths = student_logits.shape[-1], teacher.shape[-1]
    own, other = states_of("dskd", student_states, teacher_states, batch, widths)
    if not isinstance(state, CrossModelProjectors):
        raise LossInputError("loss 'dskd' learns projectors: pass state=make_state('dskd', ...).")
    for layer, sizes in ((state.s2t, (own, other)), (state.t2s, (other, own))):
        if (layer.in_features, layer.out_features) != tuple(x.hidden[-1].shape[-1] for x in sizes):
            raise LossInputError(
                f"the projectors are made for widths {state.s2t.in_features} and {state.t2s.in_features}, but the "
                f"states are {own.hidden[-1].shape[-1]} and {other.hidden[-1].shape[-1]} wide (student, teacher)."
            )
    rows, other_rows = response_rows(batch.student_labels), response_rows(batch.teacher_labels)
    rule = DualRule(
        divergence_rule(divergence, skew=skew, tail_mass=tail_mass),
        divergence_rule("forward_kl"),
        temperature,
        teacher_temperature,
        agreement=-1.0 if one_vocabulary else 1.0,
        divisor=float(units.divisor("student rows", len(rows))) if variant == "released" else None,
    )
    if one_vocabulary:
        common_width(batch, *widths, "dskd")
        t2s, s2t = _position_by_position(batch, rows, other_rows, state, own, other)
        return dual_space(student_logits, teacher, batch, t2s, s2t, rule, ce_weight, chunk_rows)
    dtype = compute_dtype(student_logits, teacher)
    side = whole_side if variant == "released" else answer_side
    s, t = side(batch.student_ids, rows, own, dtype), side(batch.teacher_ids, other_rows, other, dtype)
    seen = attend(s, t, state)
    s_kept, t_kept = s.mask, t.mask
    if variant != "released":  # there a row that no answer faces learns from a mixture of masked places
        s_kept, t_kept = (x & facing.any(dim=1, keepdim=True) for x, facing in ((s_kept, t_kept), (t_kept, s_kept)))
    number = s.number[s_kept]
    t2s = TeacherInStudent(seen.t2s[s_kept].to(own.head.dtype), own.head, number, rows.target[number])
    s2t = StudentInTeacher(seen.s2t[t_kept].to(other.head.dtype), other.head, other_rows, t.number[t_kept])
    return dual_space(student_logits, teacher, batch, t2s, s2t, rule, ce_weight, chunk_rows)


def _position_by_position(
    batch: AlignedBatch, rows: Rows, other_rows: Rows, state: CrossModelProjectors, own: States, other: States
) -> tuple[TeacherInStudent, StudentInTeacher]:
    """Each model's states in the other's space, at equal places of the answers. Raises LossInputError."""
    facing = positional(rows, batch)
    check_same_tokens(batch, rows, facing, "dskd")
    number = (facing >= 0).nonzero().squeeze(1)
    facing = facing[number]
    h_s, h_t = (x.hidden[-1].flatten(0, 1) for x in (own, other))
    moved = _linear(state.t2s, h_t[facing].detach()).to(own.head.dtype)
    back = _linear(state.s2t, h_s[rows.flat[number]]).to(other.head.dtype)
    learnt = torch.searchsorted(other_rows.flat, facing)
    return (
        TeacherInStudent(moved, own.head, number, rows.target[number]),
        StudentInTeacher(back, other.head, other_rows, learnt),
    )


@dataclass(frozen=True)
class AttendedTokens:
    """The tokens of one model that the attention sees, padded: each row reads `inputs` and predicts `targets`.

    inputs, targets  int64 [B, n], 0 where `mask` bool [B, n] is off; number int64 [B, n] row among the learnt ones, -1
    hidden           float [B, n, w] last layer; embeddings float [V, w] input embeddings
    """

    inputs: Tensor
    targets: Tensor
    mask: Tensor
    number: Tensor
    hidden: Tensor
    embeddings: Tensor
    whole: bool = False  # scales are measured on masked places too

    def tokens(self) -> Tensor:
        """[B, n, 2w]: embeddings of the token read and of the token predicted, without gradient."""
        return torch.cat([self.embedded(self.inputs), self.embedded(self.targets)], dim=-1)

    def embedded(self, ids: Tensor) -> Tensor:
        """[B, n, w], without gradient."""
        return self.embeddings.detach()[ids].to(self.hidden.dtype)

    def scaled(self, values: Tensor) -> Tensor:
        """`values` [B, n, w] over their standard deviation, one (unbiased) number for all."""
        measured = values if self.whole else values[self.mask]
        spread = units.spread("scale", measured)
        return torch.where(spread > SMALLEST_SCALE, values / spread.clamp(min=SMALLEST_SCALE), values)


@dataclass(frozen=True)
class Attended:
    """Attention weights [B, n, m] and [B, m, n], and what they mix: t2s [B, n, d], s2t [B, m, D]."""

    t2s_weights: Tensor
    s2t_weights: Tensor
    t2s: Tensor
    s2t: Tensor


def attend(student: AttendedTokens, teacher: AttendedTokens, state: CrossModelProjectors) -> Attended:
    """Cross-model attention, in the data type of the hidden states. Rows that are masked see a uniform mixture."""
    query = _linear(state.query, student.tokens())
    key = teacher.scaled(teacher.tokens())
    target = teacher.embedded(teacher.targets)
    scores = query @ key.transpose(1, 2) / math.sqrt(query.shape[-1])
    scores = scores + MASKED * ~(student.mask[:, :, None] & teacher.mask[:, None])
    t2s, s2t = scores.softmax(dim=2), scores.transpose(1, 2).softmax(dim=2)
    value = _linear(state.t2s, teacher.scaled(teacher.hidden.detach()) + teacher.scaled(target))
    return Attended(t2s, s2t, t2s @ value, s2t @ _linear(state.s2t, student.hidden))


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    return nn.functional.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))


def answer_side(ids: Tensor, rows: Rows, states: States, dtype: torch.dtype) -> AttendedTokens:
    """The learnt rows of each sample alone, padded to the longest answer."""
    counts = torch.bincount(rows.sample, minlength=len(ids))
    first = counts.cumsum(0) - counts
    slot = torch.arange(len(rows), device=ids.device) - first[rows.sample]
    number = torch.full((len(ids), int(counts.max()) if len(counts) else 0), -1, device=ids.device)
    number[rows.sample, slot] = torch.arange(len(rows), device=ids.device)
    hidden = states.hidden[-1]
    chosen = hidden[rows.sample, rows.position - 1].to(dtype)
    padded = chosen.new_zeros(*number.shape, hidden.shape[-1]).index_put((rows.sample, slot), chosen)
    return _side(ids, rows, number, padded, states)


def whole_side(ids: Tensor, rows: Rows, states: States, dtype: torch.dtype) -> AttendedTokens:
    """Whole padded sequences, as the released program sees them: all tokens but the last are read."""
    return _side(ids, rows, rows.number[:, 1:], states.hidden[-1][:, :-1].to(dtype), states, whole=True)


def _side(
    ids: Tensor, rows: Rows, number: Tensor, hidden: Tensor, states: States, whole: bool = False
) -> AttendedTokens:
    mask = number >= 0
    inputs, targets = torch.zeros_like(number), torch.zeros_like(number)
    inputs[mask], targets[mask] = ids[rows.sample, rows.position - 1], rows.target
    return AttendedTokens(inputs, targets, mask, number, hidden, states.embeddings, whole)
