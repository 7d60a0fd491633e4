"""GOLD against its slow twin: merging, hybrid and plain, every option; gradients; what it sees and what it can't."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import torch

from ctkd_core.errors import LossInputError
from ctkd_core.losses.gold import gold_loss
from ctkd_core.losses.parts.matched import matched_ids, one_to_one
from tests.losses import twins
from tests.losses.cases import batch_of, logits_for, plain_sample, samples
from tests.losses.twins import sorted_l1

OPTIONS = [
    {},
    {"merge": "observed"},
    {"hybrid": False},
    {"hybrid": False, "merge": "observed", "with_eos": True},
    {"beta": 0.0, "temperature": 2.0, "teacher_temperature": 0.7},
    {"beta": 1.0, "with_eos": True},
    {"beta": 0.3, "weights": "fixed", "matched_weight": 0.8, "unmatched_weight": 0.1, "merge": "observed"},
    {"empty_samples": "count", "ce_weight": 0.0},
]
DEFAULTS = {
    "ce_weight": 0.5, "temperature": 1.0, "teacher_temperature": None, "merge": "bayesian", "hybrid": True,
    "weights": "adaptive", "matched_weight": 1.0, "unmatched_weight": 1.0, "beta": 0.5,
    "with_eos": False, "empty_samples": "skip",
}  # fmt: skip


def merged(logits, ids, start, end, temperature, merge):
    """One merged row, straight from the definition."""
    p = (logits / temperature).softmax(-1)
    if merge == "bayesian":
        row, others = p[end - 2], [(k - 1, k) for k in range(start, end - 1)]
    else:
        row, others = p[start], [(k, k) for k in range(start + 1, end)]
    for place, token in others:
        row = row * p[place, ids[token]].clamp(min=1e-8)
    return row


def raw_jsd(p, q, beta):
    p, q = p.clamp(min=1e-8), q.clamp(min=1e-8)
    if beta == 0:
        return (q * (q.log() - p.log())).sum()
    if beta == 1:
        return (p * (p.log() - q.log())).sum()
    m = beta * q + (1 - beta) * p
    return beta * (q * (q.log() - m.log())).sum() + (1 - beta) * (p * (p.log() - m.log())).sum()


def twin(s, t, batch, **given):
    o = DEFAULTS | given
    ids = matched_ids(None, batch, (s.shape[-1], t.shape[-1]))
    share = len(ids.student) / t.shape[-1]
    w_m = share if o["weights"] == "adaptive" else o["matched_weight"]
    w_u = 1 - share if o["weights"] == "adaptive" else o["unmatched_weight"]
    first = 1 if o["merge"] == "bayesian" else 0
    per_sample = [[] for _ in range(len(batch))]
    for b, s0, s1, t0, t1 in batch.groups.tolist():
        ends = (batch.student_ids[b, s1 - 1] == batch.student.eos_id) or (
            batch.teacher_ids[b, t1 - 1] == batch.teacher.eos_id
        )
        if s0 < first or t0 < first or (ends and not o["with_eos"]):
            continue
        p = merged(s[b], batch.student_ids[b], s0, s1, o["temperature"], o["merge"])
        q = merged(t[b], batch.teacher_ids[b], t0, t1, o["teacher_temperature"] or o["temperature"], o["merge"])
        if not o["hybrid"]:
            per_sample[b].append(sorted_l1(p, q))
            continue
        same = raw_jsd(p[ids.student], q[ids.teacher], o["beta"])
        rest = sorted_l1(p[ids.student_rest], q[ids.teacher_rest])
        per_sample[b].append(w_m * same + w_u * rest)
    means = [twins.average(values) for values in per_sample if values]
    count = len(batch) if o["empty_samples"] == "count" else max(1, len(means))
    distilled = torch.stack(means).sum() / count if means else s.sum() * 0
    return o["ce_weight"] * twins.sft(s, batch) + (1 - o["ce_weight"]) * distilled


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_value_and_gradient_equal_the_twin(options, dtype):
    batch = batch_of([*samples(), plain_sample([0], [0, 7], 1, 2)])
    s, t = logits_for(batch, dtype=dtype)
    out = gold_loss(s, t, batch, **options)
    out.loss.backward()
    z = s.detach().clone().requires_grad_()
    expected = twin(z, t, batch, **options)
    expected.backward()
    exact = dtype == torch.float64
    torch.testing.assert_close(out.loss, expected, rtol=1e-9 if exact else 2e-5, atol=1e-9)
    torch.testing.assert_close(s.grad, z.grad, rtol=1e-8 if exact else 1e-3, atol=1e-10 if exact else 2e-6)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_chunks_that_would_cut_a_group(options):
    batch = batch_of(samples())
    s, t = logits_for(batch, dtype=torch.float64)
    whole = gold_loss(s, t, batch, **options)
    for chunk_rows in (1, 2, 5):
        z = s.detach().clone().requires_grad_()
        parts = gold_loss(z, t, batch, chunk_rows=chunk_rows, **options)
        torch.testing.assert_close(parts.loss, whole.loss)
        torch.testing.assert_close(parts.per_group, whole.per_group)


def test_equal_models_with_equal_groups_have_nothing_to_learn_beyond_the_data():
    ids = [0, 50, 60, 70, 1]
    batch = batch_of([plain_sample(ids, ids, 1, 1, [[1, 2, 1, 2], [2, 4, 2, 4], [4, 5, 4, 5]])])
    s, _ = logits_for(batch, dtype=torch.float64, widths=(403, 403))
    identity = scipy.sparse.identity(403, format="csr", dtype=np.float32)
    for merge in ("bayesian", "observed"):
        out = gold_loss(s, s.detach(), batch, ce_weight=0.0, merge=merge, projection=identity, with_eos=True)
        assert abs(float(out.loss.detach())) < 1e-12
        assert gold_loss(s, s.detach(), batch, ce_weight=0.0, merge=merge, hybrid=False).loss.detach() < 1e-12


def test_renaming_tokens_matters_to_the_matched_part_only():
    batch = batch_of(samples())
    s, t = logits_for(batch, dtype=torch.float64)
    order = torch.randperm(t.shape[-1], generator=torch.Generator().manual_seed(1))
    # renamed columns of single-token groups: factors look tokens up, so only the distribution rows may move
    single = batch.groups[
        (batch.groups[:, 2] - batch.groups[:, 1] == 1) & (batch.groups[:, 4] - batch.groups[:, 3] == 1)
    ]
    batch = type(batch)(**vars(batch) | {"groups": single})
    with torch.no_grad():
        plain = [gold_loss(s, x, batch, hybrid=False).terms["uld"] for x in (t, t[..., order])]
        hybrid = [gold_loss(s, x, batch).terms["matched"] for x in (t, t[..., order])]
    torch.testing.assert_close(plain[0], plain[1])
    assert (hybrid[0] - hybrid[1]).abs() > 1e-3


def test_an_uncommon_token_is_pushed_down():
    """The failure that X-Token reports: a student token outside the matched set only ever loses probability."""
    batch = batch_of([plain_sample([0, 50, 60], [0, 50, 60], 1, 1, [[1, 2, 1, 2], [2, 3, 2, 3]])])
    s, t = logits_for(batch, dtype=torch.float64, widths=(403, 403))
    keep = np.setdiff1d(np.arange(403), [201])
    matrix = scipy.sparse.csr_matrix((np.ones(402), (keep, keep)), shape=(403, 403))
    gold_loss(
        s,
        t,
        batch,
        ce_weight=0.0,
        beta=0.0,
        weights="fixed",
        matched_weight=1.0,
        unmatched_weight=0.0,
        projection=matrix,
    ).loss.backward()
    assert (s.grad[0, :2, 201] > 0).all()


def test_one_to_one_keeps_the_lowest_student_of_several():
    matrix = scipy.sparse.csr_matrix(
        (np.array([1.0, 1.0, 0.9, 0.1, 1.0, 0.5]), ([0, 1, 2, 2, 4, 5], [3, 3, 0, 1, 2, 4])), shape=(6, 5)
    )
    assert one_to_one(matrix).tolist() == [[0, 3], [4, 2]]


def test_refusals():
    batch = batch_of(samples())
    s, t = logits_for(batch)
    empty = scipy.sparse.csr_matrix((403, 305), dtype=np.float32)
    with pytest.raises(LossInputError, match="share no token"):
        gold_loss(s, t, batch, projection=empty)
    bare = type(batch)(**vars(batch) | {"student": None, "teacher": None})
    with pytest.raises(LossInputError, match="both tokenizers"):
        gold_loss(s, t, bare)
    assert torch.isfinite(gold_loss(s, t, bare, hybrid=False).loss)


def test_diagnostics_tell_what_was_compared():
    batch = batch_of(samples())
    s, t = logits_for(batch)
    facts = gold_loss(s, t, batch).diagnostics
    assert facts["groups"] + facts["dropped_groups"] == len(batch.groups)
    assert 0 < facts["student_matched_mass"] < 1
    assert 0 < facts["row_sum"] < 1  # groups of several tokens sum to less than 1
