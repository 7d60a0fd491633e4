"""P-KL and H-KL against slow twins: merging, columns, learnable W, dynamic scaling; what each does to a lone token."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import torch

from ctkd_core import losses
from ctkd_core.errors import LossInputError
from ctkd_core.losses.base import StateContext
from ctkd_core.losses.batch import align_sample, collate
from ctkd_core.losses.parts.matched import best_pairs, one_to_one
from ctkd_core.losses.xtoken import FLOOR, MAX_SCALE, pkl_loss, spelled_alike, top_columns
from ctkd_core.losses.xtoken_hybrid import hkl_loss
from tests.losses import twins
from tests.losses.cases import batch_of, logits_for, plain_sample, samples
from tests.tiny import tiny_byte_level

PKL = [
    {},
    {"reverse": True, "temperature": 2.0},
    {"merge": "chain"},
    {"merge": "chain", "reverse": True, "temperature": 1.5},
    {"top_k": 40, "temperature": 0.5},
]
HKL = [
    {},
    {"common": "strict"},
    {"threshold": 0.3, "temperature": 2.0, "tail_k": 7},
    {"tail_weight": 0.2},
    {"reverse": True, "temperature": 1.5},
]


def random_map(rows=403, columns=290, seed=0) -> scipy.sparse.csr_matrix:
    """A map like the real ones: one-hot rows, rows of pieces, empty rows, columns of many rows."""
    rng = np.random.default_rng(seed)
    table = np.zeros((rows, columns))
    for row in range(rows):
        kind = rng.random()
        if kind < 0.5:
            table[row, rng.integers(columns)] = 1.0
        elif kind < 0.9:
            for k, column in enumerate(rng.choice(columns, rng.integers(2, 5), replace=False)):
                table[row, column] = 0.9 * 0.1**k
    sums = table.sum(axis=1, keepdims=True)
    return scipy.sparse.csr_matrix(np.divide(table, sums, out=table, where=sums > 0).astype(np.float64))


def group_positions(batch):
    """Of every usable group: sample, student rows, teacher rows (each predicts the token after it)."""
    for b, s0, s1, t0, t1 in batch.groups.tolist():
        s, t = [k - 1 for k in range(s0, s1) if k >= 1], [k - 1 for k in range(t0, t1) if k >= 1]
        if s and t:
            yield b, s, t


def pkl_twin(s, t, batch, w, temperature=1.0, top_k=8192, merge="mean", reverse=False):
    t = t[..., : w.shape[1]]
    best = torch.stack([t[b, batch.teacher_attention[b] != 0].amax(0) for b in range(len(batch))]).amax(0)
    columns = best.topk(min(top_k, len(best))).indices.sort().values
    dense = torch.from_numpy(w.toarray()).to(s.dtype)
    values = []
    for b, mine, other in group_positions(batch):
        p = [(s[b, i] / temperature).softmax(-1) for i in mine]
        log_v = [(t[b, j][columns] / temperature).log_softmax(-1) for j in other]
        full = [(t[b, j] / temperature).log_softmax(-1) for j in other]
        if merge == "mean":
            q, target, factor = torch.stack(p).mean(0), torch.stack(log_v).mean(0), 0.0
        else:
            q = p[-1]
            factor = sum(x[batch.student_ids[b, i + 1]].log() for x, i in zip(p[:-1], mine))
            target = log_v[-1] + sum(x[batch.teacher_ids[b, j + 1]] for x, j in zip(full[:-1], other))
        u = (q[: dense.shape[0]] @ dense)[columns]
        u = u / (u.sum() + FLOOR)
        log_u = (u + FLOOR).log() + factor
        x, y = (log_u, target) if reverse else (target, log_u)
        values.append((x.exp() * (x - y)).sum())
    return temperature**2 * twins.average(values)


def hkl_twin(
    s, t, batch, w, temperature=1.0, common="relaxed", threshold=0.6, tail_k=8192, tail_weight=1.0, reverse=False
):
    t = t[..., : w.shape[1]]
    pairs = one_to_one(w) if common == "strict" else best_pairs(w, threshold)
    left_s = np.setdiff1d(np.arange(s.shape[-1]), pairs[:, 0])
    left_t = np.setdiff1d(np.arange(t.shape[-1]), pairs[:, 1])
    values = []
    for b, mine, other in group_positions(batch):
        lq = torch.stack([(s[b, i] / temperature).log_softmax(-1) for i in mine]).mean(0)
        lv = torch.stack([(t[b, j] / temperature).log_softmax(-1) for j in other]).mean(0)
        first, second = (lq[pairs[:, 0]], lv[pairs[:, 1]]) if reverse else (lv[pairs[:, 1]], lq[pairs[:, 0]])
        shared = (first.exp() * (first - second)).sum()
        n = min(len(left_s), len(left_t), tail_k)
        a, c = (x.exp().sort(descending=True).values[:n] for x in (lq[left_s], lv[left_t]))
        values.append(shared + tail_weight * (a - c).abs().sum())
    return temperature**2 * twins.average(values)


def check(loss, twin, options, scaling, dtype=torch.float64):
    batch = batch_of([*samples(), plain_sample([0], [0, 7], 1, 2)])
    s, t = logits_for(batch, dtype=dtype)
    w = random_map()
    out = loss(s, t, batch, projection=w, scaling=scaling, ce_weight=0.3, **options)
    out.loss.backward()
    z = s.detach().clone().requires_grad_()
    ce, kd = twins.sft(z, batch), twin(z, t, batch, w, **options)
    scale = ((ce / kd).abs().clamp(max=MAX_SCALE) if kd > 0 else 1.0) if scaling == "dynamic" else 0.7
    scale = scale.detach() if isinstance(scale, torch.Tensor) else scale
    expected = (1.0 if scaling == "dynamic" else 0.3) * ce + scale * kd
    expected.backward()
    exact = dtype == torch.float64
    torch.testing.assert_close(out.loss, expected, rtol=1e-9 if exact else 1e-4, atol=1e-9)
    torch.testing.assert_close(s.grad, z.grad, rtol=1e-7 if exact else 2e-3, atol=1e-10 if exact else 5e-6)
    return out


@pytest.mark.parametrize("scaling", ["fixed", "dynamic"])
@pytest.mark.parametrize("options", PKL, ids=str)
def test_pkl_equals_its_twin(options, scaling):
    check(pkl_loss, pkl_twin, options, scaling)


@pytest.mark.parametrize("scaling", ["fixed", "dynamic"])
@pytest.mark.parametrize("options", HKL, ids=str)
def test_hkl_equals_its_twin(options, scaling):
    out = check(hkl_loss, hkl_twin, options, scaling)
    if scaling == "dynamic":
        torch.testing.assert_close(out.loss.detach(), 2 * out.terms["ce"])


@pytest.mark.parametrize("loss", [pkl_loss, hkl_loss])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_tokens_that_the_teacher_rules_out(loss, dtype):
    """A logit of minus infinity is a probability of 0: 0 log 0 is 0, and what the student gives it costs nothing."""
    batch = batch_of(samples())
    s, t = logits_for(batch, dtype=dtype)
    read = batch.teacher_ids.unique().tolist()
    out = [i for i in range(3, 250, 4) if i not in read]
    found = []
    for lowest in (-1e4, -torch.inf):
        z = s.detach().clone().requires_grad_()
        t[..., out] = lowest
        value = loss(z, t, batch, projection=random_map(), scaling="fixed", ce_weight=0.0).loss
        value.backward()
        found.append((value.detach(), z.grad))
    torch.testing.assert_close(found[1], found[0])
    with pytest.raises(LossInputError, match="isn't finite"):
        loss(s, t, batch, projection=random_map(), scaling="fixed", ce_weight=0.0, reverse=True)


def test_tokens_that_neither_side_can_say():
    batch = batch_of(samples())
    s, t = (z.detach() for z in logits_for(batch, dtype=torch.float64))
    pairs = best_pairs(random_map(), 0.6)
    read = [ids.unique().tolist() for ids in (batch.student_ids, batch.teacher_ids)]
    out = np.array([pair for pair in pairs.tolist() if pair[0] not in read[0] and pair[1] not in read[1]])
    found = []
    for lowest in (-1e4, -torch.inf):
        s[..., out[:, 0]], t[..., out[:, 1]] = lowest, lowest
        found.append(hkl_loss(s, t, batch, projection=random_map(), scaling="fixed").loss)
    torch.testing.assert_close(*found)


@pytest.mark.parametrize(("loss", "twin"), [(pkl_loss, pkl_twin), (hkl_loss, hkl_twin)])
def test_single_precision(loss, twin):
    check(loss, twin, {}, "dynamic", torch.float32)


@pytest.mark.parametrize("loss", [pkl_loss, hkl_loss])
@pytest.mark.parametrize("scaling", ["fixed", "dynamic"])
def test_chunks_change_nothing(loss, scaling):
    batch = batch_of(samples())
    s, t = logits_for(batch, dtype=torch.float64)
    w = random_map()
    whole = loss(s, t, batch, projection=w, scaling=scaling)
    whole.loss.backward()
    for chunk_rows in (1, 2, 5):
        z = s.detach().clone().requires_grad_()
        parts = loss(z, t, batch, projection=w, scaling=scaling, chunk_rows=chunk_rows)
        parts.loss.backward()
        torch.testing.assert_close(parts.loss, whole.loss)
        torch.testing.assert_close(parts.per_group, whole.per_group)
        torch.testing.assert_close(z.grad, s.grad)


def test_numba_and_torch_columns_agree():
    from ctkd_core.losses.parts.columns import entries_of

    w = random_map()
    entries = entries_of(w, w.shape, "cpu", torch.float64)
    part = entries.columns(torch.arange(0, 290, 3))
    p = torch.rand(5, 403, dtype=torch.float64)
    wide = torch.rand(5, 806, dtype=torch.float64)
    wide[:, ::2] = p
    strided = wide[:, ::2]  # not contiguous: takes the torch way
    slope = torch.randn(5, part.width, dtype=torch.float64)
    torch.testing.assert_close(part.project(p), part.project(strided))
    torch.testing.assert_close(part.project(p), p @ torch.from_numpy(w.toarray())[:, ::3])
    a, b = torch.zeros(5, 403, dtype=torch.float64), torch.zeros(5, 403, dtype=torch.float64)
    torch.testing.assert_close(part.back(slope, p, a), part.back(slope, strided, b))
    torch.testing.assert_close(a, b)


@pytest.mark.parametrize("loss", [pkl_loss, hkl_loss])
def test_equal_models_and_the_identity_map_give_zero(loss):
    ids = [0, 50, 60, 70, 1]
    batch = batch_of([plain_sample(ids, ids, 1, 1, [[k, k + 1, k, k + 1] for k in range(1, 5)])])
    s, _ = logits_for(batch, dtype=torch.float64, widths=(403, 403))
    identity = scipy.sparse.identity(403, format="csr")
    out = loss(s, s.detach(), batch, projection=identity, scaling="fixed", ce_weight=0.0)
    out.loss.backward()
    assert abs(float(out.loss.detach())) < 1e-7  # the floor of 1e-10 in the logarithm
    assert s.grad.abs().max() < 1e-7
    assert out.diagnostics["top1_agreement"] == 1.0


def test_a_token_without_exact_partner_learns_under_pkl_and_is_pressed_down_under_hkl():
    """`201` is only reachable through its first piece: the case that the paper is about."""
    ids = [0, 50, 60]
    batch = batch_of([plain_sample(ids, ids, 1, 1, [[1, 2, 1, 2], [2, 3, 2, 3]])])
    s, t = logits_for(batch, dtype=torch.float64, widths=(403, 402))
    with torch.no_grad():
        s[..., 20] = -5.0  # the exact partner of the teacher's first piece says little ...
        s[..., 201] = 1.0
        t[...] = -4.0
        t[..., 20] = 8.0  # ... which the teacher is sure of
    rows, columns = list(range(402)), list(range(402))
    rows[201], columns[201] = 201, 20  # 201 maps to the column of 20
    w = scipy.sparse.csr_matrix((np.ones(402), (rows, columns)), shape=(403, 402))
    options = {"projection": w, "scaling": "fixed", "ce_weight": 0.0}
    pkl_loss(s, t, batch, **options).loss.backward()
    assert (s.grad[0, :2, 201] < 0).all()  # gradient descent raises it
    s.grad = None
    hkl_loss(s, t, batch, tail_weight=0.0, **options).loss.backward()
    assert (s.grad[0, :2, 201] > 0).all()


def test_the_heaviest_row_keeps_a_column():
    w = scipy.sparse.csr_matrix(
        np.array([[0.9, 0.1, 0], [1, 0, 0], [0, 0.7, 0.3], [0, 0.7, 0.3], [0, 0, 0], [0.4, 0.3, 0.3]])
    )
    assert best_pairs(w, 0.6).tolist() == [[1, 0], [2, 1]]
    assert best_pairs(w, 0.95).tolist() == [[1, 0]]
    assert best_pairs(scipy.sparse.csr_matrix((3, 3)), 0.1).tolist() == []


def test_padding_does_not_choose_columns_unless_released():
    batch = batch_of([plain_sample([0, 5], [0, 7], 1, 1, [[1, 2, 1, 2]]), plain_sample([0, 5, 6], [0, 7, 8], 1, 1)])
    teacher = torch.linspace(1, 0, 50).expand(2, 3, 50).clone()
    teacher[0, 2, 33] = 9.0  # padding of the first sample
    assert 33 not in top_columns(teacher, 5, batch).tolist()
    assert 33 in top_columns(teacher, 5, None).tolist()


def test_refusals():
    batch = batch_of(samples())
    s, t = logits_for(batch)
    bare = type(batch)(**vars(batch) | {"student": None, "teacher": None})
    for loss in (pkl_loss, hkl_loss):
        with pytest.raises(LossInputError, match="both tokenizers"):
            loss(s, t, bare)


@pytest.mark.parametrize("variant", ["clean", "released"])
def test_without_a_common_token_the_tail_is_all(variant):
    batch = batch_of(samples())
    s, t = logits_for(batch, dtype=torch.float64)
    nothing = scipy.sparse.csr_matrix((403, 290))
    out = hkl_loss(s, t, batch, projection=nothing, scaling="fixed", ce_weight=0.0, variant=variant)
    out.loss.backward()
    assert float(out.terms["common"]) == 0.0
    z = s.detach().clone().requires_grad_()
    expected = hkl_twin(z, t, batch, nothing)
    expected.backward()
    torch.testing.assert_close(out.loss, expected)
    torch.testing.assert_close(s.grad, z.grad)


def test_a_map_that_learns_begins_as_the_fixed_one():
    """Columns that the teacher's head has besides its tokens are cut off with either, however probable they are."""
    batch = batch_of(samples())
    s, t = logits_for(batch, dtype=torch.float64)
    t[..., batch.teacher.n_ids :] += 20
    context = StateContext(s.shape[-1], t.shape[-1], student=batch.student, teacher=batch.teacher)
    state = losses.make_state("xtoken-pkl", s.shape[-1], context=context, learn_projection=True).double()
    own, fixed = (
        losses.loss(
            "xtoken-pkl", s, t, batch, scaling="fixed", learn_projection=learns, state=state if learns else None
        )
        for learns in (True, False)
    )
    torch.testing.assert_close(own.loss, fixed.loss, rtol=1e-6, atol=1e-8)
    assert own.diagnostics["columns"] == fixed.diagnostics["columns"] == batch.teacher.n_ids


