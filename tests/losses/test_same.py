"""KD between models of one tokenizer: against its twin, every divergence; padding, prompts, refusals."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from ctkd_core import losses, methods
from ctkd_core.errors import LossInputError
from ctkd_core.losses.base import response_rows
from ctkd_core.losses.batch import align_sample, collate
from ctkd_core.losses.parts.divergences import KINDS, divergence
from ctkd_core.tokenizers.same_vocabulary import vocabulary_difference
from tests.losses import twins
from tests.losses.cases import TEXTS, logits_for
from tests.tiny import tiny_byte_level, tiny_metaspace

WIDTHS = (403, 407)  # padded heads of different models, over 400 ids


def one_tokenizer(texts=TEXTS, teacher_prompt=None, **changes):
    tokenizer = tiny_byte_level(400, 3)
    chosen = [align_sample("Read:", x, tokenizer, tokenizer, teacher_prompt=teacher_prompt, **changes) for x in texts]
    return collate(chosen, tokenizer, tokenizer)


def twin(s, t, batch, kind, ce_weight=0.5, temperature=1.0, top_k=0, **numbers):
    values = []
    for b in range(len(batch)):
        mine, theirs = (
            (labels[b] != -100).nonzero().flatten() for labels in (batch.student_labels, batch.teacher_labels)
        )
        for i, j in zip(mine.tolist(), theirs.tolist()):
            p, q = s[b, i - 1, :400], t[b, j - 1, :400]
            if top_k:
                chosen = q.topk(top_k).indices
                p, q = p[chosen], q[chosen]
            values.append(divergence(kind, p[None], q[None], temperature=temperature, **numbers)[0])
    return ce_weight * twins.sft(s, batch) + (1 - ce_weight) * twins.average(values)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("top_k", [0, 7])
def test_twin(kind, top_k):
    batch = one_tokenizer(teacher_prompt="A longer prompt of the teacher's own:")
    s, t = logits_for(batch, dtype=torch.float64, widths=WIDTHS)
    own = {"jsd": "beta", "adaptive_kl": "tail_mass"}.get(kind, "skew" if kind.startswith("skewed") else "")
    options = {"ce_weight": 0.3, "temperature": 1.7, "top_k": top_k} | ({own: 0.3} if own else {})
    z = s.detach().clone().requires_grad_()
    out = losses.loss("kd", s, t, batch, divergence=kind, chunk_rows=5, **options)
    expected = twin(z, t, batch, kind, **options)
    torch.testing.assert_close(out.loss, expected)
    out.loss.backward()
    expected.backward()
    torch.testing.assert_close(s.grad, z.grad)
    torch.testing.assert_close(out.per_group.sum() / len(response_rows(batch.student_labels)), out.loss.detach())


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "adaptive_kl"])
@pytest.mark.parametrize("top_k", [0, 5])
def test_gradcheck(kind, top_k):
    batch = one_tokenizer([" 12", " é"])
    s, t = logits_for(batch, dtype=torch.float64, widths=WIDTHS)
    rows = response_rows(batch.student_labels)
    few = torch.tensor([0, 5, 17, 111, 399, 402])

    def moved(delta):
        z = s.detach().clone()
        z[rows.sample[:, None], rows.position[:, None] - 1, few] += delta
        return losses.loss("kd", z, t, batch, divergence=kind, top_k=top_k, tau_squared=True, temperature=1.5).loss

    delta = torch.zeros(len(rows), len(few), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(moved, (delta,), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_models_cost_nothing_but_cross_entropy(kind):
    batch = one_tokenizer()
    s, _ = logits_for(batch, dtype=torch.float64)
    out = losses.loss("kd", s, s.detach(), batch, divergence=kind, ce_weight=0.0)
    assert out.loss.detach().abs() < 1e-12
    out.loss.backward()
    assert s.grad.abs().max() < 1e-12


def test_a_permutation_of_the_teachers_ids_changes_it():
    batch = one_tokenizer()
    s, _ = logits_for(batch, widths=(400, 400))
    moved = losses.loss("kd", s, s.detach().roll(1, dims=-1), batch).terms["forward_kl"]
    assert float(moved) > 1.0  # equal ids cost 0


def test_padded_columns_count_for_nothing():
    batch = one_tokenizer()
    s, t = logits_for(batch, widths=WIDTHS)
    t2 = t.clone()
    t2[..., 400:] = 50.0
    out, other = (losses.loss("kd", s, x, batch, ce_weight=0.0) for x in (t, t2))
    assert torch.equal(out.loss, other.loss)
    out.loss.backward()
    assert s.grad[..., 400:].abs().max() == 0
    assert out.diagnostics["compared_ids"] == 400


def test_where_the_teacher_is_cut_cross_entropy_remains():
    batch = one_tokenizer(TEXTS[:1], teacher_prompt="A longer prompt of the teacher's own:", max_length=24)
    rows = response_rows(batch.student_labels)
    s, t = logits_for(batch, widths=WIDTHS)
    out = losses.loss("kd", s, t, batch)
    assert 0 < out.diagnostics["compared_rows"] < len(rows)
    out.loss.backward()
    assert (s.grad[rows.sample, rows.position - 1].abs().sum(-1) > 0).all()


def test_tau_squared_and_the_tail_outside_the_top_k():
    batch = one_tokenizer()
    s, t = logits_for(batch, widths=WIDTHS)
    plain, squared = (
        losses.loss("kd", s, t, batch, temperature=3.0, ce_weight=0.0, tau_squared=x) for x in (False, True)
    )
    torch.testing.assert_close(squared.loss, plain.loss * 9)
    cut = losses.loss("kd", s, t, batch, top_k=10)
    kept = t[..., :400].softmax(-1).topk(10).values.sum(-1)
    learnt = (batch.teacher_labels != -100)[:, 1:]
    assert cut.diagnostics["tail_mass"] == pytest.approx(1 - float(kept[:, :-1][learnt].mean()), rel=1e-4)


class TestRefusals:
    def test_another_vocabulary(self):
        student, teacher = tiny_byte_level(400, 3), tiny_byte_level(340, 1)
        batch = collate([align_sample("x", TEXTS[0], student, teacher)], student, teacher)
        s, t = logits_for(batch, widths=(400, 400))
        with pytest.raises(LossInputError, match=r"\(400 tokens\) and .* \(340 tokens\) differ.*Choose a method"):
            losses.loss("kd", s, t, batch)

    def test_a_head_narrower_than_the_vocabulary(self):
        batch = one_tokenizer()
        s, t = logits_for(batch, widths=(403, 399))
        with pytest.raises(LossInputError, match=r"teacher logits are 399 wide, but .* has ids up to 399"):
            losses.loss("kd", s, t, batch)

    def test_without_tokenizers_the_widths_must_agree(self):
        batch = dataclasses.replace(one_tokenizer(), student=None, teacher=None)
        s, t = logits_for(batch, widths=(403, 403))
        assert losses.loss("kd", s, t, batch).diagnostics["compared_ids"] == 403
        with pytest.raises(LossInputError, match="student's logits are 403 wide and the teacher's 402"):
            losses.loss("kd", s, t[..., :402], batch)

    def test_other_tokens_at_equal_positions(self):
        batch = one_tokenizer()
        moved = batch.teacher_ids.clone()
        moved[0, -1 - int((batch.teacher_attention[0] == 0).sum()) - 2] += 1
        s, t = logits_for(batch, widths=WIDTHS)
        with pytest.raises(LossInputError, match=r"in sample 0 the student's token .* cut the text differently"):
            losses.loss("kd", s, t, dataclasses.replace(batch, teacher_ids=moved))

    def test_unknown_divergence(self):
        batch = one_tokenizer()
        s, t = logits_for(batch, widths=WIDTHS)
        with pytest.raises(LossInputError, match="did you mean 'forward_kl'"):
            losses.loss("kd", s, t, batch, divergence="forward")


def test_vocabularies():
    assert vocabulary_difference(tiny_byte_level(400, 3), tiny_byte_level(400, 3)) == ""
    assert "no id in" in vocabulary_difference(tiny_byte_level(400, 3), tiny_metaspace())


def test_the_options_name_every_divergence():
    option = next(o for o in methods.get("kd").loss_options if o.name == "divergence")
    assert set(option.choices) == set(KINDS)
