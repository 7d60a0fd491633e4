"""Masses as differences of running sums, as on other devices than a CPU: what is too small to be told from noise."""

from __future__ import annotations

import itertools

import pytest
import torch

from ctkd_core.losses.batch import align_sample, collate
from ctkd_core.losses.bytes import bytes_loss
from ctkd_core.losses.kernels import byte_sums
from ctkd_core.losses.parts import byte_masses
from ctkd_core.losses.parts.byte_masses import NOISE, Masses, Nodes, add_gradient, add_masses
from ctkd_core.losses.parts.byte_tree import byte_tree
from tests.losses.cases import batch_of, logits_for, pair, samples
from tests.tiny import tiny_byte_level


@pytest.fixture
def elsewhere(monkeypatch):
    """The way of other devices, whose scans add up in another order than one after another."""
    real, random = torch.Tensor.cumsum, torch.Generator().manual_seed(0)

    def scan(self, dim):
        exact = real(self, dim=dim)
        return exact + exact * 2e-16 * torch.randn(exact.shape, generator=random, dtype=exact.dtype)

    monkeypatch.setattr(byte_masses, "_on_cpu", lambda _: False)
    monkeypatch.setattr(torch.Tensor, "cumsum", scan)


def root_of(tree) -> Nodes:
    edges = torch.from_numpy(tree.root.edges)[None]
    return Nodes(torch.tensor([0]), torch.tensor([True]), torch.tensor([0]), edges)


def test_a_difference_of_running_sums_tells_small_masses_from_none(elsewhere):
    tokenizer = tiny_byte_level(400, 3)
    tree = byte_tree(tokenizer, tokenizer.n_ids, frozenset({tokenizer.eos_id}))
    nodes = root_of(tree)
    single = {tokenizer.token_bytes(i): i for i in range(tokenizer.n_ids) if len(tokenizer.token_bytes(i)) == 1}
    p = torch.zeros(1, tokenizer.n_ids, dtype=torch.float64)
    given = {b"a": 0.6, b"z": 0.4, b"m": 1e-9, b"q": 1e-11, b"x": NOISE / 10, b"y": 1e-30}
    for data, value in given.items():
        p[0, single[data]] = value
    found = Masses.zeros(1, "cpu")
    add_masses(p, nodes, tree, found)
    masses = {bytes([c]): float(found.goes_on[0, c]) for c in range(256)}
    for data in (b"a", b"z", b"m", b"q"):
        assert masses[data] == pytest.approx(given[data], rel=1e-3)
    assert {data for data, mass in masses.items() if mass} == {b"a", b"z", b"m", b"q"}, "what is less counts as none"
    assert found.total.item() == pytest.approx(1.0)


def test_sure_models_have_the_same_loss_and_gradient_on_both_ways(monkeypatch, request):
    """Rows that give nearly all to one token: the bytes that they don't expect are not made of noise."""
    batch = batch_of(samples([" cats", " In 2024"]))
    s, t = logits_for(batch, dtype=torch.float64, scale=1.0)
    for logits, ids in ((s.detach(), batch.student_ids), (t, batch.teacher_ids)):
        for b, place in itertools.product(range(len(ids)), range(ids.shape[1] - 1)):
            logits[b, place, ids[b, place + 1]] += 45.0  # e^-45 is 3e-20
    own = bytes_loss(s, t, batch, ce_weight=0.0)
    own.loss.backward()
    expected, s.grad = s.grad, None
    request.getfixturevalue("elsewhere")
    found = bytes_loss(s, t, batch, ce_weight=0.0)
    found.loss.backward()
    torch.testing.assert_close(found.loss, own.loss, atol=1e-9, rtol=0)
    torch.testing.assert_close(s.grad, expected, atol=1e-9, rtol=0)
    assert found.diagnostics["bytes_left_out"] == own.diagnostics["bytes_left_out"] == 0


def test_a_prefix_of_less_than_noise_is_left_out_and_counted(elsewhere):
    student, teacher = pair()
    batch = collate([align_sample("In", "201", student, teacher)], student, teacher)
    s, t = logits_for(batch, dtype=torch.float64, scale=0.1)
    with torch.no_grad():
        for index in range(student.n_ids):
            if student.token_bytes(index)[:1] == b"2":
                s[..., index] -= 40.0  # 4e-18: bytes 2 and 3 of the student's 201 and the end stand behind it
    out = bytes_loss(s, t, batch, ce_weight=0.0)
    out.loss.backward()
    assert out.diagnostics["bytes_left_out"] == 3
    assert torch.isfinite(out.loss) and torch.isfinite(s.grad).all()


def test_what_goes_wrong_in_a_thread_is_not_lost(monkeypatch):
    """Half-filled masses would pass for probabilities."""
    tokenizer = tiny_byte_level(400, 3)
    tree = byte_tree(tokenizer, tokenizer.n_ids, frozenset({tokenizer.eos_id}))
    one = root_of(tree)
    nodes = Nodes(torch.arange(4), one.root.expand(4), one.low.expand(4), one.edges.expand(4, -1).contiguous())

    def broken(*given):
        if given[-1] == len(nodes):  # the last of the threads
            raise MemoryError

    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(byte_masses, "SMALL", 1)
    for name in ("node_sums", "add_slopes"):
        monkeypatch.setattr(byte_sums, name, broken)
    p, masses = torch.rand(4, tokenizer.n_ids), Masses.zeros(4, "cpu")
    with pytest.raises(MemoryError):
        add_masses(p, nodes, tree, masses)
    with pytest.raises(MemoryError):
        add_gradient(p, nodes, tree, masses, torch.zeros_like(p))


def test_slopes_come_back_the_same_way(elsewhere):
    tokenizer = tiny_byte_level(400, 3)
    tree = byte_tree(tokenizer, tokenizer.n_ids, frozenset({tokenizer.eos_id}))
    nodes = root_of(tree)
    p = torch.rand(1, tokenizer.n_ids, dtype=torch.float64)
    slope = Masses(torch.randn(1, 257, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    gradient = torch.zeros_like(p)
    add_gradient(p, nodes, tree, slope, gradient)
    expected = torch.zeros_like(p)
    for index in tree.order.tolist():
        expected[0, index] = p[0, index] * slope.goes_on[0, tree.symbols(index)[0]]
    torch.testing.assert_close(gradient, expected, atol=1e-12, rtol=0)
