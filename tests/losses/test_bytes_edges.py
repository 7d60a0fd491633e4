"""Bytes where a side has no text to speak of: unknown tokens, and masses too small for differences of running sums."""

from __future__ import annotations

import itertools
import json

import pytest
import torch
from tokenizers import Tokenizer as Backend

from ctkd_core.losses.batch import align_sample, collate
from ctkd_core.losses.bytes import bytes_loss, placed
from ctkd_core.losses.parts import byte_masses
from ctkd_core.losses.parts.byte_masses import NOISE, Masses, Nodes, add_gradient, add_masses
from ctkd_core.losses.parts.byte_tree import NO_SYMBOL, byte_tree
from ctkd_core.tokenizers.tokenizer import Tokenizer
from tests.losses.cases import batch_of, logits_for, pair, samples
from tests.losses.test_bytes import oracle_loss
from tests.tiny import tiny_byte_level, tiny_wordpiece

TEXT = " the cats 日本 are"  # 日 and 本 are unknown to the WordPiece tokenizer
SPELT = len("the") + len("cats") + len("are") + 1  # bytes that both spell, and the end of the answer


def undeclared_wordpiece() -> Tokenizer:
    """The same tokenizer, whose file doesn't say that its unknown token is special."""
    document = json.loads(tiny_wordpiece().backend.to_str())
    document["added_tokens"] = [token for token in document["added_tokens"] if token["content"] != "[UNK]"]
    return Tokenizer.from_backend(Backend.from_str(json.dumps(document)), "tiny-undeclared", source="tests")


def batch_with(student: Tokenizer, teacher: Tokenizer, text: str = TEXT):
    batch = collate([align_sample("the", text, student, teacher)], student, teacher)
    widths = student.n_ids + 3, teacher.n_ids + 2
    return batch, *logits_for(batch, dtype=torch.float64, widths=widths)


@pytest.mark.parametrize("tokenizer", [tiny_wordpiece(), undeclared_wordpiece()], ids=["special", "undeclared"])
def test_an_unknown_token_spells_nothing(tokenizer):
    unknown = tokenizer.unk_id
    assert unknown is not None and tokenizer.all_token_bytes()[unknown] == b"[UNK]"
    tree = byte_tree(tokenizer, tokenizer.n_ids + 3, frozenset({tokenizer.eos_id}))
    assert tree.symbols(unknown) == () and unknown not in tree.order.tolist()
    assert tree.first[unknown] == NO_SYMBOL


@pytest.mark.parametrize("tokenizer", [tiny_wordpiece(), undeclared_wordpiece()], ids=["special", "undeclared"])
def test_what_one_side_cannot_spell_is_passed_over_and_the_rest_is_compared(tokenizer):
    other = tiny_wordpiece()
    batch, s, t = batch_with(tokenizer, other)
    unknown = tokenizer.unk_id
    assert batch.student_ids[0].tolist().count(unknown) == 2
    out = bytes_loss(s, t, batch, ce_weight=0.0)
    assert out.diagnostics["bytes"] == SPELT
    assert out.diagnostics["groups_of_other_bytes"] == 0  # both have nothing to say there
    if tokenizer is other:  # the oracle knows special tokens alone
        z = s.detach().clone().requires_grad_()
        expected = oracle_loss(z, t, batch)
        out.loss.backward()
        expected.backward()
        torch.testing.assert_close(out.loss, expected)
        torch.testing.assert_close(s.grad, z.grad, rtol=1e-8, atol=1e-12)
    byte_level = tiny_byte_level(400, 3)
    for student, teacher in ((tokenizer, byte_level), (byte_level, tokenizer)):
        batch, s, t = batch_with(student, teacher)
        found = bytes_loss(s, t, batch, ce_weight=0.0)
        groups = [(batch.student_ids[0, a:b], batch.teacher_ids[0, c:d]) for _, a, b, c, d in batch.groups.tolist()]
        hidden = [one for one in groups if unknown in one[student is byte_level].tolist()]
        assert len(hidden) == 1, "both unknown tokens face the bytes of 日本"
        differing = sum(spelt(own, student) != spelt(facing, teacher) for own, facing in groups[:-1])
        assert found.diagnostics["groups_of_other_bytes"] == differing >= 1


def spelt(ids, tokenizer: Tokenizer) -> bytes:
    return b"".join(tokenizer.token_bytes(i) for i in ids.tolist())


def test_the_row_of_an_unknown_token_learns_nothing_and_the_next_one_reads_its_own_row_alone():
    tokenizer = tiny_wordpiece()
    batch, s, t = batch_with(tokenizer, tokenizer)
    place = batch.student_ids[0].tolist().index(tokenizer.unk_id)
    loss = bytes_loss(s, t, batch, ce_weight=0.0)
    loss.loss.backward()
    assert not s.grad[0, place - 1].abs().any() and not s.grad[0, place].abs().any()  # both unknown tokens
    assert s.grad[0, place + 1].abs().any()  # predicts what follows
    both = placed(batch, (s.shape[-1], t.shape[-1]), "mixture", "all")
    reads, rows = both.reads[0], both.rows[0]
    behind = (rows.position[reads.row] == place + 2) & (both.faced.offset[:, 0] == 0)
    assert reads.before[behind].tolist() == [-1]


def test_a_tokens_name_is_no_text_even_where_it_is_not_special():
    """`[` begins no more tokens because the unknown one is called [UNK]."""
    tokenizer = undeclared_wordpiece()
    batch, s, t = batch_with(tokenizer, tokenizer, " the cats")
    base = bytes_loss(s, t, batch, ce_weight=0.0).loss
    moved = s.detach().clone()
    moved[..., tokenizer.unk_id] += 3.0
    torch.testing.assert_close(bytes_loss(moved, t, batch, ce_weight=0.0).loss, base.detach())


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
    node = tree.path(int(tree.order[0]))[0]
    return Nodes(torch.tensor([0]), torch.tensor([True]), torch.tensor([node.low]), torch.from_numpy(node.edges)[None])


def test_a_difference_of_running_sums_tells_small_masses_from_none(elsewhere):  # noqa: ARG001
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


def test_a_prefix_of_less_than_noise_is_left_out_and_counted(elsewhere):  # noqa: ARG001
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


def test_slopes_come_back_the_same_way(elsewhere):  # noqa: ARG001
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
