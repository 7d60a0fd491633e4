"""SeDi against its slow twin, hand-made numbers and what its formula promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ctkd_core import losses, methods
from ctkd_core.errors import LossInputError
from ctkd_core.losses.batch import align_sample, collate
from ctkd_core.losses.sedi import sedi_loss
from ctkd_core.losses.views import case
from ctkd_core.losses.views.case import Case
from ctkd_core.losses.views.sedi import migrated_candidates
from ctkd_core.losses.views.target import COLLIDED, UNWRITABLE
from ctkd_core.vocabulary.migration import migration_table
from tests.losses import twins
from tests.losses.cases import TEXTS, batch_of, logits_for, plain_sample, samples
from tests.tiny import tiny_byte_level

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
        torch.testing.assert_close(out.loss, losses.loss("sedi", s, t, batch, omega=0.0).loss)
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


def test_the_picture_says_which_part_of_the_teacher_is_lost_and_why(monkeypatch):
    """Candidates below the top; ids without text and special tokens; what shares a slot with a larger candidate."""
    batch = batch_of(samples(TEXTS[:1]))
    s, t = (z.detach() for z in logits_for(batch))
    chosen = methods.get("sedi").resolve_loss({"top_k": 40})
    groups = tuple(tuple(g[1:]) for g in batch.groups.tolist())
    monkeypatch.setattr(case, "SMALLEST", -1.0)  # every part, however small
    found = migrated_candidates(Case(batch, s, t, chosen, "clean", groups))
    student, teacher = batch.student, batch.teacher
    table, unwritten = migration_table(student, teacher), []
    ordinary = {i for i in range(teacher.n_ids) if i not in teacher.special_ids} | {teacher.eos_id}
    for target in filter(None, found):
        q = t[0, target.position - 1].softmax(-1)
        top = q.argsort(descending=True)[:40].tolist()
        before = batch.teacher_ids[0, groups[target.group][2] : target.position].tolist()
        pieces = table.prefixed([b"".join(map(teacher.token_bytes, before))], np.array([top]))
        slots: dict[int, list[float]] = {}
        for k, token in enumerate(top):
            if token in ordinary:
                slots.setdefault(pieces[0, k][0], []).append(float(q[token]))
        written, largest = (sum(map(f, slots.values())) for f in (sum, max))
        inside = float(q[top].sum())
        assert [what for what, _ in target.lost] == ["outside the top 40", UNWRITABLE, COLLIDED]
        assert [p for _, p in target.lost] == pytest.approx([1 - inside, inside - written, written - largest], abs=1e-5)
        unwritten.append(inside - written)
    assert len(unwritten) > 5 and max(unwritten) > 1e-3
