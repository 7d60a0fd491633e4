"""Runs of the tiny pair with a cached or served teacher, and the loss of a batch from any kind of teacher."""

from __future__ import annotations

from dataclasses import replace

import torch

from ctkd_core import methods
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.models.teachers import LiveTeacher, align_all, load_frozen, planned_teachers
from ctkd_core.distill.teachers.access import Access
from ctkd_core.distill.trainer import widened
from ctkd_core.losses import loss, make_state
from ctkd_core.losses.base import StateContext
from ctkd_core.losses.batch import AlignedBatch, AlignedSample, collate
from ctkd_core.tokenizers.load import load_tokenizer

# What can be trained without the teacher's model: the method, and the variants that can.
ABLE = [
    (row.name, variant)
    for row in methods.training()
    if row.asks_teacher
    for variant in row.variants
    if not row.not_from_cache({}, variant)
]


def teacher_of(config: RunConfig) -> LiveTeacher:
    (teacher,) = planned_teachers(config, load_tokenizer(config.teacher))
    return replace(teacher, access=Access.of(config))


def samples_of(config: RunConfig, count: int = 4) -> list[AlignedSample]:
    """The run's first examples, aligned by its method."""
    from ctkd_core.distill.data import load_split

    student, teacher = load_tokenizer(config.student), teacher_of(config)
    examples = load_split(config.data, config.template).train[:count]
    return [align_all([teacher], student, e, e.completion, config.max_length)[0] for e in examples]


def batch_of(config: RunConfig, count: int = 4, pad: str = "right") -> AlignedBatch:
    """These examples as a batch."""
    student, teacher = load_tokenizer(config.student), teacher_of(config)
    return collate(samples_of(config, count), student, teacher.tokenizer, pad)


def live_logits(config: RunConfig, batch: AlignedBatch) -> torch.Tensor:
    model = load_frozen(config.teacher_path)
    with torch.no_grad():
        out = model(input_ids=batch.teacher_ids, attention_mask=batch.teacher_attention, use_cache=False)
    assert batch.teacher is not None
    return widened(out.logits, batch.teacher.n_ids)


def loss_of(config: RunConfig, batch: AlignedBatch, teacher_logits: torch.Tensor, **options: object) -> float:
    """The method's loss of a student with fixed random logits."""
    assert batch.student is not None
    if any(option.name == "scaling" for option in methods.get(config.method).loss_options):
        options["scaling"] = "fixed"  # scaled to the cross-entropy, the rest would say nothing
    width = batch.student.n_ids
    generator = torch.Generator().manual_seed(3)
    student = 2 * torch.randn(*batch.student_ids.shape, width, generator=generator)
    context = StateContext(width, student=batch.student, teacher=batch.teacher)
    state = make_state(config.method, width, context=context, variant=config.variant)
    out = loss(config.method, student, teacher_logits, batch, config.variant, state=state, **options)
    return float(out.loss.detach())
