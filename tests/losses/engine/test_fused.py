"""Fused output heads: the same numbers as with logits, for every loss that takes them; memory; refusals."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ctkd_core import losses, methods
from ctkd_core.errors import LossInputError
from ctkd_core.losses.engine.fused import HeadLogits
from tests.losses.cases import METHODS, batch_of, call, extras, plain_sample, same_sides, samples

WIDTH = 8
FUSING = ("sft", "kd", "uld", "sedi", "gold", "alm", "xtoken-pkl", "xtoken-hkl", "multilevel_ot", "mined", "cdm")
WHOLE_TEACHER = {"xtoken-pkl"}  # looks for the teacher's best columns over all positions first


def heads(batch, dtype=torch.float64):
    """Hidden states and head of student and teacher; the first two learn."""
    generator = torch.Generator().manual_seed(3)
    sizes = [(*batch.student_ids.shape, WIDTH), (403, WIDTH), (*batch.teacher_ids.shape, WIDTH), (305, WIDTH)]
    s, head, t, other = (torch.randn(*x, generator=generator, dtype=torch.float64).to(dtype) for x in sizes)
    return s.requires_grad_(), head.requires_grad_(), t, other


def results(name, fused, dtype=torch.float64, **options):
    batch = batch_of(samples())
    hidden, head, t, other = heads(batch, dtype)
    make = HeadLogits if fused else torch.nn.functional.linear
    teacher = (torch.nn.functional.linear if name in WHOLE_TEACHER else make)(t, other)
    if methods.get(name).same_tokenizer:
        batch, _ = same_sides(batch, t)
        teacher = make(hidden.detach().flip(-1), head.detach())
    out = losses.loss(name, make(hidden, head), teacher, batch, **extras(name, batch, dtype), **options)
    out.loss.backward()
    return out, hidden.grad, head.grad


@pytest.mark.parametrize("name", FUSING)
@pytest.mark.parametrize("chunk_rows", [None, 3])
def test_every_loss_of_the_engine_gives_the_same_numbers(name, chunk_rows):
    plain, g_hidden, g_head = results(name, False)
    fused, f_hidden, f_head = results(name, True, chunk_rows=chunk_rows)
    torch.testing.assert_close(fused.loss, plain.loss, rtol=1e-10, atol=0)
    torch.testing.assert_close(fused.per_group, plain.per_group, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(f_hidden, g_hidden, rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(f_head, g_head, rtol=1e-8, atol=1e-12)
    assert fused.terms.keys() == plain.terms.keys()


@pytest.mark.parametrize("name", sorted(set(METHODS) - set(FUSING)))
def test_the_others_agree_or_say_that_they_do_not_fuse(name):
    try:
        fused, hidden, _ = results(name, True)
    except LossInputError as refusal:
        assert "outside the engine" in str(refusal)
    else:
        plain, expected, _ = results(name, False)
        torch.testing.assert_close(fused.loss, plain.loss)
        torch.testing.assert_close(hidden, expected)


@pytest.mark.parametrize("name", ["sft", "uld"])
def test_bfloat16(name):
    plain, g_hidden, g_head = results(name, False, torch.bfloat16)
    fused, f_hidden, f_head = results(name, True, torch.bfloat16, chunk_rows=5)
    assert (fused.loss.dtype, f_hidden.dtype, f_head.dtype) == (torch.float32, torch.bfloat16, torch.bfloat16)
    torch.testing.assert_close(fused.loss, plain.loss, rtol=1e-3, atol=0)
    torch.testing.assert_close(f_hidden, g_hidden, rtol=2e-2, atol=2e-4)
    torch.testing.assert_close(f_head, g_head, rtol=2e-2, atol=2e-4)


@pytest.mark.parametrize("name", ["sft", "kd"])
def test_gradcheck(name):
    batch = batch_of([plain_sample([0, 5, 6, 1], [0, 5, 6, 1], 1, 1)])
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(1, 4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    head = torch.randn(400, 3, generator=generator, dtype=torch.float64)
    few = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)

    def loss(h, delta):
        moved = torch.cat([head[:3] + delta, head[3:]])
        batch_, t = same_sides(batch, torch.zeros((), dtype=torch.float64))
        return losses.loss(name, HeadLogits(h, moved), t, batch_).loss

    assert torch.autograd.gradcheck(loss, (hidden, few))


def test_only_one_of_them_learns():
    batch = batch_of(samples())
    hidden, head, *_ = heads(batch)
    losses.loss("sft", HeadLogits(hidden, head.detach()), None, batch).loss.backward()
    assert head.grad is None
    alone = hidden.grad.clone()
    hidden.grad = None
    losses.loss("sft", HeadLogits(hidden.detach(), head), None, batch).loss.backward()
    assert hidden.grad is None
    assert head.grad.abs().max() > 0
    losses.loss("sft", HeadLogits(hidden, head), None, batch).loss.backward()
    torch.testing.assert_close(hidden.grad, alone)


def test_backward_scales_and_can_be_repeated():
    batch = batch_of(samples())
    hidden, head, *_ = heads(batch)
    losses.loss("sft", HeadLogits(hidden, head), None, batch).loss.backward()
    once, hidden.grad = hidden.grad, None
    loss = losses.loss("sft", HeadLogits(hidden, head), None, batch).loss * 0.25
    loss.backward(retain_graph=True)
    torch.testing.assert_close(hidden.grad, once * 0.25)
    loss.backward()
    torch.testing.assert_close(hidden.grad, once * 0.5)


class Largest(TorchDispatchMode):
    """Remembers the largest number of elements that any operation returned."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return out


@pytest.mark.parametrize("name", ["sft", "kd"])
def test_no_tensor_grows_with_positions_times_vocabulary(name):
    largest = []
    for positions in (200, 800):
        ids = list(range(3, 203)) * (positions // 200)
        batch = batch_of([plain_sample(ids, ids, 1, 1)])
        generator = torch.Generator().manual_seed(0)
        hidden = torch.randn(1, positions, WIDTH, generator=generator, requires_grad=True)
        head = torch.randn(2003, WIDTH, generator=generator, requires_grad=True)
        batch, _ = same_sides(batch, hidden)
        with Largest() as seen:
            student, teacher = HeadLogits(hidden, head), HeadLogits(hidden.detach() * 2, head.detach())
            losses.loss(name, student, teacher, batch, chunk_rows=16).loss.backward()
        largest.append(seen.elements)
    assert max(largest) <= 16 * 2003
    assert hidden.grad.abs().max() > 0


def test_refusals():
    batch = batch_of(samples())
    hidden, head, t, other = heads(batch, torch.float32)
    with pytest.raises(LossInputError, match=r"hidden states \[\.\.\., d\] and an output head"):
        HeadLogits(hidden, head.t())
    with pytest.raises(LossInputError, match="not shifted"):
        losses.loss("sft", HeadLogits(hidden[:, 1:], head), None, batch)
    with pytest.raises(LossInputError, match="outside the engine"):
        call("cot2align", HeadLogits(hidden, head), torch.nn.functional.linear(t, other), batch)
    with pytest.raises(LossInputError, match="outside the engine"):
        call("xtoken-pkl", torch.nn.functional.linear(hidden, head), HeadLogits(t, other), batch)
