"""Batches and logits that the loss tests share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ctkd_core import losses, methods
from ctkd_core.losses.base import LossOutput, StateContext, States, response_rows
from ctkd_core.losses.batch import AlignedBatch, AlignedSample, align_sample, collate
from tests.tiny import tiny_byte_level

METHODS = tuple(row.name for row in methods.training())
# Every loss and variant as it is called without options, and options that take another way: name, variant, options.
FORMS: dict[str, tuple[str, str, dict[str, Any]]] = {
    **{f"{row.name} {variant}": (row.name, variant, {}) for row in methods.training() for variant in row.variants},
    "mined clean, lowest tokens": ("mined", "clean", {"max_align_num": 1}),
    "mined released, map": ("mined", "released", {"accept": "map"}),
}
PROMPT = "The teacher reads:"
TEXTS = (
    " In 2024 we sold 1234567 units.",
    " naïve 🦙 café",
    " cats",
    "\ndef add(a, b):\n    return a + b",
)


def pair():
    """Student with digits in threes, teacher with digits one by one: groups of every kind."""
    return tiny_byte_level(400, 3), tiny_byte_level(300, 1)


@cache
def _sample(prompt: str, text: str) -> AlignedSample:
    return align_sample(prompt, text, *pair())


def samples(texts=TEXTS, prompt=PROMPT) -> list[AlignedSample]:
    """Aligned once in a process; nothing changes a sample."""
    return [_sample(prompt, text) for text in texts]


def batch_of(chosen: list[AlignedSample], pad: str = "right") -> AlignedBatch:
    return collate(chosen, *pair(), pad=pad)


def plain_sample(student_ids, teacher_ids, student_start, teacher_start, groups=()) -> AlignedSample:
    return AlignedSample(
        np.array(student_ids, dtype=np.int32),
        np.array(teacher_ids, dtype=np.int32),
        student_start,
        teacher_start,
        np.array(groups, dtype=np.int32).reshape(-1, 4),
    )


def logits_for(
    batch: AlignedBatch, seed: int = 0, dtype=torch.float32, widths=(403, 305), scale: float = 2.0
) -> tuple[Tensor, Tensor]:
    """Random logits, a little wider than the tokenizers, as padded model heads are."""
    generator = torch.Generator().manual_seed(seed)
    s = torch.randn(*batch.student_ids.shape, widths[0], generator=generator, dtype=torch.float64) * scale
    t = torch.randn(*batch.teacher_ids.shape, widths[1], generator=generator, dtype=torch.float64) * scale
    return s.to(dtype).requires_grad_(), t.to(dtype)


def move_logits(old: AlignedBatch, new: AlignedBatch, order: list[int], s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The logits of `old` at the places where `new` has the same tokens (samples in `order`); noise on padding."""
    moved = []
    for logits, old_mask, new_mask in (
        (s, old.student_attention, new.student_attention),
        (t, old.teacher_attention, new.teacher_attention),
    ):
        out = torch.randn(*new_mask.shape, logits.shape[-1], dtype=logits.dtype) * 5
        for place, source in enumerate(order):
            out[place, new_mask[place].bool()] = logits.detach()[source, old_mask[source].bool()]
        moved.append(out)
    return moved[0].requires_grad_(), moved[1]


def seeded(seed: int) -> None:
    """Seed the CPU's generator alone: `torch.manual_seed` formats the stack of calls for every absent device."""
    torch.default_generator.manual_seed(seed)


WIDTHS = 6, 5  # hidden widths of student and teacher


def extras(name: str, batch: AlignedBatch, dtype=torch.float32, widths=(403, 305)) -> dict[str, Any]:
    """What a method wants besides logits [.., widths]: hidden states of both models and the module that it trains."""
    row = methods.get(name)
    given: dict[str, Any] = {}
    heads: tuple[Tensor, ...] = ()
    if "hidden_states" in row.outputs:
        own = states_for(batch.student_ids, WIDTHS[0], widths[0], dtype)
        other = states_for(batch.teacher_ids, WIDTHS[1], widths[1], dtype)
        given |= {"student_states": own, "teacher_states": other}
        heads = own.head, other.head
    seeded(0)
    context = StateContext(*widths, *WIDTHS, *heads, student=batch.student, teacher=batch.teacher)
    if row.state and (state := losses.make_state(name, widths[0], context=context)) is not None:
        given["state"] = state.to(dtype)
    return given


