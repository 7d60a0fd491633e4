"""Distillation from a teacher with the student's own tokenizer: a divergence at every position, token by token.

The identity case of all methods in this package: position k of the response faces position k, token i faces token i,
and nothing is merged, mapped or sorted. Source: Hinton et al. 2015 (arXiv 1503.02531) for the forward KL between
softened distributions; `divergences.py` has the others.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ctkd_core.errors import LossInputError
from ctkd_core.losses.base import (
    LossOutput,
    Rows,
    check_inputs,
    cross_entropy_term,
    finish,
    need_teacher,
    response_rows,
    uniform,
)
from ctkd_core.losses.batch import AlignedBatch
from ctkd_core.losses.engine.engine import Term
from ctkd_core.losses.facts import Count, mean
from ctkd_core.losses.parts.divergences import TAIL_MASS, FacingRows, divergence_rule
from ctkd_core.losses.parts.pairing import PAIRINGS
from ctkd_core.tokenizers.same_vocabulary import vocabulary_difference


def kd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor | None,
    batch: AlignedBatch,
    *,
    ce_weight: float = 0.5,
    divergence: str = "forward_kl",
    temperature: float = 1.0,
    teacher_temperature: float | None = None,
    beta: float = 0.5,
    skew: float = 0.1,
    tail_mass: float = TAIL_MASS,
    top_k: int = 0,
    tau_squared: bool = False,
    num_items_in_batch: int = 0,
    variant: str = "clean",  # noqa: ARG001
    chunk_rows: int | None = None,
) -> LossOutput:
    """ce_weight * CE + (1 - ce_weight) * mean over response rows of D(teacher, student).

    divergence, beta, skew, tail_mass  as in `divergences.divergence`
    temperature  divides both logit sets (the teacher's: `teacher_temperature` if given); `tau_squared` multiplies the
                 divergence by its square, which keeps the size of the gradient
    num_items_in_batch  divides the sums over rows of both parts instead of their number, where it is above 0: the
                 tokens of a batch that is accumulated in several parts, as transformers' trainer counts them
    top_k        compare the teacher's k most probable tokens only, both sides scaled to 1 there; 0: all tokens

    Row by row within the response, so prompts and padding may differ. Of logits that are padded beyond the tokenizer
    only the tokenizer's ids are compared. A row that the teacher lacks (cut there) learns from CE alone.
    student_logits [B, Ts, Vs], teacher_logits [B, Tt, Vt]. Raises LossInputError where the two vocabularies differ, or
    the two sides of the batch don't hold the same response tokens.
    """
    teacher = need_teacher("kd", teacher_logits)
    check_inputs(student_logits, teacher, batch)
    width = common_width(batch, student_logits.shape[-1], teacher.shape[-1])
    rows = response_rows(batch.student_labels)
    facing = PAIRINGS["positional"](rows, batch)
    check_same_tokens(batch, rows, facing)
    rule = divergence_rule(divergence, beta, skew, tail_mass)
    kernel = FacingRows(rule, teacher, facing, (temperature, teacher_temperature or temperature), width, top_k)
    scale = temperature**2 if tau_squared else 1.0
    distil = Term(
        (divergence,), ((1.0 - ce_weight) * scale,), uniform(rows, facing >= 0), kernel, scratch=kernel.scratch
    )
    terms = [cross_entropy_term(rows, ce_weight), distil]
    if num_items_in_batch:
        terms = [replace(term, norm=(term.norm != 0).double() / num_items_in_batch) for term in terms]
    out = finish(student_logits, rows, terms, batch, teacher_logits=teacher, chunk_rows=chunk_rows)
    facts = {"rows": Count(len(rows)), "compared_rows": Count((facing >= 0).sum()), "compared_ids": float(width)}
    if kernel.tail:
        facts["tail_mass"] = mean(torch.cat(kernel.tail))
    return LossOutput(out.loss, out.terms, out.per_group, facts)


def common_width(batch: AlignedBatch, student_width: int, teacher_width: int, name: str = "kd") -> int:
    """How many first columns of the logits mean the same tokens on both sides.

    With tokenizers: the ids of their one vocabulary; logits beyond them are padding. Without: all columns, if they are
    equally many. Raises LossInputError where the vocabularies differ, or logits don't cover them.
    """
    if batch.student is None or batch.teacher is None:
        if student_width == teacher_width:
            return student_width
        raise LossInputError(
            f"loss {name!r} needs one vocabulary, but the student's logits are {student_width} wide and the teacher's "
            f"{teacher_width}; if one of them is padded, pass both tokenizers to collate(samples, student, teacher)."
        )
    if fault := vocabulary_difference(batch.student, batch.teacher):
        raise LossInputError(f"loss {name!r} needs one tokenizer on both sides: {fault}")
    n = batch.student.n_ids
    for side, width in (("student", student_width), ("teacher", teacher_width)):
        if width < n:
            raise LossInputError(
                f"the {side} logits are {width} wide, but tokenizer {batch.student.name!r} has ids up to {n - 1}: the "
                "model lacks some of its tokens. Resize its embeddings, or name the tokenizer that belongs to it."
            )
    return n


def check_same_tokens(batch: AlignedBatch, rows: Rows, facing: Tensor, name: str = "kd") -> None:
    """Raise LossInputError where a response token faces another one: equal vocabularies may still cut texts apart."""
    pair = facing >= 0
    other = batch.teacher_ids.flatten()[facing[pair] + 1]
    unequal = (other != rows.target[pair]).nonzero().flatten()
    if len(unequal):
        first = int(unequal[0])
        sample, position = int(rows.sample[pair][first]), int(rows.position[pair][first])
        raise LossInputError(
            f"loss {name!r} compares equal positions, but in sample {sample} the student's token {position} has id "
            f"{int(rows.target[pair][first])} and faces the teacher's id {int(other[first])}: the two sides cut the "
            "text differently, though their vocabularies agree. Choose a method that aligns, such as 'sedi' or 'gold'."
        )
