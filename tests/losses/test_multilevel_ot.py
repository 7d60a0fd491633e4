"""MultiLevelOT against a slow twin and POT; matching, reductions, the released program's differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ctkd_core import methods
from ctkd_core.errors import LossInputError
from ctkd_core.losses.base import response_rows
from ctkd_core.losses.multilevel_ot import face, multilevel_ot_loss
from ctkd_core.losses.parts.transport import sinkhorn_plan, transport_cost
from ctkd_core.losses.views.case import Case
from ctkd_core.losses.views.multilevel_ot import ranked_columns
from tests.losses import twins
from tests.losses.cases import TEXTS, batch_of, logits_for, plain_sample, samples

OPTIONS = [
    {},
    {"matching": "greedy", "top_k": 5},
    {"matching": "exact", "top_k": 7, "reduction": "sum"},
    {"temperature": 1.5, "sd_temperature": 1.5, "sl_weight": 0.5, "sd_weight": 2.0, "sinkhorn_iterations": 3},
    {"top_k": 10_000, "sinkhorn_epsilon": 1.0},
    {"skip_student_eos": True},
    {"skip_teacher_eos": True, "reduction": "sum"},
]


def pick(s, t, k, matching):
    k = min(k, s.shape[1], t.shape[1])
    t_columns = t.sum(0).argsort(descending=True, stable=True)[:k].tolist()
    if matching == "rank":
        return s.sum(0).argsort(descending=True, stable=True)[:k].tolist(), t_columns
    distance = np.array([[float((t[:, i] - s[:, j]).abs().sum()) for j in range(s.shape[1])] for i in t_columns])
    if matching == "exact":
        from scipy.optimize import linear_sum_assignment

        return linear_sum_assignment(distance)[1].tolist(), t_columns
    chosen = []
    for row in distance:
        row[chosen] = np.inf
        chosen.append(int(row.argmin()))
    return chosen, t_columns


def answer_tokens(batch, b, skip_student=False, skip_teacher=False):
    """Positions of the k-th answer tokens of both sides of a sample, without a last one that is skipped, where a row
    predicts both."""
    sides = []
    for labels, skipped in ((batch.student_labels, skip_student), (batch.teacher_labels, skip_teacher)):
        positions = (labels[b] != -100).nonzero().flatten().tolist()
        sides.append(positions[: max(0, len(positions) - skipped)])
    return [(i, j) for i, j in zip(*sides) if i >= 1 and j >= 1]


def twin(
    z_s, z_t, batch, temperature=1.0, top_k=50, matching="rank", sl_weight=0.1, sd_weight=0.1, sd_temperature=2.0,
    sinkhorn_epsilon=0.1, sinkhorn_iterations=20, reduction="mean", skip_student_eos=False, skip_teacher_eos=False,
):  # fmt: skip
    values = []
    for b in range(len(batch)):
        both = answer_tokens(batch, b, skip_student_eos, skip_teacher_eos)
        n = len(both)
        if not n:
            continue
        s_rows, t_rows = z_s[b, [i - 1 for i, _ in both]], z_t[b, [j - 1 for _, j in both]]
        s, t = (s_rows / temperature).softmax(-1), (t_rows / temperature).softmax(-1)
        cs, ct = pick(s.detach(), t, top_k, matching)
        had = (s[:, cs] - t[:, ct]).abs().sum()
        sl = -(t[:, ct] * s[:, cs].log()).sum()
        s, t = (s_rows / sd_temperature).softmax(-1), (t_rows / sd_temperature).softmax(-1)
        cs, ct = pick(s.detach(), t, top_k, matching)
        cost = (t[:, None, ct] - s[None][:, :, cs]).abs().sum(-1)
        plan = torch.exp(-cost / sinkhorn_epsilon)
        for _ in range(sinkhorn_iterations):
            plan = plan / plan.sum(1, keepdim=True)
            plan = plan / plan.sum(0, keepdim=True)
        values.append((had + sl_weight * sl + sd_weight * (plan * cost).sum()) / (n if reduction == "mean" else 1))
    return twins.average(values)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_value_and_gradient_equal_the_twin(options):
    batch = batch_of([*samples(), plain_sample([0], [0, 7], 1, 2), plain_sample([0, 5, 1], [0, 1], 1, 1)])
    s, t = logits_for(batch, dtype=torch.float64)
    out = multilevel_ot_loss(s, t, batch, ce_weight=0.4, **options)
    out.loss.backward()
    z = s.detach().clone().requires_grad_()
    expected = 0.4 * twins.sft(z, batch) + 0.6 * twin(z, t, batch, **options)
    expected.backward()
    torch.testing.assert_close(out.loss, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(s.grad, z.grad, rtol=1e-6, atol=1e-11)


@pytest.mark.parametrize("skipped", [(), (True, False), (False, True), (True, True)], ids=str)
def test_the_kth_answer_tokens_face_each_other(skipped):
    """All of them as far as both sides go, unless the caller leaves out the last one of a side.

    Where a side has nothing before its answer, its first token has no row and its second still faces the second.
    """
    bare = plain_sample([5, 6, 7, 1], [0, 8, 9, 1], 0, 1), plain_sample([0, 8, 9], [5, 6, 7, 1], 1, 0)
    batch = batch_of([*samples(), plain_sample([0, 5, 1], [0, 1], 1, 1), *bare])
    facing = face(response_rows(batch.student_labels), batch, *([skipped] if skipped else []))
    widths = batch.student_ids.shape[1], batch.teacher_ids.shape[1]
    expected = [
        (b, b * widths[0] + i - 1, b * widths[1] + j - 1)
        for b in range(len(batch))
        for i, j in answer_tokens(batch, b, *skipped)
    ]
    assert list(zip(*(x.tolist() for x in (facing.sample, facing.student, facing.teacher)))) == expected


@pytest.mark.parametrize("chunk_rows", [1, 3])
def test_chunks_change_nothing(chunk_rows):
    batch = batch_of(samples())
    s, t = logits_for(batch, dtype=torch.float64)
    whole, parts = (multilevel_ot_loss(s, t, batch, chunk_rows=rows) for rows in (None, chunk_rows))
    torch.testing.assert_close(whole.loss, parts.loss)
    torch.testing.assert_close(whole.per_group, parts.per_group)


def test_the_plan_is_the_one_of_pot():
    ot = pytest.importorskip("ot", reason="POT is a development requirement")
    generator = torch.Generator().manual_seed(0)
    cost = torch.rand(7, 5, generator=generator, dtype=torch.float64)
    a, b = torch.full((7,), 1 / 7, dtype=torch.float64), torch.full((5,), 0.2, dtype=torch.float64)
    plan = sinkhorn_plan(cost, 0.05, 2000, a.log(), b.log())
    expected = ot.sinkhorn(a.numpy(), b.numpy(), cost.numpy(), reg=0.05, numItermax=10_000, stopThr=1e-12)
    np.testing.assert_allclose(plan.numpy(), expected, rtol=1e-6, atol=1e-12)
    exact = ot.emd2(a.numpy(), b.numpy(), cost.numpy())
    assert exact <= float(transport_cost(plan, cost)) < exact + 0.1


def test_renaming_tokens_changes_nothing():
    batch = batch_of(samples())
    s, t = logits_for(batch, dtype=torch.float64)
    order = torch.randperm(t.shape[-1], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        a, b = (multilevel_ot_loss(s, x, batch, ce_weight=0.0).loss for x in (t, t[..., order]))
    torch.testing.assert_close(a, b)


def test_equal_models_have_no_distance_by_token():
    ids = [0, 50, 60, 70, 1]
    batch = batch_of([plain_sample(ids, ids, 1, 1, [[k, k + 1, k, k + 1] for k in range(1, 5)])])
    s, _ = logits_for(batch, dtype=torch.float64, widths=(403, 403))
    assert multilevel_ot_loss(s, s.detach(), batch).terms["had"] < 1e-12


def test_exact_matching_refuses_a_large_vocabulary():
    batch = batch_of(samples([" a"]))
    s, t = logits_for(batch, widths=(5000, 305))
    with pytest.raises(LossInputError, match=r"5000 by 305 .* Use 'rank' or 'greedy'"):
        multilevel_ot_loss(s, t, batch, matching="exact")


def test_released_form_learns_and_depends_on_the_batch():
    batch = batch_of(samples())
    s, t = logits_for(batch, dtype=torch.float64)
    out = multilevel_ot_loss(s, t, batch, variant="released", skip_student_eos=True, sinkhorn_iterations=10)
    out.loss.backward()
    assert torch.isfinite(s.grad).all()
    assert s.grad.abs().sum() > 0
    alone = batch_of(samples()[:1])
    n = alone.student_ids.shape[1], alone.teacher_ids.shape[1]
    with torch.no_grad():
        one = multilevel_ot_loss(
            s[:1, : n[0]], t[:1, : n[1]], alone, variant="released", skip_student_eos=True, sinkhorn_iterations=10
        )
    assert set(one.terms) == {"ce", "had", "sl", "sd"}
    empty = batch_of([plain_sample([0, 5], [0, 7], 2, 2)])
    s, t = logits_for(empty)
    nothing = multilevel_ot_loss(s, t, empty, variant="released", skip_student_eos=True, sinkhorn_iterations=10)
    nothing.loss.backward()
    assert nothing.loss == 0


def test_the_picture_tells_of_drift_only_where_the_row_predicts_a_token_of_another_group():
    batch = batch_of(samples(TEXTS[:1]))
    s, t = (z.detach() for z in logits_for(batch))
    groups = tuple(tuple(g[1:]) for g in batch.groups.tolist())
    found = ranked_columns(Case(batch, s, t, methods.get("multilevel_ot").resolve_loss({}), "clean", groups))
    drifted = []
    starts = [int((labels[0] != -100).nonzero()[0]) for labels in (batch.student_labels, batch.teacher_labels)]
    for target in filter(None, found):
        s0, _, t0, t1 = groups[target.group]
        assert target.position == starts[1] + s0 - starts[0]  # the k-th answer token faces the k-th
        drifted.append("drifted apart" in target.note)
        assert drifted[-1] is not (t0 <= target.position < t1)
    assert drifted[0] is False and drifted[-1] is True
