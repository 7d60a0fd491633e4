"""ULD against its slow twin, hand-made numbers and what its formula promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ctkd_core import losses
from ctkd_core.losses.kernels import radix, rank_signs
from ctkd_core.losses.kernels import sorted_l1 as kernel
from ctkd_core.losses.kernels.sorted_l1 import sorted_l1
from ctkd_core.losses.parts.unnormalised import sorted_gap
from tests.losses import twins
from tests.losses.cases import batch_of, check_against_twin, logits_for, plain_sample, samples


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
    def test_sorted_l1_against_torch(self, shape, threads, monkeypatch):
        rows, n, m = shape
        monkeypatch.setattr(kernel, "SMALL", 1)  # as many threads as asked for, however little there is to do
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
        signs = np.zeros((rows, n), dtype=np.float32)
        again = kernel.sorted_gaps(p[index].numpy(), q.numpy(), signs, threads)
        np.testing.assert_allclose(again, values, rtol=1e-6)
        gap, order = sorted_gap(p[index], q)
        expected = torch.zeros(n).scatter_(0, order[0], gap[0, :n].sign())
        np.testing.assert_array_equal(signs[0] * (p[index[0]].numpy() > 0), expected * (p[index[0]] > 0))
        z = p[:rows].double().log().clamp(min=-200).requires_grad_()
        loss = sum(float(weight[k]) * twins.sorted_l1(z[index[k]].softmax(-1), q[k].double()) for k in range(rows))
        loss.backward()
        torch.testing.assert_close(gradient[:rows].double() - 1, z.grad, rtol=1e-3, atol=3e-7)

    @pytest.mark.parametrize("limit", [1, 100, 7000, 10**6])
    @pytest.mark.parametrize("kind", ["apart", "rounded", "near", "zeros", "wider"])
    def test_counted_ranks_are_those_of_a_sort(self, kind, limit):
        generator = torch.Generator().manual_seed(2)
        z, w = torch.randn(3, 9000, generator=generator) * 3, torch.randn(3, 12_000, generator=generator) * 4
        if kind == "rounded":  # many ties, as of bfloat16 logits
            z, w = z.bfloat16().float(), w.bfloat16().float()
        elif kind == "near":  # one bucket holds the same ranks of both sides, again and again
            w = z + 0.1 * torch.randn(z.shape, generator=generator)
        elif kind == "zeros":
            z[:, 500:], w[1:, 300:] = -torch.inf, -torch.inf
        elif kind == "wider":
            z, w = w, z
        p, q = z.softmax(-1).numpy(), w.softmax(-1).numpy()
        counting, sorting = (m.scratch(p.shape[1], q.shape[1]) for m in (rank_signs, radix))
        for a, b in zip(p, q):
            found, expected = np.full((2, len(a)), 7, dtype=np.float32)
            value, inner = rank_signs.rank_signs(a, b, limit, found, counting)
            if value < 0:
                assert kind == "near"
                assert limit > 1000
                continue
            other, other_inner = radix.sorted_signs(a, b, limit, expected, sorting)
            assert value == pytest.approx(other, rel=1e-12)
            assert inner == pytest.approx(other_inner, rel=1e-12)
            np.testing.assert_array_equal(found[a > 0], expected[a > 0])
            assert set(found[a == 0]) <= {0}

    def test_rows_that_nearly_agree_are_sorted(self):
        generator = torch.Generator().manual_seed(3)
        p = (torch.randn(2, 20_000, generator=generator) * 3).softmax(-1).numpy()
        q = p[:, ::-1].copy()
        q[1, :3] += 0.25
        assert (
            rank_signs.rank_signs(p[0], q[0], 20_000, np.empty(20_000, np.float32), rank_signs.scratch(20_000, 20_000))[
                0
            ]
            < 0
        )
        np.testing.assert_allclose(kernel.sorted_gaps(p, q, np.empty_like(p)), [0, 0.75], atol=1e-3)

    def test_no_number_stays_none(self):
        p = np.full((1, 20_000), 1 / 20_000, dtype=np.float32)
        q = p.copy()
        q[0, 7] = np.nan
        assert np.isnan(kernel.sorted_gaps(p, q, np.empty_like(p)))
        assert np.isnan(kernel.sorted_gaps(q, p * 2, np.empty_like(p)))


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
