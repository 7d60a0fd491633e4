"""Several teachers: the mixture against its parts, gradients and memory, weights by score, refusals."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from ctkd_core import losses, methods
from ctkd_core.errors import LossInputError
from ctkd_core.losses.batch import align_sample, collate
from ctkd_core.losses.engine.units import StepUnits
from ctkd_core.losses.teachers import WeightedTeacher, several
from tests.losses.cases import TEXTS, extras, logits_for, pair
from tests.losses.engine.test_fused import Largest
from tests.tiny import tiny_metaspace


def weighted(method="gold", teacher=None, seed=0, dtype=torch.float64, **changes):
    """A teacher of the shared student, with the student's own tokenizer for methods that want it."""
    student = pair()[0]
    teacher = teacher or (student if methods.get(method).same_tokenizer else pair()[1])
    batch = collate([align_sample("Read:", x, student, teacher) for x in TEXTS], student, teacher)
    widths = 403, teacher.n_ids + 3
    _, t = logits_for(batch, seed=seed, dtype=dtype, widths=widths)
    return WeightedTeacher(method, t, batch, **{"extras": extras(method, batch, dtype, widths)} | changes)


def student_for(one, seed=9):
    return logits_for(one.batch, seed=seed, dtype=one.logits.dtype)[0]


def alone(one, s):
    return losses.loss(one.method, s, one.logits, one.batch, one.variant, **one.extras, **one.options)


@pytest.mark.parametrize("other", [row.name for row in methods.training() if not row.same_tokenizer])
def test_the_mixture_of_a_same_tokenizer_teacher_and_another(other):
    both = [weighted("kd", weight=0.2, options={"divergence": "jsd"}), weighted(other, weight=0.8, seed=1)]
    s = student_for(both[0])
    z = s.detach().clone().requires_grad_()
    parts = [alone(g, z) for g in both]
    expected = 0.2 * parts[0].loss + 0.8 * parts[1].loss
    out = several(both, s, chunk_rows=7)
    torch.testing.assert_close(out.loss, expected)
    out.loss.backward()
    expected.backward()
    torch.testing.assert_close(s.grad, z.grad)
    torch.testing.assert_close(out.per_group, torch.cat([0.2 * parts[0].per_group, 0.8 * parts[1].per_group]))
    assert out.terms["teacher1.jsd"] == parts[0].terms["jsd"]
    assert out.diagnostics["teacher2.weight"] == 0.8


def test_what_losses_learn_gets_its_gradient():
    both = [weighted("sedi", weight=0.5), weighted("sedi", weight=2.0, teacher=tiny_metaspace(), seed=1)]
    s = student_for(both[0])
    several(both, s).loss.backward()
    grads = [g.extras["state"].omega.grad.clone() for g in both]
    for one, gradient in zip(both, grads):
        one.extras["state"].omega.grad = None
        (one.weight * alone(one, s.detach()).loss).backward()
        torch.testing.assert_close(one.extras["state"].omega.grad, gradient)


def test_a_loss_on_hidden_states_stands_beside_others():
    both = [weighted("cot2align", weight=0.3), weighted("gold", weight=0.7)]
    s = student_for(both[0])
    z = s.detach().clone().requires_grad_()
    out, expected = several(both, s).loss, 0.3 * alone(both[0], z).loss + 0.7 * alone(both[1], z).loss
    torch.testing.assert_close(out, expected)
    out.backward()
    expected.backward()
    torch.testing.assert_close(s.grad, z.grad)


def test_a_program_that_adds_to_the_engines_loss_is_noticed():
    both = [weighted("gold"), weighted("multilevel_ot", variant="released", seed=1)]
    s = student_for(both[0])
    z = s.detach().clone().requires_grad_()
    several(both, s).loss.backward()
    (alone(both[0], z).loss + alone(both[1], z).loss).backward()
    torch.testing.assert_close(s.grad, z.grad)


