"""The three losses against their slow twins, hand-made numbers and what the formulas promise."""

from __future__ import annotations

import math

import pytest
import torch

from ctkd_core import losses
from ctkd_core.errors import LossInputError
from ctkd_core.losses.base import response_rows
from ctkd_core.losses.batch import align_sample, collate
from ctkd_core.losses.kernels.radix import sorted_l1
from ctkd_core.losses.sedi import sedi_loss
from ctkd_core.vocabulary.migration import migration_table
from tests.losses import twins
from tests.losses.cases import TEXTS, batch_of, logits_for, plain_sample, samples
from tests.tiny import tiny_byte_level


def check_against_twin(name, twin, batch, s, t, **options):
    s = s.detach().clone().requires_grad_()
    z = s.detach().clone().requires_grad_()
    out = losses.loss(name, s, t, batch, **options)
    expected = twin(z)
    torch.testing.assert_close(out.loss, expected, rtol=1e-9, atol=1e-12)
    out.loss.backward()
    expected.backward()
    torch.testing.assert_close(s.grad, z.grad, rtol=1e-7, atol=1e-12)
    return out


class TestSft:
    def test_twin(self):
        batch = batch_of(samples())
        s, t = logits_for(batch, dtype=torch.float64)
        out = check_against_twin("sft", lambda z: twins.sft(z, batch), batch, s, t)
        rows = twins.ce_rows(s, batch)
        for value, (b, s0, s1, _, _) in zip(out.per_group, batch.groups.tolist()):
            torch.testing.assert_close(value, sum(rows[b, i] for i in range(s0, s1)).detach())

    def test_uniform_logits_cost_the_logarithm_of_the_vocabulary(self):
        batch = batch_of(samples())
        s, _ = logits_for(batch)
        assert float(losses.loss("sft", torch.zeros_like(s), None, batch).loss) == pytest.approx(math.log(403))


