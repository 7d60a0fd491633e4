"""The tree of a vocabulary's bytes: unknown tokens, which have no text of their own."""

from __future__ import annotations

import json

import pytest
import torch
from tokenizers import Tokenizer as Backend

from ctkd_core.losses.batch import align_sample, collate
from ctkd_core.losses.bytes import bytes_loss, placed
from ctkd_core.losses.parts.byte_tree import NO_SYMBOL, byte_tree
from ctkd_core.tokenizers.tokenizer import Tokenizer
from tests.losses.cases import logits_for
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