def test_gradcheck():
    both = [weighted("kd", weight=0.4), weighted("gold", weight=0.6)]
    base, few = student_for(both[0]).detach(), torch.tensor([0, 5, 17, 402])
    sample, position = (both[0].batch.student_labels[:2] != -100).nonzero(as_tuple=True)
    sample, position = sample[:6], position[:6] - 1

    def moved(delta):
        z = base.clone()
        z[sample[:, None], position[:, None], few] += delta
        return several(both, z).loss

    delta = torch.zeros(len(sample), len(few), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(moved, (delta,), atol=1e-6)


def test_backward_scales_and_can_be_repeated():
    both = [weighted("xtoken-pkl", weight=0.4), weighted("kd", weight=0.6, seed=1)]
    s = student_for(both[0])
    several(both, s).loss.backward()
    once, s.grad = s.grad, None
    loss = several(both, s).loss * 0.25
    loss.backward(retain_graph=True)
    torch.testing.assert_close(s.grad, once * 0.25)
    loss.backward()
    torch.testing.assert_close(s.grad, once * 0.5)


def test_no_gradient_without_need():
    both = [weighted("gold"), weighted("kd")]
    s = student_for(both[0])
    with torch.no_grad():
        out = several(both, s)
    assert not out.loss.requires_grad
    assert out.loss == several(both, s).loss.detach()


def test_one_gradient_tensor_for_all_teachers():
    full = []

    class Count(Largest):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = super().__torch_dispatch__(func, types, args, kwargs)
            if func is torch.ops.aten.zeros.default and tuple(out.shape) == tuple(s.shape):
                full.append(out.shape)
            return out

    for n in (1, 4):
        several_teachers = [weighted("gold", seed=k, name=f"t{k}") for k in range(n)]
        s = student_for(several_teachers[0])
        with Count():
            several(several_teachers, s, chunk_rows=2).loss.backward()
    assert len(full) == 2  # one for each call, whatever the number of teachers


class TestWeights:
    def reading(self, one):
        rows = (one.batch.teacher_labels != -100).nonzero()
        log_p = one.logits[rows[:, 0], rows[:, 1] - 1].log_softmax(-1)
        ce = -log_p.gather(1, one.batch.teacher_ids[rows[:, 0], rows[:, 1]][:, None]).mean()
        return {"ce": ce, "entropy": -(log_p.exp() * log_p).sum(-1).mean(), "confidence": log_p.exp().amax(-1).mean()}

    @pytest.mark.parametrize("score", ["ce", "entropy", "confidence"])
    @pytest.mark.parametrize("factor", [False, True])
    def test_adaptive(self, score, factor):
        both = [weighted("kd"), weighted("gold", seed=1), weighted("uld", teacher=tiny_metaspace(), seed=2)]
        both[1] = dataclasses.replace(both[1], logits=both[1].logits * 1.5)
        s = student_for(both[0])
        out = several(both, s, weights="adaptive", score=score, alpha=2.0, vocabulary_factor=factor, chunk_rows=3)
        found = torch.stack([self.reading(g)[score] for g in both])
        expected = ((found if score == "confidence" else -found) * 2.0).softmax(0)
        if factor:
            sizes = [g.batch.teacher.vocab_size for g in both]
            expected = expected * torch.tensor([math.log(n) / math.log(min(sizes)) for n in sizes])
            expected = expected / expected.sum()
        got = torch.tensor([out.diagnostics[f"teacher{m}.weight"] for m in (1, 2, 3)], dtype=torch.float64)
        torch.testing.assert_close(got, expected)
        torch.testing.assert_close(out.loss, sum(w * alone(g, s).loss for w, g in zip(expected, both)))
        assert out.diagnostics["teacher2.reads_ce"] == pytest.approx(float(self.reading(both[1])["ce"]))

    def test_select_takes_the_best_reader_alone(self):
        both = [weighted("gold"), weighted("kd", seed=1)]
        better = both[1].logits.clone()
        better[:, :-1].scatter_add_(2, both[1].batch.teacher_ids[:, 1:, None], torch.full_like(better[:, 1:, :1], 9.0))
        both[1] = dataclasses.replace(both[1], logits=better)
        s = student_for(both[0])
        out = several(both, s, weights="select")
        assert torch.equal(out.loss, alone(both[1], s).loss)
        assert [out.diagnostics[f"teacher{m}.weight"] for m in (1, 2)] == [0.0, 1.0]
        assert not [name for name in out.terms if name.startswith("teacher1")]
        assert len(out.per_group) == sum(len(g.batch.groups) for g in both)


class TestRefusals:
    def test_names_and_numbers(self):
        one = weighted("gold")
        s = student_for(one)
        for given, words in (
            ([], "got none"),
            ([dataclasses.replace(one, weight=-1.0)], "teacher 1 has weight -1"),
            ([dataclasses.replace(one, weight=0.0)], "all teachers have weight 0"),
            ([dataclasses.replace(one, name="a")] * 2, "different names; got a, a"),
        ):
            with pytest.raises(LossInputError, match=words):
                several(given, s)
        with pytest.raises(LossInputError, match="did you mean 'adaptive'"):
            several([one], s, weights="adaptiv")
        with pytest.raises(LossInputError, match="did you mean 'entropy'"):
            several([one], s, weights="adaptive", score="entropie")
        with pytest.raises(LossInputError, match="need the logits of every teacher; teacher 2"):
            several([one, dataclasses.replace(one, logits=None)], s, weights="select")

    def test_other_student_tokens(self):
        one = weighted("gold")
        student = pair()[0]
        batch = collate([align_sample("Other:", x, student, student) for x in TEXTS], student, student)
        other = WeightedTeacher("kd", logits_for(batch, widths=(403, 403))[1].double(), batch)
        with pytest.raises(LossInputError, match="holds other student tokens than that of teacher 1"):
            several([one, other], student_for(one))

    def test_a_teacher_that_is_not_finite(self):
        one = weighted("gold")
        one.logits[...] = float("nan")
        with pytest.raises(LossInputError, match="can't be weighed"):
            several([one, weighted("kd")], student_for(one), weights="adaptive")


def test_unnamed_teachers_of_one_method_count_their_own_units():
    """Two batches of a step, each of both teachers: the parts add up to the loss of the whole, name or no name."""
    pairs = [(weighted("uld"), weighted("uld", seed=1))]
    s = student_for(pairs[0][0])
    whole = several(pairs[0], s).loss
    step = StepUnits()
    with step.recording():
        several(pairs[0], s)
    with step.applied():
        torch.testing.assert_close(several(pairs[0], s).loss, whole)
