"""DSKD, second version: hidden states before equal tokens after equal text, moved by projectors that keep the logits.

The teacher's projector begins as the linear map that keeps the logits of the tokens both vocabularies have, and trains;
the student's is that map of the current heads, made anew at every step. The teacher's own most probable token is the
target; `parts/dual_space.py` has the three terms.
Source: Zhang et al. 2025 (arXiv 2504.11426) and its released code. Differs (variant "clean"): a teacher's token is
looked up by its bytes, so that vocabularies with other space markers share their words, and unknown ones are left out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ctkd_core.errors import LossInputError
from ctkd_core.losses.base import (
    LossOutput,
    StateContext,
    States,
    check_inputs,
    need_teacher,
    response_rows,
    states_of,
)
from ctkd_core.losses.batch import AlignedBatch
from ctkd_core.losses.engine.engine import Buffers, compute_dtype, rows_per_chunk
from ctkd_core.losses.parts.divergences import TAIL_MASS, divergence_rule
from ctkd_core.losses.parts.dual_space import DualRule, StudentInTeacher, TeacherInStudent, dual_space
from ctkd_core.losses.parts.matched import Matched, matched_ids

CUTOFF = 1e-10  # squared singular values of a head below this share of the largest count as zero
BLOCK_ROWS = 8192  # of a head that are cast at a time


class LogitKeepingProjectors(nn.Module):
    """t2s float [D, d] trains; s2t [d, D] follows the student's head.

    shared int64 [k, 2]: student and teacher ids of the tokens that define the maps
    """

    keeps_logits = True  # untrained as it is
    shared: Tensor
    inverse: Tensor

    def __init__(self, student_head: Tensor, teacher_head: Tensor, shared: Tensor):
        super().__init__()
        s, t = student_head.detach(), teacher_head.detach()
        ids = shared.to(s.device)
        first = gram(t, ids[:, 1], s, ids[:, 0]) @ inverse_gram(s, ids[:, 0])
        self.t2s = nn.Parameter(first.float())
        # they follow from the models, so checkpoints needn't hold them
        self.register_buffer("shared", ids, persistent=False)
        self.register_buffer("inverse", inverse_gram(t, ids[:, 1]).float(), persistent=False)

    def s2t(self, student_head: Tensor, teacher_head: Tensor) -> Tensor:
        """[d, D]: the map that keeps the student's logits of shared tokens, from heads [Vs, d] and [Vt, D]."""
        heads = student_head.detach(), self.shared[:, 0], teacher_head.detach(), self.shared[:, 1]
        return gram(*heads, dtype=self.inverse.dtype) @ self.inverse


def inverse_gram(head: Tensor, ids: Tensor) -> Tensor:
    """float64 [w, w]: pseudo-inverse of H^T H for the rows `ids` of `head` [V, w]; pinv(H^T) = H times it."""
    return torch.linalg.pinv(gram(head, ids, head, ids), rtol=CUTOFF, hermitian=True)


