"""What every loss must do: gradients, chunks, padding, order, empty input, refusals."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
import torch

from ctkd_core import losses, methods
from ctkd_core.errors import LossInputError
from ctkd_core.losses.base import per_group, response_rows
from ctkd_core.losses.batch import align_sample
from tests.losses.cases import (
    METHODS,
    TEXTS,
    batch_of,
    call,
    check_gradient,
    extras,
    logits_for,
    move_logits,
    pair,
    plain_sample,
    same_sides,
    samples,
)


def gradient_of(name, s, t, batch, **options):
    s = s.detach().clone().requires_grad_()
    out = call(name, s, t, batch, **options)
    out.loss.backward()
    return out, s.grad


@pytest.mark.parametrize("name", METHODS)
def test_the_cases_give_a_loss_all_that_it_must_have(name):
    taken = inspect.signature(methods.load(methods.get(name).loss or "")).parameters.values()
    must = {p.name for p in taken if p.default is p.empty}
    assert must <= {"student_logits", "teacher_logits", "batch"}, "tests/losses/cases.py: `extras` lacks what it takes"


@pytest.mark.parametrize("name", METHODS)
def test_gradcheck(name):
    batch = batch_of(samples([" 1234", " é"]))
    s, t = logits_for(batch, dtype=torch.float64)
    # the scale of the distillation is a constant of the step, which a finite difference would move
    options = {"scaling": "fixed"} if name.startswith("xtoken") else {}
    check_gradient(lambda z: call(name, z, t, batch, **options).loss, s, batch)


@cache
def in_one_chunk(name):
    """Batch, logits of both models, the loss and its gradient; nothing changes them."""
    batch = batch_of(samples())
    s, t = logits_for(batch)
    return batch, s, t, *gradient_of(name, s, t, batch)


@pytest.mark.parametrize("name", METHODS)
def test_a_function_called_without_options_is_its_method(name):
    batch, s, t, of_the_table, _ = in_one_chunk(name)
    if methods.get(name).same_tokenizer:
        batch, t = same_sides(batch, t)
    called = methods.load(methods.get(name).loss or "")(s, t, batch, **extras(name, batch))
    torch.testing.assert_close(called.loss.detach(), of_the_table.loss.detach())
    torch.testing.assert_close(called.terms, of_the_table.terms)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("chunk_rows", [1, 3, 1000])
def test_chunks_change_nothing(name, chunk_rows):
    batch, s, t, whole, g_whole = in_one_chunk(name)
    parts, g_parts = gradient_of(name, s, t, batch, chunk_rows=chunk_rows)
    torch.testing.assert_close(whole.loss, parts.loss, rtol=1e-6, atol=0)
    torch.testing.assert_close(g_whole, g_parts, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(whole.per_group, parts.per_group, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("pad", ["right", "left"])
def test_padding_and_order_change_nothing(name, pad):
    chosen = samples()
    first, s, t, out, _ = in_one_chunk(name)
    order = [2, 0, 3, 1]
    longer = samples([" a much longer text than all the others: " + TEXTS[0] * 3])
    second = batch_of([chosen[i] for i in order] + longer, pad=pad)
    # The long sample widens the padding; without labels and groups it must not matter.
    for labels in (second.student_labels, second.teacher_labels):
        labels[-1] = -100
    second = dataclasses.replace(second, groups=second.groups[second.groups[:, 0] != len(order)])
    s2, t2 = _moved(first, second, order, s, t)
    again, gradient = gradient_of(name, s2, t2, second)
    torch.testing.assert_close(again.loss, out.loss, rtol=1e-5, atol=1e-7)
    assert gradient[second.student_attention == 0].abs().max() == 0
    for place, source in enumerate(order):
        mine = again.per_group[second.groups[:, 0] == place]
        torch.testing.assert_close(mine, out.per_group[first.groups[:, 0] == source], rtol=1e-4, atol=1e-5)


def _moved(first, second, order, s, t):
    masks = [second.student_attention.clone(), second.teacher_attention.clone()]
    for mask in masks:
        mask[-1] = 0
    trimmed = dataclasses.replace(second, student_attention=masks[0], teacher_attention=masks[1])
    short = [x[: len(order)] for x in (trimmed.student_attention, trimmed.teacher_attention)]
    small = dataclasses.replace(second, student_attention=short[0], teacher_attention=short[1])
    moved = move_logits(first, small, order, s, t)
    return tuple(torch.cat([m.detach(), torch.randn(1, *m.shape[1:])]) for m in moved)


@pytest.mark.parametrize("name", METHODS)
def test_only_response_rows_learn(name):
    batch, _, _, _, gradient = in_one_chunk(name)
    rows = response_rows(batch.student_labels)
    touched = torch.zeros(batch.student_ids.shape, dtype=torch.bool)
    touched[rows.sample, rows.position - 1] = True
    assert (gradient.abs().sum(-1)[touched] > 0).all()
    assert gradient[~touched].abs().max() == 0
    # The loss of a soft-max doesn't change when all logits of a row move together.
    torch.testing.assert_close(gradient.sum(-1), torch.zeros(gradient.shape[:2]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(name, dtype):
    batch = batch_of(samples())
    s, t = logits_for(batch, dtype=dtype)
    half, gradient = gradient_of(name, s, t, batch)
    exact, g_exact = gradient_of(name, s.float(), t.float(), batch)
    assert half.loss.dtype == torch.float32
    assert gradient.dtype == dtype
    torch.testing.assert_close(half.loss, exact.loss, rtol=1e-6, atol=0)  # the same numbers in: the same loss
    torch.testing.assert_close(gradient.float(), g_exact, rtol=2**-7, atol=1e-6)  # rounded once, at the end


@pytest.mark.parametrize("name", METHODS)
def test_nothing_to_learn_is_zero_with_a_gradient_path(name):
    batch = batch_of([plain_sample([0, 5, 6], [0, 7], 3, 2), plain_sample([0], [0, 7, 8], 1, 3)])
    s, t = logits_for(batch)
    out, gradient = gradient_of(name, s, t, batch)
    assert out.loss == 0
    assert out.per_group.shape == (0,)
    assert gradient.shape == s.shape
    assert gradient.abs().max() == 0


@pytest.mark.parametrize(
    ("name", "variant"), [(name, variant) for name in METHODS for variant in methods.get(name).variants]
)
def test_without_groups_the_data_is_learnt(name, variant):
    sample = align_sample("12345678 9999", " cat", *pair(), "sedi", max_length=13)
    assert len(sample.groups) == 0
    assert sample.n_learnt > 0
    batch = batch_of([sample])
    s, t = logits_for(batch)
    out, gradient = gradient_of(name, s, t, batch, variant=variant)
    assert torch.isfinite(out.loss)
    if name != "kd":  # it pairs rows by itself
        assert out.per_group.shape == (0,)
    assert gradient.abs().max() > 0


@pytest.mark.parametrize(
    ("name", "options"),
    [*((name, {}) for name in METHODS if not methods.get(name).same_tokenizer), ("uld", {"pairing": "groups"})],
)
def test_groups_with_an_empty_side_say_nothing(name, options):
    batch = batch_of(samples(TEXTS[:2]))
    s, t = logits_for(batch)
    expected, gradient = gradient_of(name, s, t, batch, **options)
    _, s0, s1, t0, t1 = batch.groups[3].tolist()
    alone = torch.tensor([[0, s0, s1, t1, t1], [0, s1, s1, t0, t1]])
    more = dataclasses.replace(batch, groups=torch.cat([batch.groups[:4], alone, batch.groups[4:]]))
    out, own = gradient_of(name, s, t, more, **options)
    torch.testing.assert_close(out.loss, expected.loss)
    torch.testing.assert_close(own, gradient)
    torch.testing.assert_close(torch.cat([out.per_group[:4], out.per_group[6:]]), expected.per_group)


@pytest.mark.parametrize("name", ["mined", "sedi"])
def test_ids_that_the_head_alone_has(name):
    batch = batch_of(samples(TEXTS[:2]))
    s, t = logits_for(batch)
    for side, token in (("student", 402), ("teacher", 304)):
        ids, labels = (getattr(batch, f"{side}_{part}").clone() for part in ("ids", "labels"))
        ids[0, ::3] = token
        labels[0, ::3] = torch.where(labels[0, ::3] != -100, token, -100)
        batch = dataclasses.replace(batch, **{f"{side}_ids": ids, f"{side}_labels": labels})
    out, gradient = gradient_of(name, s, t, batch)
    assert torch.isfinite(out.loss) and gradient.abs().sum() > 0


@pytest.mark.parametrize("name", METHODS)
def test_one_token_responses_and_a_sample_without_response(name):
    batch = batch_of([plain_sample([0, 5, 1], [0, 7, 1], 2, 2, [[2, 3, 2, 3]]), plain_sample([0, 5], [0], 2, 1)])
    s, t = logits_for(batch)
    out, gradient = gradient_of(name, s, t, batch)
    assert out.loss > 0
    assert out.per_group.shape == (1,)
    torch.testing.assert_close(out.per_group[0], out.loss, rtol=1e-5, atol=0)  # one row: its value is the loss
    assert (gradient.abs().sum(-1) > 0).nonzero().tolist() == [[0, 1]]


@pytest.mark.parametrize("name", METHODS)
def test_a_response_at_position_zero_loses_its_first_token(name):
    batch = batch_of([plain_sample([50, 60, 1], [50, 60, 1], 0, 0, [[0, 1, 0, 1], [1, 2, 1, 2], [2, 3, 2, 3]])])
    s, t = logits_for(batch)
    out, gradient = gradient_of(name, s, t, batch)
    assert out.per_group[0] == 0
    assert (out.per_group[1:] > 0).all()
    assert (gradient[0, -1] == 0).all()


@pytest.mark.parametrize("name", METHODS)
def test_no_gradient_is_computed_without_need(name):
    batch = batch_of(samples())
    s, t = logits_for(batch)
    with torch.no_grad():
        out = call(name, s, t, batch)
    assert not out.loss.requires_grad
    torch.testing.assert_close(out.loss, call(name, s, t, batch).loss.detach())


@pytest.mark.parametrize("name", METHODS)
def test_backward_scales_and_can_be_repeated(name):
    batch = batch_of(samples())
    s, t = logits_for(batch)
    _, once = gradient_of(name, s, t, batch)
    z = s.detach().clone().requires_grad_()
    loss = call(name, z, t, batch).loss * 0.25
    loss.backward(retain_graph=True)
    torch.testing.assert_close(z.grad, once * 0.25)
    loss.backward()
    torch.testing.assert_close(z.grad, once * 0.5)


@pytest.mark.parametrize("name", METHODS)
def test_logits_that_are_not_contiguous(name):
    batch = batch_of(samples())
    s, t = logits_for(batch)
    expected, gradient = gradient_of(name, s, t, batch)
    wide = torch.cat([s.detach(), torch.zeros(*s.shape[:2], 9)], dim=-1).requires_grad_()
    out = call(name, wide[..., : s.shape[-1]], t.transpose(0, 1).contiguous().transpose(0, 1), batch)
    out.loss.backward()
    torch.testing.assert_close(out.loss, expected.loss, rtol=1e-6, atol=0)
    torch.testing.assert_close(wide.grad[..., : s.shape[-1]], gradient)


@pytest.mark.parametrize("name", METHODS)
def test_parts_of_an_accumulated_batch_add_up_by_their_tokens(name):
    """Of several parts each weighs as its learnt tokens do, in value, terms and gradient."""
    batch = batch_of(samples([" 1234 cats", " é"]))
    s, t = logits_for(batch, dtype=torch.float64)
    alone, gradient = gradient_of(name, s, t, batch)
    own = len(response_rows(batch.student_labels))
    for items in (own, 3 * own, torch.tensor(3 * own)):
        out, shared = gradient_of(name, s, t, batch, num_items_in_batch=items)
        share = own / float(items)
        torch.testing.assert_close(out.loss, alone.loss * share)
        torch.testing.assert_close(shared, gradient * share)
        torch.testing.assert_close(out.per_group, alone.per_group)  # not averaged in any case
        torch.testing.assert_close(out.terms["ce"], alone.terms["ce"] * share)
    same, _ = gradient_of(name, s, t, batch, num_items_in_batch=None)
    torch.testing.assert_close(same.loss, alone.loss)
    with pytest.raises(LossInputError, match="number of tokens"):
        call(name, s, t, batch, num_items_in_batch=-1)


@pytest.mark.parametrize("name", ["gold", "uld"])
def test_the_released_loss_of_trl_keeps_its_mean(name):
    batch = batch_of(samples([" 1234 cats", " é"]))
    s, t = logits_for(batch, dtype=torch.float64)
    losses_found = [call(name, s, t, batch, variant="released", num_items_in_batch=n).loss for n in (None, 1000)]
    torch.testing.assert_close(*losses_found)


def test_terms_mix_to_the_loss():
    batch = batch_of(samples())
    s, t = logits_for(batch)
    out = losses.loss("uld", s, t, batch, ce_weight=0.3)
    torch.testing.assert_close(out.loss.detach(), 0.3 * out.terms["ce"] + 0.7 * out.terms["uld"])
    out = losses.loss("sedi", s, t, batch, ce_weight=0.3, entropy_weight=2.0)
    terms = out.terms
    torch.testing.assert_close(out.loss.detach(), 0.3 * terms["ce"] + 0.7 * (terms["kl"] + 2 * terms["entropy"]))
    assert not any(term.requires_grad for term in terms.values())


def test_values_per_group_add_up_over_student_tokens():
    batch = batch_of([plain_sample(range(1, 9), range(1, 5), 2, 1, [[2, 4, 1, 2], [4, 5, 2, 3], [5, 8, 3, 4]])])
    rows = response_rows(batch.student_labels)
    values = torch.arange(1.0, 7.0, dtype=torch.float64)  # positions 2..7
    assert per_group(values, rows, batch.groups).tolist() == [3.0, 3.0, 15.0]


def _own(s, batch):
    """Student logits, NaN for a teacher of the same tokenizer, and the batch of both."""
    both, t = same_sides(batch, s)
    return s, torch.full_like(t, float("nan")), both


class TestRefusals:
    def setup_method(self):
        self.batch = batch_of(samples())
        self.s, self.t = logits_for(self.batch)

    @pytest.mark.parametrize("name", METHODS)
    def test_vocabulary_too_narrow(self, name):
        largest = int(self.batch.student_ids.max())
        with pytest.raises(LossInputError, match=f"student token id {largest}, .* are only 9 wide"):
            call(name, self.s[..., :9], self.t, self.batch)

    def test_teacher_vocabulary_too_narrow(self):
        with pytest.raises(LossInputError, match=r"teacher token id .* only 9 wide"):
            losses.loss("uld", self.s, self.t[..., :9], self.batch)

    @pytest.mark.parametrize("name", METHODS)
    @pytest.mark.parametrize("poison", [float("nan"), float("inf")])
    def test_student_rows_that_are_not_finite(self, name, poison):
        rows = response_rows(self.batch.student_labels)
        self.s.data[rows.sample[3], rows.position[3] - 1, 7] = poison
        with pytest.raises(LossInputError, match=f"first in sample {rows.sample[3]} at position {rows.position[3]}"):
            call(name, self.s, self.t, self.batch)

    @pytest.mark.parametrize(
        ("name", "variant"),
        [(name, variant) for name in METHODS if name != "sft" for variant in methods.get(name).variants],
    )
    def test_teacher_rows_that_are_not_finite(self, name, variant):
        if methods.get(name).same_tokenizer:
            with pytest.raises(LossInputError, match="NaN"):
                losses.loss(name, *_own(self.s, self.batch))
            return
        self.t[...] = float("nan")
        with pytest.raises(LossInputError, match="NaN"):
            call(name, self.s, self.t, self.batch, variant=variant)

    @pytest.mark.parametrize("name", METHODS)
    def test_nan_outside_the_response_is_ignored(self, name):
        self.s.data[:, 0] = float("nan")
        self.s.data[self.batch.student_attention == 0] = float("nan")
        assert torch.isfinite(call(name, self.s, self.t, self.batch).loss)

    def test_shape_dtype_and_missing_teacher(self):
        with pytest.raises(LossInputError, match=r"must be a tensor \[batch, positions, vocabulary\]"):
            losses.loss("sft", self.s[0], None, self.batch)
        with pytest.raises(LossInputError, match="not shifted"):
            losses.loss("sft", self.s[:, :-1], None, self.batch)
        with pytest.raises(LossInputError, match="floating point"):
            losses.loss("sft", self.s.detach().long(), None, self.batch)
        with pytest.raises(LossInputError, match="needs the teacher's logits"):
            losses.loss("uld", self.s, None, self.batch)

    def test_unknown_names(self):
        with pytest.raises(LossInputError, match="did you mean 'sedi'"):
            losses.loss("sedy", self.s, self.t, self.batch)
        with pytest.raises(LossInputError, match="has no loss; choose one of sft, kd, uld, "):
            losses.loss("gold-greedy", self.s, self.t, self.batch)
        with pytest.raises(LossInputError, match="did you mean 'temperature'"):
            losses.loss("uld", self.s, self.t, self.batch, temperatur=2.0)
        with pytest.raises(LossInputError, match="variant"):
            losses.loss("sedi", self.s, self.t, self.batch, variant="released")

    def test_masked_vocabulary_is_no_fault(self):
        used = set(self.batch.student_ids.flatten().tolist())
        banned = next(i for i in range(350, 400) if i not in used)
        self.s.data[..., banned] = -float("inf")
        self.t[..., 299] = -float("inf")
        for name in ("sft", "uld"):
            assert torch.isfinite(call(name, self.s, self.t, self.batch).loss)


def test_importing_and_aligning_loads_no_torch():
    code = (
        "import sys, ctkd_core.losses, ctkd_core.losses.batch as b\n"
        "from tests.tiny import tiny_byte_level as tiny\n"
        "sample = b.align_sample('x', ' y', tiny(400, 3), tiny(300, 1))\n"
        "assert len(sample.groups) >= 2\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_state_only_for_methods_that_have_one():
    assert losses.make_state("uld", 400) is None
    state = losses.make_state("sedi", 400, omega=0.5)
    assert [tuple(p.shape) for p in state.parameters()] == [(400,)]
    assert np.allclose(state.omega.detach().numpy(), 0.5)
    assert pair()[0].n_ids == 400
