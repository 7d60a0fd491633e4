"""The plain form of a loss: as good as the analytic kernels in value and gradient, and refusals with a sentence."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from ctkd_core import losses
from ctkd_core.errors import LossInputError
from ctkd_core.losses.author import PAIRINGS, HeadLogits, PlainGroups, PlainRows, group_loss, response_rows, row_loss
from ctkd_core.losses.batch import align_sample, collate
from tests.losses import plain_twins as twins
from tests.losses.cases import batch_of, check_gradient, logits_for, pair, plain_sample, same_sides, samples
from tests.losses.engine.test_fused import Largest, heads

# method, options of it, the twin and its options
TWINS = {
    "sft": ("sft", {}, twins.sft, {}),
    "forward kl": ("kd", {}, twins.kd, {}),
    "warm forward kl": ("kd", {"temperature": 2.0}, twins.kd, {"temperature": 2.0}),
    "reverse kl": ("kd", {"divergence": "reverse_kl"}, twins.kd, {"divergence": "reverse_kl"}),
    "uld": ("uld", {}, twins.uld, {}),
    "uld on groups": ("uld", {"pairing": "groups"}, twins.uld, {"pairing": "groups"}),
    "gold": ("gold", {}, twins.gold, {}),
    "warm gold": ("gold", {"temperature": 1.5, "beta": 0.3}, twins.gold, {"temperature": 1.5, "beta": 0.3}),
    "pkl": ("xtoken-pkl", {"top_k": 200}, twins.pkl, {}),
    "fixed pkl": ("xtoken-pkl", {"top_k": 200, "scaling": "fixed"}, twins.pkl, {"scaling": "fixed"}),
    "sedi": ("sedi", {}, twins.sedi, {}),
}


def case(name, dtype=torch.float64, texts=None):
    batch = batch_of(samples() if texts is None else samples(texts))
    s, t = logits_for(batch, dtype=dtype)
    return (s, *reversed(same_sides(batch, t))) if TWINS[name][0] == "kd" else (s, t, batch)


def both(name, s, t, batch, **given):
    """Outputs, gradients and the states of the analytic loss and of its twin."""
    method, options, twin, others = TWINS[name]
    found = []
    for plain in (False, True):
        z = s.detach().clone().requires_grad_()
        state = losses.make_state(method, z.shape[-1])
        extra = {} if state is None else {"state": state.to(z.dtype)}
        if plain:
            out = twin(z, t, batch, **others, **extra, **given)
        else:
            out = losses.loss(method, z, t, batch, **options, **extra, **given)
        out.loss.backward()
        found.append((out, z.grad, None if state is None else state.omega.grad))
    return found


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_values_and_gradients_are_those_of_the_analytic_kernel(name, dtype):
    (fast, expected, learnt), (plain, gradient, also) = both(name, *case(name, dtype))
    close = {"rtol": 1e-8, "atol": 1e-12} if dtype == torch.float64 else {"rtol": 1e-3, "atol": 1e-6}
    torch.testing.assert_close(plain.loss, fast.loss, rtol=close["rtol"], atol=0)
    torch.testing.assert_close(gradient, expected, **close)
    torch.testing.assert_close(plain.per_group, fast.per_group, **close | {"atol": 1e-5})
    assert plain.terms.keys() == fast.terms.keys()
    if learnt is not None:
        torch.testing.assert_close(also, learnt, **close)


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("chunk_rows", [1, 3])
def test_chunks_change_nothing(name, chunk_rows):
    s, t, batch = case(name)
    _, (whole, expected, _) = both(name, s, t, batch)
    _, (parts, gradient, _) = both(name, s, t, batch, chunk_rows=chunk_rows)
    torch.testing.assert_close(parts.loss, whole.loss)
    torch.testing.assert_close(gradient, expected)
    torch.testing.assert_close(parts.per_group, whole.per_group)


@pytest.mark.parametrize("name", ["forward kl", "uld", "gold", "sedi"])
def test_gradcheck(name):
    s, t, batch = case(name, texts=[" 1234", " é"])
    _, _, twin, others = TWINS[name]
    state = losses.make_state("sedi", 403).double()
    others = others | ({"state": state} if name == "sedi" else {})
    check_gradient(lambda z: twin(z, t, batch, **others).loss, s, batch)


@pytest.mark.parametrize("name", TWINS)
def test_no_row_and_one_row(name):
    s, t, batch = case(name)
    for labels in (batch.student_labels, batch.teacher_labels):
        labels[:] = -100
    nothing = dataclasses.replace(batch, groups=batch.groups[:0])
    _, (out, gradient, _) = both(name, s, t, nothing)
    assert out.loss == 0
    assert gradient.abs().max() == 0
    s, t, batch = case(name)
    for labels in (batch.student_labels, batch.teacher_labels):
        labels[1:] = -100
        labels[0, (labels[0] != -100).nonzero()[1:]] = -100
    one = dataclasses.replace(batch, groups=batch.groups[:1])
    (fast, expected, _), (plain, gradient, _) = both(name, s, t, one)
    torch.testing.assert_close(plain.loss, fast.loss)
    torch.testing.assert_close(gradient, expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", ["sft", "uld", "gold", "pkl"])
@pytest.mark.parametrize("chunk_rows", [None, 3])
def test_fused_heads(name, chunk_rows):
    batch = batch_of(samples())
    hidden, head, t, other = heads(batch)
    _, _, twin, others = TWINS[name]
    linear = torch.nn.functional.linear
    twin(linear(hidden, head), linear(t, other), batch, **others).loss.backward()
    expected = hidden.grad.clone(), head.grad.clone()
    hidden.grad = head.grad = None
    teacher = linear(t, other) if name == "pkl" else HeadLogits(t, other)
    student = linear(hidden, head) if name == "pkl" else HeadLogits(hidden, head)
    twin(student, teacher, batch, **others, chunk_rows=chunk_rows).loss.backward()
    torch.testing.assert_close(hidden.grad, expected[0], rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(head.grad, expected[1], rtol=1e-8, atol=1e-12)


def test_several_teachers_share_one_gradient(monkeypatch):
    """A plain loss in the table stands beside an analytic one, in the one gradient tensor of the mixture."""
    from ctkd_core.losses import uld as home
    from ctkd_core.losses.teachers import WeightedTeacher, several

    def plain(s, t, batch, *, variant="clean", chunk_rows=None, ce_weight=0.5, top_k=0, teacher_temperature=None, **o):
        return twins.uld(s, t, batch, ce_weight=ce_weight, chunk_rows=chunk_rows, **o)

    student = pair()[0]
    batches = [collate([align_sample("Q:", " 1234 cats", student, x)], student, x) for x in (pair()[1], student)]
    s, t = logits_for(batches[0], dtype=torch.float64)
    own = logits_for(batches[1], dtype=torch.float64, widths=(403, 403))[1]
    teachers = [WeightedTeacher("uld", t, batches[0], weight=0.3), WeightedTeacher("kd", own, batches[1], weight=0.7)]
    expected = several(teachers, s).loss
    (wanted,) = torch.autograd.grad(expected, [s])
    monkeypatch.setattr(home, "uld_loss", plain)
    for chunk_rows in (None, 2):
        out = several(teachers, s, chunk_rows=chunk_rows)
        torch.testing.assert_close(out.loss, expected)
        (gradient,) = torch.autograd.grad(out.loss, [s], retain_graph=True)
        torch.testing.assert_close(gradient, wanted)
        (again,) = torch.autograd.grad(0.5 * out.loss, [s])
        torch.testing.assert_close(again, 0.5 * wanted)


def test_a_second_backward_pass_and_scaled_losses():
    s, t, batch = case("gold")
    out = twins.gold(s, t, batch)
    (once,) = torch.autograd.grad(out.loss, [s], retain_graph=True)
    (scaled,) = torch.autograd.grad(out.loss * 0.25, [s])
    torch.testing.assert_close(scaled, once * 0.25)


def test_without_gradient_nothing_is_recorded():
    s, t, batch = case("gold")
    expected = twins.gold(s, t, batch).loss.detach()
    with torch.no_grad():
        torch.testing.assert_close(twins.gold(s, t, batch).loss, expected)


def test_autocast_changes_nothing():
    s, t, batch = case("uld", torch.float32)
    expected = twins.uld(s, t, batch).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(twins.uld(s, t, batch).loss, expected, rtol=0, atol=0)


def test_a_module_of_the_loss_learns_with_it():
    s, t, batch = case("uld")
    state = nn.Linear(403, 305, bias=False).double()

    def gap(rows: PlainRows):
        return (state(rows.student.softmax(dim=1)) - rows.teacher.softmax(dim=1)).square().sum(dim=1)

    out = row_loss("gap", gap, s, t, batch, state=state, chunk_rows=2)
    out.loss.backward()
    found = s.grad.clone(), state.weight.grad.clone()
    s.grad = state.weight.grad = None
    rows = response_rows(batch.student_labels)
    z = s.flatten(0, 1)[rows.flat]
    facing = PAIRINGS["groups"](rows, batch)
    used = facing >= 0
    q = t.flatten(0, 1)[facing[used]].softmax(dim=1)
    value = (state(z[used].softmax(dim=1)) - q).square().sum(dim=1).mean()
    ce = -z.log_softmax(dim=1).gather(1, rows.target[:, None]).mean()
    (0.5 * ce + 0.5 * value).backward()
    torch.testing.assert_close(found[0], s.grad)
    torch.testing.assert_close(found[1], state.weight.grad)


@pytest.mark.parametrize("chunk_rows", [None, 1])
def test_a_module_may_hold_what_the_function_uses_for_some_rows_or_for_none(chunk_rows):
    s, t, batch = case("uld")
    state = nn.ModuleDict({name: nn.Linear(403, 1, bias=False) for name in ("every", "fifth", "none")}).double()

    def value(rows: PlainRows):
        p = rows.student.softmax(dim=1)
        found = state["every"](p).squeeze(1)
        fifth = rows.number == 5
        if not fifth.any():
            return found
        return found.index_add(0, fifth.nonzero().squeeze(1), state["fifth"](p[fifth]).squeeze(1))

    out = row_loss("value", value, s, t, batch, state=state, pairing=None, ce_weight=0.0, chunk_rows=chunk_rows)
    out.loss.backward()
    found = s.grad.clone(), *(state[name].weight.grad for name in ("every", "fifth"))
    assert state["none"].weight.grad is None or not state["none"].weight.grad.any()
    rows = response_rows(batch.student_labels)
    z = s.detach().flatten(0, 1)[rows.flat].requires_grad_()
    plain = (state["every"](z.softmax(dim=1)).sum() + state["fifth"](z[5].softmax(dim=0)).sum()) / len(rows)
    expected = torch.autograd.grad(plain, [z, state["every"].weight, state["fifth"].weight])
    torch.testing.assert_close(out.loss.detach(), plain.detach())
    torch.testing.assert_close(found[0].flatten(0, 1)[rows.flat], expected[0])
    torch.testing.assert_close(found[1:], expected[1:])


def test_what_the_function_sees():
    """Rows, targets and groups are those of the batch, whatever the chunks."""
    batch = batch_of([plain_sample([7, 8, 9, 10, 11], [5, 6, 7, 8], 1, 1, [[1, 3, 1, 2], [3, 4, 2, 4]])])
    s, t = logits_for(batch, dtype=torch.float64)
    seen = []

    def look(groups: PlainGroups):
        seen.extend(groups.number.tolist())
        mine, theirs = groups.student, groups.teacher
        for k, number in enumerate(groups.number.tolist()):
            _, s0, s1, t0, t1 = batch.groups[number].tolist()
            assert torch.equal(mine.logits[mine.group == k], s[0, s0 - 1 : s1 - 1].detach())
            assert torch.equal(theirs.logits[theirs.group == k], t[0, t0 - 1 : t1 - 1])
            assert torch.equal(mine.target[mine.group == k], batch.student_ids[0, s0:s1])
            assert torch.equal(theirs.target[theirs.group == k], batch.teacher_ids[0, t0:t1])
        assert torch.equal(mine.count, torch.bincount(mine.group))
        assert torch.equal(mine.last(mine.target), mine.target[mine.is_last()])
        assert torch.equal(mine.mean(mine.logits) * mine.count[:, None], mine.sum(mine.logits))
        assert len(groups) == len(groups.number)
        return mine.mean(mine.logits).sum(dim=1)

    for chunk_rows in (None, 1):
        seen.clear()
        group_loss("look", look, s, t, batch, chunk_rows=chunk_rows).loss.backward()
        assert seen == [0, 1]
    seen.clear()
    group_loss("look", look, s, t, batch, keep=torch.tensor([False, True]))
    assert seen == [1]


def test_memory_holds_the_rows_of_a_chunk_only():
    """Beside the gradient that autograd returns, no tensor is larger than a chunk."""
    largest = []
    for positions in (200, 800):
        ids = list(range(3, 203)) * (positions // 200)
        batch = batch_of([plain_sample(ids, ids, 1, 1)])
        generator = torch.Generator().manual_seed(0)
        hidden = torch.randn(1, positions, 8, generator=generator, requires_grad=True)
        head = torch.randn(2003, 8, generator=generator, requires_grad=True)
        with Largest() as watched:
            twins.uld(HeadLogits(hidden, head), HeadLogits(hidden.detach(), head.detach()), batch, chunk_rows=16)
        largest.append(watched.elements)
    assert max(largest) <= 16 * 2003


class TestRefusals:
    def setup_method(self):
        self.s, self.t, self.batch = case("uld", torch.float32)

    def refused(self, function, message, **given):
        with pytest.raises(LossInputError, match=message):
            row_loss("mine", function, self.s, self.t, self.batch, **given).loss.backward()

    def test_values_of_another_shape(self):
        self.refused(lambda rows: rows.student, r"mine: .* one floating-point value for each row or group, \[\d")
        self.refused(lambda rows: rows.student.mean(), r"leave means over rows to the engine")
        self.refused(lambda rows: 1.0, "got float")
        self.refused(lambda rows: rows.target, "got torch.int64")
        self.refused(lambda rows: rows.student.sum(1), r"\[\d+, 2\] \(a, b\)", terms={"a": 1.0, "b": 1.0})

    def test_values_without_gradient(self):
        self.refused(lambda rows: rows.student.detach().sum(dim=1), "don't depend on the student's logits")

    def test_nan_names_the_row(self):
        row = response_rows(self.batch.student_labels)
        sample, position = int(row.sample[4]), int(row.position[4])

        def broken(rows: PlainRows):
            return torch.where(rows.number == 4, torch.nan, rows.student.sum(dim=1))

        for chunk_rows in (None, 3):
            where = rf"mine isn't finite in 1 of {len(row)} rows, first in sample {sample} at position {position}"
            self.refused(broken, where, pairing=None, chunk_rows=chunk_rows)

    def test_a_gradient_that_is_not_finite_names_the_row(self):
        row = response_rows(self.batch.student_labels)
        sample, position = int(row.sample[2]), int(row.position[2])
        self.s.data[sample, position - 1, 7] = -1000.0  # a probability of exactly 0

        def trap(rows: PlainRows):
            p = rows.student.softmax(dim=1)
            return -torch.where(p > 0, p * p.log(), 0.0).sum(dim=1)

        where = rf"first in sample {sample} at position {position}, though the values are"
        self.refused(trap, rf"the gradient of mine isn't finite in 1 rows, {where}", pairing=None)

    def test_unknown_choices_and_missing_teacher(self):
        self.refused(lambda rows: rows.student.sum(1), "did you mean 'groups'", pairing="group")
        self.refused(lambda rows: rows.student.sum(1), "did you mean 'samples'", average="sample")
        with pytest.raises(LossInputError, match="loss 'mine' needs the teacher's logits"):
            row_loss("mine", lambda rows: rows.student.sum(1), self.s, None, self.batch)
        with pytest.raises(LossInputError, match=r"keep must be bool \[\d+\]"):
            group_loss("mine", lambda g: g.number, self.s, self.t, self.batch, keep=torch.ones(1, dtype=torch.bool))


def test_rows_that_do_not_count_may_hold_anything():
    s, t, batch = case("uld on groups")
    expected = twins.uld(s, t, batch, pairing="groups").loss
    rows = response_rows(batch.student_labels)
    inside = torch.zeros(s.shape[:2], dtype=torch.bool)
    inside[rows.sample, rows.position - 1] = True
    z = torch.where(inside[..., None], s.detach(), torch.nan).requires_grad_()
    out = twins.uld(z, t, batch, pairing="groups")
    torch.testing.assert_close(out.loss, expected)
    out.loss.backward()
    assert torch.isfinite(z.grad).all()
