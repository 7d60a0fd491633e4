"""CDM against a slow twin: groups, lists, slots, both divergences; the released program's differences."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from ctkd_core import losses
from ctkd_core.alignment.costs import entropy
from ctkd_core.alignment.dtw import cdm
from ctkd_core.alignment.released import cdm as released_lists
from ctkd_core.errors import LossInputError
from ctkd_core.losses.base import response_rows
from ctkd_core.losses.batch import align_sample, collate, encode_response
from ctkd_core.losses.cdm import cdm_loss
from ctkd_core.losses.kernels.top import _bound, top_of_means
from ctkd_core.losses.parts.realign import realigned
from ctkd_core.losses.parts.slots import rows_after, top_of_groups
from ctkd_core.losses.released import cdm as released
from ctkd_core.vocabulary.released import contextual as released_contextual
from tests.alignment.reference import merged_logits
from tests.losses import twins
from tests.losses.cases import PROMPT, TEXTS, batch_of, check_gradient, logits_for, pair, plain_sample, reordered

OPTIONS = [
    {},
    {"top_k": 7, "threshold": 0.0},
    {"top_k": 20, "threshold": 0.6, "temperature": 1.5},
    {"merge": "last", "top_k": 12},
    {"normaliser": "slots", "top_k": 1000, "temperature": 2.0, "threshold": 0.0},
]
# A small map: every student id up to 200 faces the teacher id twice as large.
SMALL = csr_matrix((np.ones(150), (range(150), range(0, 300, 2))), shape=(403, 305))


def cdm_samples(texts=TEXTS):
    return [align_sample(PROMPT, text, *pair(), "cdm") for text in texts]


def make_batch(texts=TEXTS):
    return batch_of(cdm_samples(texts))


def groups_of(batch):
    """(sample, student rows, teacher rows): rows at the tokens of each group, if what follows is learnt."""
    out = []
    for b in range(len(batch)):
        learnt = [
            (labels[b] != -100).nonzero().flatten().tolist() for labels in (batch.student_labels, batch.teacher_labels)
        ]
        if not all(learnt):
            continue
        own = [g[1:] for g in batch.groups.tolist() if g[0] == b]
        if learnt[0][0] > 0 and learnt[1][0] > 0:
            own = [[learnt[0][0] - 1, learnt[0][0], learnt[1][0] - 1, learnt[1][0]], *own]
        for s0, s1, t0, t1 in own:
            if s1 in learnt[0] and t1 in learnt[1]:
                out.append((b, list(range(s0, s1)), list(range(t0, t1))))
    return out


@functools.cache
def levenshtein(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row, before = [i], row
        for j, y in enumerate(b, 1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y)))
    return row[-1]


def string(tokenizer, token):
    if token >= tokenizer.n_ids or token in tokenizer.special_ids:
        return None
    return tokenizer.token_bytes(token).decode("utf-8", "surrogateescape").replace(" ", "")


def partners(mine, theirs, forth, taken, names, threshold):
    """Per id of `mine`: its static partner, or the nearest free candidate of `theirs`, or None."""
    out = []
    for u in mine:
        if u in forth:
            out.append(forth[u])
            continue
        found, least = None, threshold
        for v in theirs:
            a, b = names[0](u), names[1](v)
            if v in taken or a is None or b is None:
                continue
            both = max(1, len(a) + len(b))
            if abs(len(a) - len(b)) / both >= least:  # so many letters must be put in, at least
                continue
            distance = levenshtein(a, b) / both
            if distance < least:
                found, least = v, distance
        out.append(found)
    return out


def static_of(batch, projection):
    if projection is not None:
        return dict(zip(*(x.tolist() for x in projection.nonzero())))
    student, teacher = batch.student, batch.teacher
    ids = {teacher.token_bytes(k): k for k in reversed(range(teacher.n_ids)) if k not in teacher.special_ids}
    found = {k: ids.get(student.token_bytes(k)) for k in range(student.n_ids) if k not in student.special_ids}
    roles = {getattr(student, role): getattr(teacher, role) for role in ("bos_id", "eos_id", "pad_id")}
    return {k: v for k, v in found.items() if v is not None} | roles


def best(z, k):
    return z.detach().sort(descending=True, stable=True).indices[:k].tolist()


def twin(
    s, t, batch, temperature=0.8, top_k=100, threshold=0.3, merge="mean", normaliser="groups", projection=None
):  # fmt: skip
    forth = static_of(batch, projection)
    back = {v: k for k, v in forth.items()}
    names = [lambda k: string(batch.student, k), lambda k: string(batch.teacher, k)]
    k = min(top_k, s.shape[-1], t.shape[-1])
    values: list[list] = [[], []]
    for b, mine, theirs in groups_of(batch):
        rows = (mine, theirs) if merge == "mean" else (mine[-1:], theirs[-1:])
        z_s, z_t = s[b, rows[0]].mean(0), t[b, rows[1]].mean(0)
        top_s, top_t = best(z_s, k), best(z_t, k)
        to_s = partners(top_t, top_s, back, forth, names[::-1], threshold)
        to_t = partners(top_s, top_t, forth, back, names, threshold)
        for part, slots in enumerate((list(zip(to_s, top_t)), list(zip(top_s, to_t)))):
            kept = [(u, v) for u, v in slots if u is not None and v is not None]
            if kept:
                own, other = (list(x) for x in zip(*kept))
                log_q = (z_t[other] / temperature).log_softmax(-1)
                log_p = (z_s[own] / temperature).log_softmax(-1)
                values[part].append((log_q.exp() * (log_q - log_p)).sum())
    factor = temperature**2 / 2 / (2 * k if normaliser == "slots" else 1)
    return factor * (twins.average(values[0]) + twins.average(values[1]))


@pytest.mark.parametrize("projection", [None, SMALL], ids=["bytes", "given"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_value_and_gradient_equal_the_twin(options, projection):
    batch = make_batch()
    s, t = logits_for(batch, dtype=torch.float64)
    out = cdm_loss(s, t, batch, ce_weight=0.4, projection=projection, **options)
    out.loss.backward()
    z = s.detach().clone().requires_grad_()
    expected = 0.4 * twins.sft(z, batch) + 0.6 * twin(z, t, batch, projection=projection, **options)
    expected.backward()
    torch.testing.assert_close(out.loss, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(s.grad, z.grad, rtol=1e-6, atol=1e-11)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gradcheck(options):
    batch = make_batch([" 1234", " é"])
    s, t = logits_for(batch, dtype=torch.float64)
    check_gradient(lambda z: cdm_loss(z, t, batch, **options).loss, s, batch)


@pytest.mark.parametrize("pad", ["right", "left"])
@pytest.mark.parametrize("chunk_rows", [1, 3])
def test_chunks_padding_and_order_change_nothing_with_groups_of_a_path(pad, chunk_rows):
    case = reordered(cdm_samples(), pad)
    whole = cdm_loss(*case.logits, case.first)
    again = cdm_loss(*case.moved, case.second, chunk_rows=chunk_rows)
    torch.testing.assert_close(again.loss, whole.loss)
    torch.testing.assert_close(case.back(again.per_group), whole.per_group)


def test_groups_are_read_at_their_tokens_and_the_prompts_end_is_one():
    batch = batch_of([plain_sample([0, 5, 6, 7, 1], [0, 8, 9, 1], 2, 2, [[2, 4, 2, 3], [4, 5, 3, 4]])])
    groups = rows_after(response_rows(batch.student_labels), batch)
    flat = response_rows(batch.student_labels).flat
    assert flat[groups.student_row].tolist() == [1, 2, 3]  # the prompt's last token, then both tokens of the group
    assert groups.student_group.tolist() == [0, 1, 1]
    assert groups.teacher_row.tolist() == [1, 2]
    assert groups.teacher_group.tolist() == [0, 1]  # what follows the end is nobody's


def test_aligning_anew_is_the_aligner_with_entropies():
    batch = make_batch()
    s, t = logits_for(batch, dtype=torch.float64, scale=4.0)
    new = realigned(batch, s.detach(), t, chunk_rows=3)
    student, teacher = pair()
    expected_groups, expected_pairs = [], []
    for b, text in enumerate(TEXTS):
        encodings = encode_response(text, student), encode_response(text, teacher)
        starts = [int((x[b] != -100).nonzero()[0]) for x in (batch.student_labels, batch.teacher_labels)]
        h = [entropy(z.detach()[b, at : at + len(e)]) for z, at, e in zip((s, t), starts, encodings)]
        found = cdm(*encodings, student_entropy=h[0], teacher_entropy=h[1])
        end = [starts[0] + len(encodings[0]), starts[1] + len(encodings[1])]
        expected_groups += [[b, *(g + np.repeat(starts, 2)).tolist()] for g in found.groups]
        expected_groups.append([b, end[0], end[0] + 1, end[1], end[1] + 1])
        expected_pairs += [[b, *(p + starts).tolist()] for p in found.pairs] + [[b, *end]]
    assert new.groups.tolist() == expected_groups
    assert new.pairs.tolist() == expected_pairs
    assert expected_pairs != batch.pairs.tolist()  # the entropies do matter
    for variant in ("clean", "released"):
        here = cdm_loss(s, t, new, variant=variant)
        there = cdm_loss(s, t, batch, realign=True, variant=variant)
        torch.testing.assert_close(here.loss, there.loss)
        assert len(there.per_group) == len(batch.groups)


def test_equal_models_have_no_distance():
    _, teacher = pair()
    batch = collate([align_sample(PROMPT, text, teacher, teacher, "cdm") for text in TEXTS], teacher, teacher)
    s, _ = logits_for(batch, dtype=torch.float64, widths=(300, 300))
    out = cdm_loss(s, s.detach(), batch)
    assert out.terms["teacher_slots"] < 1e-12
    assert out.terms["student_slots"] < 1e-12
    assert out.diagnostics["top1_agreement"] == 1.0
    moved = torch.cat([s.detach()[..., 1:], s.detach()[..., :1]], dim=-1)  # other names for the same shape
    assert cdm_loss(s, moved, batch).terms["teacher_slots"] > 0.1


def test_rows_without_partners_are_left_out_and_counted():
    batch = make_batch()
    s, t = logits_for(batch)
    nowhere = csr_matrix(([1.0], ([402], [304])), shape=(403, 305))
    s.data[..., 402], t[..., 304] = -50.0, -50.0
    out = cdm_loss(s, t, batch, projection=nowhere, top_k=5, threshold=0.0)
    assert out.diagnostics["compared_groups"] == 0
    assert out.diagnostics["mapped_share"] == 0
    torch.testing.assert_close(out.loss.detach(), 0.5 * out.terms["ce"])


def test_the_dynamic_map_only_adds_slots():
    batch = make_batch()
    s, t = logits_for(batch)
    found = [cdm_loss(s, t, batch, threshold=x, projection=SMALL).diagnostics for x in (0.0, 0.3, 1.0)]
    shares = [facts["mapped_share"] for facts in found]
    assert shares[0] < shares[1] < shares[2]
    fixed = found[0]
    assert fixed["static_share"] == fixed["mapped_share"]
    assert 0 < fixed["teacher_mapped_mass"] <= 1


def test_a_slot_that_a_model_masks_is_left_out():
    batch = make_batch()
    s, t = logits_for(batch)
    used = set(batch.student_ids.flatten().tolist())
    banned = next(k for k in range(300, 10, -1) if k not in used)
    s.data[..., banned] = -torch.inf
    t[..., 200] = -torch.inf
    assert torch.isfinite(cdm_loss(s, t, batch, top_k=1000).loss)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [5, 127, 128, 3000, 40_000])
@pytest.mark.parametrize("kind", ["plain", "ties", "equal", "masked"])
def test_the_largest_entries_equal_a_full_sort(dtype, width, kind):
    z = np.random.default_rng(0).normal(size=(12, width)).astype(dtype)
    if kind == "ties":
        z = np.round(z)
    elif kind == "equal":
        z[:] = 1.0
    elif kind == "masked":
        z[:, ::2] = -np.inf
    starts = np.array([0, 1, 2, 5, 12])
    for k in {1, min(width, 7), min(width, 100)}:
        ids, bad = np.zeros((4, k), dtype=np.int64), np.zeros(4, dtype=np.bool_)
        top_of_means(z, starts, ids, bad)
        assert not bad.any()
        for g, (first, last) in enumerate(itertools.pairwise(starts)):
            mean = z[first].copy()
            for r in range(first + 1, last):
                mean += z[r]
            mean /= dtype(last - first)
            assert ids[g].tolist() == np.argsort(-mean, kind="stable")[:k].tolist()


@pytest.mark.parametrize("width", [5, 15, 16, 17, 23, 24, 31, 32, 50])
def test_the_bound_is_the_kth_of_the_largest_entries_of_strided_parts(width):
    """In plain Python, so that an entry read beyond its part is noticed: the compiled loop checks no index."""
    row = np.random.default_rng(width).permutation(width).astype(np.float32)
    for k in (1, 3, 8):
        found = _bound.py_func(row, k, np.empty(8, dtype=np.float32))
        if width < 16:
            assert found == -np.inf, "too few entries for parts to be worth it"
        else:
            parts = row[: width // 8 * 8].reshape(-1, 8).max(axis=0)
            assert found == np.sort(parts)[-k]
        assert (row >= found).sum() >= min(k, width)


def test_nan_anywhere_in_a_row_is_noticed():
    z = torch.randn(3, 5000)
    z[1, 4321] = torch.nan
    rows, count = torch.arange(3), torch.ones(3, dtype=torch.int64)
    assert top_of_groups(z, rows, rows, count, 4, torch.float32, None)[1].tolist() == [False, True, False]
    batch = make_batch()
    s, t = logits_for(batch)
    t[0, int(batch.groups[0, 3]), 5] = torch.nan
    with pytest.raises(LossInputError, match="slots isn't finite in 1 of"):
        cdm_loss(s, t, batch)


def test_faults_say_what_to_do():
    batch = make_batch()
    s, t = logits_for(batch)
    with pytest.raises(LossInputError, match="did you mean 'mean'"):
        cdm_loss(s, t, batch, merge="men")
    bare = dataclasses.replace(batch, student=None, teacher=None)
    with pytest.raises(LossInputError, match="set threshold=0"):
        cdm_loss(s, t, bare)
    assert torch.isfinite(cdm_loss(s, t, bare, projection=SMALL, threshold=0.0).loss)
    with pytest.raises(LossInputError, match="tokenizers"):
        cdm_loss(s, t, bare, variant="released")


def test_logits_narrower_than_a_tokenizer_map_to_nothing():
    batch = make_batch([" cats"])
    wide = int(batch.student_ids.max()) + 1, int(batch.teacher_ids.max()) + 1
    s, t = logits_for(batch, widths=wide)
    assert torch.isfinite(cdm_loss(s, t, batch, top_k=1000).loss)


@pytest.mark.parametrize("normaliser", ["groups", "slots"])
def test_the_released_form_is_its_own_parts_put_together(normaliser):
    batch = make_batch()
    s, t = logits_for(batch, dtype=torch.float64)
    out = losses.loss("cdm", s, t, batch, variant="released", normaliser=normaliser, top_k=8, ce_weight=0.0)
    out.loss.backward()
    assert torch.isfinite(s.grad).all()
    assert s.grad.abs().sum() > 0
    student, teacher = batch.student, batch.teacher
    own = {student.token(k): k for k in range(student.n_ids)}
    forward = np.array([own.get(teacher.token(k), 0) if k else 0 for k in range(teacher.n_ids)])
    maps = forward, released_contextual.inverse_map(forward.tolist(), 256 + len(student.backend.get_vocab(False)))
    names = [
        [x.token_bytes(k).decode("utf-8", "replace") for k in range(x.n_ids)] + [""] * 9 for x in (student, teacher)
    ]
    terms, shares = [], []
    for b in range(len(batch)):
        at = [(x[b] != -100).nonzero().flatten().tolist() for x in (batch.student_labels, batch.teacher_labels)]
        path = batch.pairs[batch.pairs[:, 0] == b][:, 1:].numpy() - [at[0][0], at[1][0]]
        lists = released_lists.alignment_lists(path, len(at[0]), len(at[1]))
        z = s.detach()[b, at[0]].numpy(), t[b, at[1]].numpy()
        z = merged_logits(*z, lists[0], released_lists.merge_groups(lists[1]))
        rows = [torch.from_numpy(x) for x in z]
        target, compared, share = released.both_passes(*rows, maps, (names[0] + [""] * 3, names[1] + [""] * 5), 8, 0.3)
        terms.append(released.slot_terms(target, compared, 0.8))
        shares.append(share)
    everything = torch.cat(terms)
    expected = everything.mean() if normaliser == "slots" else everything.sum(dim=1).mean()
    torch.testing.assert_close(out.loss.detach(), expected)
    assert out.diagnostics["mapped_share"] == pytest.approx(np.mean(shares))
    assert 0 < np.mean(shares) < 1
    assert released_contextual.UNMAPPED == 0


def test_released_maps_are_as_long_as_the_programs():
    """What lies past a map isn't banned by its number."""
    student, teacher = pair()
    forward, backward = released._static(None, student, teacher, (900, 800))
    assert len(forward) == teacher.n_ids
    assert len(backward) == len(student.backend.get_vocab(with_added_tokens=False)) + 256
    assert (backward[forward[forward > 0]] > 0).all() and forward[0] == 0


def test_the_released_form_has_nothing_to_say_about_nothing():
    empty = batch_of([plain_sample([0, 5], [0, 7], 2, 2)])
    s, t = logits_for(empty)
    out = cdm_loss(s, t, empty, variant="released")
    out.loss.backward()
    assert out.loss == 0
    assert out.per_group.shape == (0,)