def gram(a: Tensor, a_ids: Tensor, b: Tensor, b_ids: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """[w, v]: a[a_ids].T @ b[b_ids], added up in `dtype`: half precision would lose the map."""
    out = torch.zeros(a.shape[1], b.shape[1], dtype=dtype, device=a.device)
    for x, y in zip(a_ids.split(BLOCK_ROWS), b_ids.split(BLOCK_ROWS)):
        out.addmm_(a[x].to(dtype).T, b[y].to(dtype))
    return out


def make_state(
    student_vocab: int,  # noqa: ARG001
    *,
    context: StateContext | None = None,
    projection: Any = None,
    shared_tokens: int = 0,
    **_: Any,
) -> LogitKeepingProjectors:
    """The projectors for two models whose output heads and tokenizers `context` tells.

    shared_tokens: use the first so many shared tokens, by student id; 0: all. projection: as for the loss.
    Raises LossInputError without heads, or where the vocabularies share nothing.
    """
    if context is None or context.student_head is None or context.teacher_head is None:
        raise LossInputError(
            "loss 'dskd-eta' begins with maps that keep logits: make_state needs context=StateContext(...) with both "
            "output heads and both tokenizers."
        )
    heads = context.student_head, context.teacher_head.to(context.student_head.device)
    found = matched_ids(projection, context, (len(heads[0]), len(heads[1])))
    pairs = torch.stack([found.student, found.teacher], dim=1)
    return LogitKeepingProjectors(*heads, pairs[:shared_tokens] if shared_tokens else pairs)


def dskd_eta_loss(
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
    agreement: float = 1.0,
    shared_tokens: int = 0,  # noqa: ARG001 - of make_state
    state: LogitKeepingProjectors | None = None,
    student_states: States | None = None,
    teacher_states: States | None = None,
    projection: Any = None,
    variant: str = "clean",
    chunk_rows: int | None = None,
) -> LossOutput:
    """ce_weight * CE + (1 - ce_weight) * (t2s CE + t2s divergence + s2t divergence), over aligned tokens.

    Aligned tokens are the groups of one token on either side (exact token alignment leaves only equal ones after equal
    text). The target of a row is the teacher's most probable token, where the student's vocabulary has it.

    divergence, skew, tail_mass  of both divergences, as in `divergences.divergence`
    temperature       of both sides; `teacher_temperature` divides the t2s logits besides
    agreement         the t2s divergence runs over rows whose projected states predict the target; over all aligned rows
                      when the share of such rows is above this
    projection        a Projection or scipy matrix [Vs, Vt] whose one-to-one entries say which tokens are the same;
                      default: equal bytes
    variant           "released": strings are compared as they stand in the vocabularies; a target that the student's
                      lacks is its unknown token, and if there is none the row is in no term
    Raises LossInputError.
    """
    teacher = need_teacher("dskd-eta", teacher_logits)
    check_inputs(student_logits, teacher, batch)
    widths = student_logits.shape[-1], teacher.shape[-1]
    own, other = states_of("dskd-eta", student_states, teacher_states, batch, widths)
    if not isinstance(state, LogitKeepingProjectors):
        raise LossInputError("loss 'dskd-eta' learns a projector: pass state=make_state('dskd-eta', ...).")
    if state.t2s.shape != (other.head.shape[1], own.head.shape[1]):
        raise LossInputError(
            f"the projector is made for widths {state.t2s.shape[1]} and {state.t2s.shape[0]}, but the states are "
            f"{own.head.shape[1]} and {other.head.shape[1]} wide (student, teacher)."
        )
    t2s, s2t = crossed(student_logits, teacher, batch, state, own, other, projection, variant, chunk_rows)
    rule = divergence_rule(divergence, skew=skew, tail_mass=tail_mass)
    dual = DualRule(rule, rule, temperature, teacher_temperature, agreement, mean_over_agreeing=True)
    return dual_space(student_logits, teacher, batch, t2s, s2t, dual, ce_weight, chunk_rows)


def crossed(
    student_logits: Tensor, teacher: Tensor, batch: AlignedBatch, state: LogitKeepingProjectors, own: States,
    other: States, projection: Any = None, variant: str = "clean", chunk_rows: int | None = None,
) -> tuple[TeacherInStudent, StudentInTeacher]:  # fmt: skip
    """The aligned rows of both models, each in the other's space; arguments as for the loss."""
    dtype = compute_dtype(student_logits, teacher)
    rows, other_rows = response_rows(batch.student_labels), response_rows(batch.teacher_labels)
    number, facing = aligned_rows(batch, rows.number, other_rows.number)
    found = matched_ids(projection, batch, (student_logits.shape[-1], teacher.shape[-1]), raw=variant == "released")
    ids = student_ids(found, batch, teacher.shape[-1], variant).to(number.device)
    target = ids[most_probable(teacher, other_rows.flat[facing], dtype, chunk_rows)]
    if variant == "released":
        number, facing, target = (x[target >= 0] for x in (number, facing, target))
    h_s, h_t = (x.hidden[-1].flatten(0, 1) for x in (own, other))
    moved = h_t[other_rows.flat[facing]].detach().to(dtype) @ state.t2s.to(dtype)
    back = h_s[rows.flat[number]].to(dtype) @ state.s2t(own.head, other.head).to(dtype)
    t2s = TeacherInStudent(moved.to(own.head.dtype), own.head, number, target)
    return t2s, StudentInTeacher(back.to(other.head.dtype), other.head, other_rows, facing)


def aligned_rows(batch: AlignedBatch, student_rows: Tensor, teacher_rows: Tensor) -> tuple[Tensor, Tensor]:
    """int64 [N], [N]: rows that predict tokens which face each other one to one, from the rows [B, T] of each side."""
    sample, s0, s1, t0, t1 = batch.groups.T
    single = (s1 - s0 == 1) & (t1 - t0 == 1)
    number, facing = student_rows[sample[single], s0[single]], teacher_rows[sample[single], t0[single]]
    learnt = (number >= 0) & (facing >= 0)
    return number[learnt], facing[learnt]


def student_ids(found: Matched, batch: AlignedBatch, width: int, variant: str = "clean") -> Tensor:
    """int64 [Vt]: the student id of each teacher id, -1 for none; the ends of both sides are the same token."""
    unknown = None if batch.student is None or variant != "released" else batch.student.unk_id
    ids = torch.full((width,), -1 if unknown is None else unknown)
    ids[found.teacher] = found.student
    if batch.student is not None and batch.teacher is not None:
        ends = batch.student.eos_id, batch.teacher.eos_id
        if ends[0] is not None and ends[1] is not None and ends[1] < width:
            ids[ends[1]] = ends[0]
    return ids


def most_probable(logits: Tensor, rows: Tensor, dtype: torch.dtype, chunk_rows: int | None = None) -> Tensor:
    """int64 [n]: the largest entry of each row (int64 [n], flat) of logits [..., V]."""
    buffers = Buffers(logits.device, dtype)
    step = rows_per_chunk(logits.shape[-1], logits.device, chunk_rows)
    best = [buffers.read("logits", logits, part).argmax(dim=1) for part in rows.split(step) if len(part)]
    return torch.cat([rows[:0], *best])
