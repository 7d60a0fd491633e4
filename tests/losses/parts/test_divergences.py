"""Divergences over one vocabulary: gradients, chunks, what makes them divergences (facts: golden/test_replay.py)."""

from __future__ import annotations

import pytest
import torch

from ctkd_core.errors import LossInputError
from ctkd_core.losses.parts import divergences
from ctkd_core.losses.parts.divergences import KINDS, FacingRows, divergence, divergence_rule


def rows(n=5, v=47, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    s, t = torch.randn(2, n, v, generator=generator, dtype=torch.float64) * 3
    return s.to(dtype), t.to(dtype)


# The adaptive KL holds its weights constant, which a finite difference would move: it has a twin below.
@pytest.mark.parametrize("kind", [k for k in KINDS if k != "adaptive_kl"])
def test_gradcheck(kind):
    s, t = rows(3, 13)
    s.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: divergence(kind, z, t, temperature=1.7, teacher_temperature=0.8, beta=0.3, skew=0.2), (s,)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_never_negative_and_zero_when_equal(kind):
    s, t = rows(40, 31)
    assert (divergence(kind, s, t) > 0).all()
    assert divergence(kind, s, s).abs().max() < 1e-12
    assert divergence(kind, s, s + 5.0).abs().max() < 1e-12


def adaptive_twin(s, t, tail_mass):
    """Sorted ascending, one row at a time, with autograd; also how much of the mass is head."""
    values = []
    for z, other in zip(s, t):
        p, q = z.softmax(-1), other.softmax(-1)
        order = q.argsort()
        tail = torch.zeros_like(q, dtype=torch.bool)
        tail[order] = q[order].cumsum(0).clamp(max=1.0) <= tail_mass
        gap = (p - q).abs().detach()
        share = gap[~tail].sum() / gap.sum()
        forward, reverse = (q * (q / p).log()).sum(), (p * (p / q).log()).sum()
        values.append(share * forward + (1 - share) * reverse)
    return torch.stack(values)


@pytest.mark.parametrize("tail_mass", [0.0, 0.2, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("scale", [1.0, 0.01])  # the flat rows have a head of hundreds of tokens
def test_adaptive_kl_against_its_twin(tail_mass, scale):
    s, t = rows(6, 700)
    t = t * scale
    z = s.clone().requires_grad_()
    s.requires_grad_()
    value, expected = divergence("adaptive_kl", s, t, tail_mass=tail_mass), adaptive_twin(z, t, tail_mass)
    torch.testing.assert_close(value, expected)
    value.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(s.grad, z.grad)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_tail_of_nothing_is_the_forward_kl_where_the_teacher_is_sure(dtype):
    """The teacher's other tokens hold less than the dtype resolves next to 1, the student's hold most."""
    s, t = torch.tensor([[0.0, 3.0, 1.0]], dtype=dtype), torch.tensor([[40.0, 0.0, -1.0]], dtype=dtype)
    forward = divergence("forward_kl", s, t)
    torch.testing.assert_close(divergence("adaptive_kl", s, t, tail_mass=0.0), forward)


def test_adaptive_kl_lies_between_its_two_parts():
    s, t = rows(50, 31)
    parts = torch.stack([divergence(kind, s, t) for kind in ("forward_kl", "reverse_kl")])
    value = divergence("adaptive_kl", s, t)
    assert (value >= parts.min(dim=0).values - 1e-12).all()
    assert (value <= parts.max(dim=0).values + 1e-12).all()


def test_total_variation_is_half_the_distance_and_at_most_one():
    s, t = rows()
    value = divergence("tvd", s, t, temperature=1.3, teacher_temperature=0.6)
    expected = 0.5 * ((s / 1.3).softmax(-1) - (t / 0.6).softmax(-1)).abs().sum(-1)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(value, divergence("tvd", t, s, temperature=0.6, teacher_temperature=1.3))
    apart = torch.tensor([[100.0, 0.0]])
    assert float(divergence("tvd", apart, apart.flip(1))) == pytest.approx(1.0)


def test_swapping_sides():
    s, t = rows()
    torch.testing.assert_close(divergence("forward_kl", s, t), divergence("reverse_kl", t, s))
    torch.testing.assert_close(divergence("jsd", s, t, beta=0.3), divergence("jsd", t, s, beta=0.7))
    torch.testing.assert_close(divergence("jsd", s, t, beta=0), divergence("forward_kl", s, t))
    torch.testing.assert_close(divergence("jsd", s, t, beta=1), divergence("reverse_kl", s, t))


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_and_half_precision(kind):
    s, t = rows(7, 131, torch.bfloat16)
    weights = torch.linspace(0.5, 2, 7)
    results = []
    for chunk_rows, dtype in ((None, torch.bfloat16), (2, torch.bfloat16), (None, torch.float64)):
        z = s.to(dtype, copy=True).requires_grad_()
        value = divergence(kind, z, t.to(dtype), chunk_rows=chunk_rows)
        (value * weights).sum().backward()
        assert z.grad.dtype == dtype
        results.append((value.detach().double(), z.grad.double()))
    torch.testing.assert_close(results[0], results[1])
    torch.testing.assert_close(results[0][0], results[2][0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(results[0][1], results[2][1], rtol=2**-7, atol=1e-4)


def test_tokens_without_probability():
    s, t = rows(2, 9)
    t[0, 3] = -float("inf")
    assert torch.isfinite(divergence("forward_kl", s, t)).all()
    assert torch.isfinite(divergence("jsd", s, t)).all()
    assert torch.isfinite(divergence("tvd", s, t)).all()
    assert divergence("reverse_kl", s, t).isinf().tolist() == [True, False]


def test_refusals():
    s, t = rows()
    with pytest.raises(LossInputError, match="did you mean 'reverse_kl'"):
        divergence("revers_kl", s, t)
    with pytest.raises(LossInputError, match=r"\[5, 47\] and \[5, 46\]"):
        divergence("jsd", s, t[:, 1:])
    with pytest.raises(LossInputError, match=r"tail_mass must lie between 0 and 1; got -0\.1"):
        divergence("adaptive_kl", s, t, tail_mass=-0.1)
    with pytest.raises(LossInputError, match=r"beta must lie between 0 and 1; got 1\.5"):
        divergence("jsd", s, t, beta=1.5)


def test_rows_are_read_in_their_place_only_where_kernels_compare_all_of_them(monkeypatch):
    """They know neither a teacher's largest columns nor the adaptive KL; a GPU takes the other way then."""
    monkeypatch.setattr(divergences, "readable", lambda *logits: True)
    facing, teacher = torch.arange(2), torch.zeros(2, 9)
    needs = [
        FacingRows(divergence_rule(kind), teacher, facing, (1.0, 1.0), 9, top_k).scratch
        for kind, top_k in (("forward_kl", 0), ("forward_kl", 5), ("adaptive_kl", 0))
    ]
    assert needs == [0, None, None]