class TestUld:
    @pytest.mark.parametrize("pairing", ["positional", "groups"])
    @pytest.mark.parametrize("widths", [(403, 305), (403, 700)])
    def test_twin(self, pairing, widths):
        batch = batch_of([*samples(), plain_sample([0, 5], [0], 2, 1), plain_sample([9, 8], [7, 6, 5], 0, 1)])
        s, t = logits_for(batch, dtype=torch.float64, widths=widths)
        check_against_twin(
            "uld",
            lambda z: twins.uld(z, t, batch, 0.25, 1.7, pairing),
            batch, s, t, ce_weight=0.25, temperature=1.7, pairing=pairing,
        )  # fmt: skip

    def test_blind_to_identity(self):
        batch = batch_of(samples())
        s, t = logits_for(batch)
        plain = losses.loss("uld", s, t, batch, ce_weight=0.0)
        shuffled = losses.loss("uld", s[..., torch.randperm(403)], t[..., torch.randperm(305)], batch, ce_weight=0.0)
        torch.testing.assert_close(plain.terms["uld"], shuffled.terms["uld"], rtol=1e-6, atol=0)

    def test_equal_shapes_cost_nothing_and_opposite_ones_almost_two(self):
        same = plain_sample([0, 5, 6, 1], [0, 5, 6, 1], 1, 1)
        batch = batch_of([same])
        s, _ = logits_for(batch)
        order = torch.randperm(403)
        assert float(losses.loss("uld", s, s[..., order].detach(), batch).terms["uld"]) == pytest.approx(0, abs=1e-6)
        sharp, flat = torch.zeros_like(s), torch.zeros_like(s)
        sharp[..., 3] = 1000.0
        assert float(losses.loss("uld", sharp, flat, batch).terms["uld"]) == pytest.approx(2 - 2 / 403)

    def test_the_gradient_lowers_the_distance(self):
        batch = batch_of(samples())
        s, t = logits_for(batch)
        t = t * 3
        first = None
        for _ in range(30):
            out = losses.loss("uld", s, t, batch, ce_weight=0.0)
            (gradient,) = torch.autograd.grad(out.loss, s)
            s = (s - 40 * gradient).detach().requires_grad_()
            first = first if first is not None else float(out.loss.detach())
        assert float(out.loss.detach()) < 0.7 * first

    @pytest.mark.parametrize("shape", [(3, 47, 31), (1, 1, 1), (5, 2, 1000), (2, 70_000, 65_537)])
    @pytest.mark.parametrize("threads", [1, 2])
    def test_radix_sort_against_torch(self, shape, threads):
        rows, n, m = shape
        generator = torch.Generator().manual_seed(1)
        p = (torch.randn(rows + 1, n, generator=generator) * 4).softmax(-1)
        q = (torch.randn(rows, m, generator=generator) * 4).softmax(-1)
        p[0, : n // 2] = 0.0  # ties and exact zeros
        p[0] /= p[0].sum()
        index, weight = torch.arange(rows).flip(0), torch.rand(rows, generator=generator)
        gradient = torch.ones(rows + 1, n)
        values = sorted_l1(p.numpy(), q.numpy(), index.numpy(), weight.numpy(), gradient.numpy(), threads)
        for k in range(rows):
            row = p[index[k]].double()
            assert values[k] == pytest.approx(float(twins.sorted_l1(row, q[k].double())), rel=1e-6, abs=1e-9)
        assert torch.equal(gradient[rows], torch.ones(n))  # a row without a pair
        z = p[:rows].double().log().clamp(min=-200).requires_grad_()
        loss = sum(float(weight[k]) * twins.sorted_l1(z[index[k]].softmax(-1), q[k].double()) for k in range(rows))
        loss.backward()
        torch.testing.assert_close(gradient[:rows].double() - 1, z.grad, rtol=1e-3, atol=3e-7)


SEDI_OPTIONS = [
    {},
    {"top_k": 7, "temperature": 1.0},
    {"top_k": 1000, "entropy_weight": 0.3, "ce_weight": 0.2},
    {"strict_prefix": True, "top_k": 50},
    {"detach_target": True},
    {"ce_weight": 1.0},
]


class TestSedi:
    @pytest.mark.parametrize("options", SEDI_OPTIONS)
    @pytest.mark.parametrize("swap", [False, True])
    def test_twin(self, options, swap):
        chosen = batch_of(samples(TEXTS[:2]))
        pair = (chosen.student, chosen.teacher)
        if swap:  # digits one by one on the student's side: groups n-1 and inner rows
            pair = pair[::-1]
            chosen = collate([align_sample("", text, *pair) for text in TEXTS[:2]], *pair)
        s, t = logits_for(chosen, dtype=torch.float64, widths=(403, 405))
        omega = torch.rand(403, dtype=torch.float64, requires_grad=True)
        twin_omega = omega.detach().clone().requires_grad_()
        s2, z = s.detach().clone().requires_grad_(), s.detach().clone().requires_grad_()
        out = sedi_loss(s2, t, chosen, omega=omega, **options)
        expected = twins.sedi(z, t, chosen, twin_omega, **options)
        torch.testing.assert_close(out.loss, expected, rtol=1e-9, atol=1e-12)
        out.loss.backward()
        expected.backward()
        torch.testing.assert_close(s2.grad, z.grad, rtol=1e-7, atol=1e-12)
        torch.testing.assert_close(omega.grad, twin_omega.grad, rtol=1e-7, atol=1e-12)

    def test_equal_models_and_omega_zero_leave_only_the_tail(self):
        # Identical tokenizers and logits, omega 0: the target is the teacher cut to K, so KL = -log(mass of the top K).
        tokenizer = tiny_byte_level(400, 3)
        batch = collate([align_sample("x", TEXTS[0], tokenizer, tokenizer)], tokenizer, tokenizer)
        s, _ = logits_for(batch, dtype=torch.float64, widths=(400, 400))
        with torch.no_grad():
            table = migration_table(tokenizer, tokenizer)
            s[..., [i for i in range(400) if table.whole[i] != [i]]] = -50.0  # special tokens can't be migrated
        out = losses.loss("sedi", s, s.detach(), batch, omega=0.0, temperature=1.0, top_k=30)
        expected = [
            -s[0, i - 1].log_softmax(-1).topk(30).values.exp().sum().log()
            for i in range(1, batch.student_ids.shape[1])
            if batch.student_labels[0, i] != -100
        ]
        torch.testing.assert_close(out.terms["kl"], torch.stack(expected).mean().detach())
        assert out.diagnostics["migration_collision_rate"] == 0
        assert out.diagnostics["migrated_mass"] == pytest.approx(out.diagnostics["top_k_mass"])
        every = losses.loss("sedi", s, s.detach(), batch, omega=0.0, temperature=1.0, top_k=400)
        assert float(every.terms["kl"]) == pytest.approx(0, abs=1e-9)
        assert float(every.terms["entropy"]) == pytest.approx(0, abs=1e-9)

    def test_a_teacher_that_knows_the_text_is_always_right(self):
        batch = batch_of(samples())
        s, t = logits_for(batch)
        for b, i in (batch.teacher_labels != -100).nonzero().tolist():
            t[b, i - 1, batch.teacher_ids[b, i]] = 60.0
        facts = losses.loss("sedi", s, t, batch).diagnostics
        assert facts["target_rows"] == facts["rows"]
        assert facts["top1_accuracy"] == 1.0
        assert facts["top_k_mass"] == pytest.approx(1.0)

    def test_omega_learns_and_the_state_is_used(self):
        batch = batch_of(samples())
        s, t = logits_for(batch)
        state = losses.make_state("sedi", 403)
        out = losses.loss("sedi", s, t, batch, state=state)
        torch.testing.assert_close(out.loss, losses.loss("sedi", s, t, batch, omega=1.0).loss)
        out.loss.backward(retain_graph=True)
        first = state.omega.grad.clone()
        assert (first != 0).sum() > 50
        out.loss.backward()
        torch.testing.assert_close(state.omega.grad, 2 * first)
        with torch.no_grad():
            state.omega -= 0.1 * first.sign()
        assert losses.loss("sedi", s, t, batch, state=state).loss < out.loss

    def test_rows_without_a_group_learn_from_the_data_alone(self):
        batch = batch_of([plain_sample([0, 50, 60, 70], [0, 50, 60, 70], 1, 1, [[1, 2, 1, 2]])])
        s, t = logits_for(batch)
        out = losses.loss("sedi", s, t, batch, ce_weight=0.0)
        out.loss.backward()
        assert out.diagnostics["target_rows"] == 1
        assert (s.grad.abs().sum(-1)[0] > 0).tolist() == [True, False, False, False]

    def test_refusals(self):
        batch = batch_of(samples())
        s, t = logits_for(batch)
        with pytest.raises(LossInputError, match="pass both tokenizers to collate"):
            losses.loss("sedi", s, t, collate(samples()))
        with pytest.raises(LossInputError, match=r"omega must be .* 403 logits; got a tensor of shape \[7\]"):
            sedi_loss(s, t, batch, omega=torch.ones(7))
        twins_of = collate([align_sample("x", " y", batch.student, batch.student)], batch.student, batch.student)
        s, t = logits_for(twins_of, widths=(390, 403))
        with pytest.raises(LossInputError, match=r"has ids up to 399, but its logits are only 390 wide"):
            losses.loss("sedi", s, t, twins_of)


def test_rows_follow_the_labels():
    labels = torch.tensor([[7, 8, -100], [-100, 5, 6]])
    rows = response_rows(labels)
    assert rows.sample.tolist() == [0, 1, 1]
    assert rows.position.tolist() == [1, 1, 2]
    assert rows.target.tolist() == [8, 5, 6]
    assert rows.flat.tolist() == [0, 3, 4]
    assert labels[0, 0] == 7  # untouched


@pytest.mark.parametrize("top_k", [1, 5, 1000])
def test_uld_of_the_largest_probabilities(top_k):
    batch = batch_of(samples())
    s, t = logits_for(batch, dtype=torch.float64)
    out = losses.loss("uld", s, t, batch, ce_weight=0.0, top_k=top_k)
    out.loss.backward()
    z = s.detach().clone().requires_grad_()
    means = []
    for b in range(len(batch)):
        mine, theirs = (
            (x[b] != -100).nonzero().flatten().tolist() for x in (batch.student_labels, batch.teacher_labels)
        )
        values = []
        for i, j in zip(mine, theirs):
            p, q = (
                z[b, i - 1].softmax(-1).sort(descending=True).values,
                t[b, j - 1].softmax(-1).sort(descending=True).values,
            )
            p, q = (torch.nn.functional.pad(x[:top_k], (0, max(0, top_k - len(x)))) for x in (p, q))
            values.append((p - q).abs().sum())
        means.append(twins.average(values))
    expected = twins.average(means)
    expected.backward()
    torch.testing.assert_close(out.loss, expected)
    torch.testing.assert_close(s.grad, z.grad)


def test_uld_released_compares_the_rows_at_the_tokens():
    batch = batch_of([plain_sample([0, 5, 6, 7, 1], [0, 7, 8, 1], 1, 1, [[1, 3, 1, 2], [3, 4, 2, 3], [4, 5, 3, 4]])])
    s, t = logits_for(batch, dtype=torch.float64)
    with torch.no_grad():
        out = losses.loss("uld", s, t, batch, "released", ce_weight=0.0)
        pairs = [
            twins.sorted_l1(s[0, k].softmax(-1), t[0, k].softmax(-1)) for k in (1, 2)
        ]  # EOS left out on both sides
    torch.testing.assert_close(out.loss, twins.average(pairs))
    torch.testing.assert_close(out.per_group, torch.stack([pairs[0] + pairs[1], pairs[1] * 0, pairs[1] * 0]))
