"""CoT2Align: transport of hidden states, its versions, projector and gradients; what the flat kernel hides."""

from __future__ import annotations

import pytest
import torch

from ctkd_core import losses
from ctkd_core.errors import LossInputError
from ctkd_core.losses.base import StateContext, States
from ctkd_core.losses.cot2align import (
    CotProjector,
    TransportRule,
    Version,
    answer_rows,
    cot2align_loss,
    make_state,
    sample_cost,
    transport,
)
from tests.losses.cases import batch_of, logits_for, plain_sample, samples, seeded

WIDTHS = 6, 5  # student, teacher


def states_for(batch, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def side(ids, width):
        hidden = tuple(torch.randn(*ids.shape, width, generator=generator, dtype=torch.float64) for _ in range(3))
        table = torch.randn(403, width, generator=generator, dtype=torch.float64)
        return States(hidden, table, table)

    student, teacher = side(batch.student_ids, WIDTHS[0]), side(batch.teacher_ids, WIDTHS[1])
    return States(tuple(h.requires_grad_() for h in student.hidden), student.head, student.embeddings), teacher


def case():
    batch = batch_of([*samples(), plain_sample([0], [0, 7], 1, 2)])
    s, t = logits_for(batch, dtype=torch.float64)
    seeded(0)
    projector = make_state(403, context=StateContext(403, student_width=WIDTHS[0], teacher_width=WIDTHS[1])).double()
    student, teacher = states_for(batch)
    return batch, s, t, {"state": projector, "student_states": student, "teacher_states": teacher}


@pytest.mark.parametrize("cost", ["cosine", "attention", "euclidean"])
def test_gradients_reach_student_states_and_the_projector(cost):
    batch, s, t, given = case()
    out = cot2align_loss(s, t, batch, base="none", cost=cost, iterations=10, **given)
    out.loss.backward()
    first, middle, last = given["student_states"].hidden
    assert first.grad.abs().sum() > 0
    assert last.grad.abs().sum() > 0
    assert middle.grad is None
    assert given["state"].project.weight.grad.abs().sum() > 0
    outside = ~answer_rows(batch.student_labels)[..., None].expand_as(last)
    assert last.grad[outside].abs().max() == 0


@pytest.mark.parametrize("cost", ["cosine", "attention", "euclidean"])
def test_gradcheck(cost):
    generator = torch.Generator().manual_seed(3)
    x, y = (torch.randn(n, 4, generator=generator, dtype=torch.float64, requires_grad=True) for n in (3, 5))
    rule = TransportRule(cost, 0.5, 20, transport)
    assert torch.autograd.gradcheck(lambda a, b: sample_cost(a, b, rule)[0], (x, y))


def test_equal_clouds_cost_nothing_when_the_plan_is_sharp():
    x = torch.eye(4, dtype=torch.float64)
    assert sample_cost(x, x, TransportRule("cosine", 0.01, 50, transport))[0] < 1e-12
    # at the public program's alpha the plan is nearly uniform: the mean of the cost, whatever faces whatever
    flat, matrix, _ = sample_cost(x, x, TransportRule("cosine", 10.0, 50, transport))
    assert abs(float(flat - matrix.mean())) < 0.03


@pytest.mark.parametrize("iterations", [1, 2, 7])
def test_the_plan_is_the_public_loops(iterations):
    """Before it converges the order of the scalings counts."""
    matrix = torch.rand(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kernel, u = torch.exp(-matrix / 0.2), torch.full((3,), 1 / 3, dtype=torch.float64)
    for _ in range(iterations):
        v = 1 / 5 / (kernel.T @ u)
        u = 1 / 3 / (kernel @ v)
    torch.testing.assert_close(transport(matrix, 0.2, iterations), u[:, None] * kernel * v)


def test_terms_add_up_and_versions_face_each_other():
    batch, s, t, given = case()
    student, teacher = states_for(batch, seed=1)
    cot = Version(student, teacher, answer_rows(batch.student_labels), answer_rows(batch.teacher_labels))
    out = cot2align_loss(s, t, batch, base="none", ce_weight=0.4, ot_weight=0.5, versions={"cot": cot}, **given)
    names = {f"ot {pair} {layer}" for pair in ("cot-cot", "std-cot", "cot-std") for layer in ("first", "last")}
    assert set(out.terms) == {"ce"} | names
    total = 0.4 * out.terms["ce"] + 0.6 * 0.5 * sum(out.terms[name] for name in names)
    torch.testing.assert_close(out.loss.detach(), total)
    plain = cot2align_loss(s, t, batch, layers="last", **given)
    assert set(plain.terms) == {"ce", "uld", "ot std-std last"}


def test_nothing_to_align_keeps_a_gradient_path():
    batch = batch_of([plain_sample([0, 5], [0, 7], 2, 2)])
    s, t = logits_for(batch, dtype=torch.float64)
    student, teacher = states_for(batch)
    state = CotProjector(WIDTHS[1], WIDTHS[0]).double()
    out = cot2align_loss(s, t, batch, state=state, student_states=student, teacher_states=teacher)
    out.loss.backward()
    assert out.loss == 0
    assert student.hidden[0].grad.abs().max() == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_states_of_any_precision(dtype):
    batch, s, t, given = case()
    exact = cot2align_loss(s, t, batch, **given)
    half = [States(tuple(h.detach().to(dtype) for h in given[k].hidden), given[k].head, given[k].embeddings)
            for k in ("student_states", "teacher_states")]  # fmt: skip
    state = make_state(403, context=StateContext(403, student_width=WIDTHS[0], teacher_width=WIDTHS[1]))
    state.load_state_dict(given["state"].state_dict())
    out = cot2align_loss(s, t, batch, state=state, student_states=half[0], teacher_states=half[1])
    torch.testing.assert_close(out.loss.double(), exact.loss.double(), rtol=2e-2, atol=0)


@pytest.mark.parametrize("side", ["student_states", "teacher_states"])
def test_states_that_are_not_finite(side):
    batch, s, t, given = case()
    for hidden in given[side].hidden:
        hidden.data[...] = float("nan")
    with pytest.raises(LossInputError, match="isn't finite in sample 0"):
        cot2align_loss(s, t, batch, **given)


def test_refusals():
    batch, s, t, given = case()
    with pytest.raises(LossInputError, match="reads hidden states"):
        cot2align_loss(s, t, batch, state=given["state"])
    with pytest.raises(LossInputError, match="learns a projector"):
        cot2align_loss(s, t, batch, student_states=given["student_states"], teacher_states=given["teacher_states"])
    with pytest.raises(LossInputError, match="hidden widths"):
        make_state(403)
    with pytest.raises(LossInputError, match="did you mean 'last'"):
        cot2align_loss(s, t, batch, layers="lasst", **given)
    with pytest.raises(LossInputError, match="student-teacher"):
        cot2align_loss(s, t, batch, pairs="std", **given)
    with pytest.raises(LossInputError, match="did you mean 'cosine'"):
        cot2align_loss(s, t, batch, cost="cosin", **given)


def test_released_form_is_the_flat_one():
    batch, s, t, given = case()
    released = losses.loss("cot2align", s, t, batch, "released", base="none", **given)
    clean = cot2align_loss(s, t, batch, base="none", cost="attention", epsilon=10.0, iterations=100, **given)
    torch.testing.assert_close(released.loss, clean.loss, rtol=1e-6, atol=0)