def test_a_map_that_learns_needs_its_module():
    batch = batch_of(samples())
    s, t = logits_for(batch)
    with pytest.raises(LossInputError, match=r"state=make_state\('xtoken-pkl'"):
        pkl_loss(s, t, batch, learn_projection=True)


def test_groups_keep_their_numbers_where_only_equal_ones_are_compared():
    student, teacher = tiny_byte_level(nfc=True), tiny_byte_level()
    batch = collate(
        [align_sample("a", " cafe\u0301 noir e\u0301 b", student, teacher, method="gold")], student, teacher
    )
    alike = spelled_alike(batch)
    apart = [batch.groups[k].tolist() for k in (~alike).nonzero().flatten().tolist()]
    sides = (student, batch.student_ids, 1), (teacher, batch.teacher_ids, 3)
    spelt = [
        tuple(b"".join(map(x.token_bytes, ids[g[0], g[k] : g[k + 1]].tolist())) for x, ids, k in sides) for g in apart
    ]
    assert spelt == [("f\u00e9".encode(), "fe\u0301".encode()), ("\u00e9".encode(), "e\u0301".encode())]
    assert len(batch.groups) > 2
    s, t = logits_for(batch, widths=(student.n_ids, teacher.n_ids))
    options = {"projection": random_map(student.n_ids, teacher.n_ids), "scaling": "fixed", "ce_weight": 0.0}
    whole, exact = (pkl_loss(s, t, batch, exact_only=only, **options) for only in (False, True))
    assert exact.per_group.shape == (len(batch.groups),)
    assert (exact.per_group[~alike] == 0).all()
    torch.testing.assert_close(exact.per_group[alike], whole.per_group[alike])
    torch.testing.assert_close(exact.loss.detach(), whole.per_group[alike].mean().to(exact.loss.dtype))