def states_for(ids: Tensor, width: int, vocabulary: int, dtype=torch.float32) -> States:
    """Three layers of hidden states, each a table of the token ids, and a table that is head and embeddings at once."""
    generator = torch.Generator().manual_seed(width)
    tables = torch.randn(4, vocabulary, width, generator=generator, dtype=torch.float64).to(dtype)
    return States(tuple(table[ids] for table in tables[:3]), tables[3], tables[3])


def call(name: str, s: Tensor, t: Tensor, batch: AlignedBatch, **options: Any) -> LossOutput:
    """The loss of a method with everything that it wants."""
    dtype = torch.float64 if s.dtype == torch.float64 else torch.float32
    if methods.get(name).same_tokenizer:
        batch, t = same_sides(batch, t)
    return losses.loss(name, s, t, batch, **extras(name, batch, dtype), **options)


def same_sides(batch: AlignedBatch, t: Tensor) -> tuple[AlignedBatch, Tensor]:
    """The student's side on both sides, and teacher logits [B, Ts, 403] that are a table of the token ids."""
    own = {f"teacher_{part}": getattr(batch, f"student_{part}") for part in ("ids", "labels", "attention")}
    groups = batch.groups[:, [0, 1, 2, 1, 2]]
    generator = torch.Generator().manual_seed(1)
    # sixteenths: every dtype of the tests holds them exactly
    table = (torch.randn(403, 403, generator=generator) * 32).round() / 16
    return replace(batch, **own, groups=groups, teacher=batch.student), table.to(t.dtype)[batch.student_ids]


def check_against_twin(
    name: str, twin: Callable[[Tensor], Tensor], batch: AlignedBatch, s: Tensor, t: Tensor, **options: Any
) -> LossOutput:
    """Value and gradient of a method are those of its slow twin, a function of the student's logits."""
    s = s.detach().clone().requires_grad_()
    z = s.detach().clone().requires_grad_()
    out = losses.loss(name, s, t, batch, **options)
    expected = twin(z)
    torch.testing.assert_close(out.loss, expected, rtol=1e-9, atol=1e-12)
    out.loss.backward()
    expected.backward()
    torch.testing.assert_close(s.grad, z.grad, rtol=1e-7, atol=1e-12)
    return out


def check_gradient(loss: Callable[[Tensor], Tensor], s: Tensor, batch: AlignedBatch) -> None:
    """The gradient of a loss is what finite differences give.

    Some entries of every row that is learnt are moved, along random directions: one entry after another would take
    two losses each.
    """
    base, rows, few = s.detach(), response_rows(batch.student_labels), torch.tensor([0, 5, 17, 40, 111, 402])

    def moved(delta: Tensor) -> Tensor:
        z = base.clone()
        z[rows.sample[:, None], rows.position[:, None] - 1, few] += delta
        return loss(z)

    delta = torch.zeros(len(rows), len(few), dtype=torch.float64, requires_grad=True)
    for seed in range(3):
        seeded(seed)
        assert torch.autograd.gradcheck(moved, (delta,), atol=1e-6, fast_mode=True)


@dataclass(frozen=True)
class Reordered:
    """Samples in two batches: as they came, and in another order with padding on one side."""

    first: AlignedBatch
    logits: tuple[Tensor, Tensor]
    second: AlignedBatch
    moved: tuple[Tensor, Tensor]
    order: tuple[int, ...] = (2, 0, 3, 1)

    def back(self, per_group: Tensor) -> Tensor:
        """Values of the second batch's groups in the order of the first's."""
        places = (self.order.index(b) for b in range(len(self.order)))
        return torch.cat([per_group[self.second.groups[:, 0] == place] for place in places])


def reordered(chosen: list[AlignedSample], pad: str) -> Reordered:
    """Four samples and logits of both models in both batches, float64."""
    order = Reordered.order
    first, second = batch_of(chosen), batch_of([chosen[i] for i in order], pad=pad)
    s, t = logits_for(first, dtype=torch.float64)
    return Reordered(first, (s, t), second, move_logits(first, second, list(order), s, t))
