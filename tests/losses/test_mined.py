"""MinED against a slow twin; which rows it copies, the released programs, several teachers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from ctkd_core import losses, methods
from ctkd_core.alignment.mined import mined, usable_rows
from ctkd_core.errors import LossInputError
from ctkd_core.losses import fusion
from ctkd_core.losses.base import response_rows
from ctkd_core.losses.batch import align_sample, collate, encode_response
from ctkd_core.losses.engine.chunk import Buffers
from ctkd_core.losses.mined import TargetRule, add_moved_rows, default_ids, heaviest_rows, mined_loss
from ctkd_core.losses.parts.mined_rows import facing_rows
from ctkd_core.losses.released import mined as released
from ctkd_core.losses.views import case
from ctkd_core.losses.views.case import Case
from ctkd_core.losses.views.mined import copied_rows
from ctkd_core.losses.views.target import COLLIDED, NO_STUDENT_TOKEN
from tests.losses import twins
from tests.losses.cases import (
    PROMPT,
    TEXTS,
    batch_of,
    check_gradient,
    logits_for,
    move_logits,
    pair,
    plain_sample,
    reordered,
)
from tests.losses.cases import samples as span_samples

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "mined.json").read_text())["cases"]
IDS = heaviest_rows(
    csr_matrix(  # 305 teacher ids onto 403 student ids: mostly themselves, some share one, some go nowhere
        (np.ones(295), ([k if k % 7 else k // 7 for k in range(295)], range(295))), shape=(403, 305)
    )
)
PROJECTION = csr_matrix((np.ones(295), (IDS[:295], range(295))), shape=(403, 305))
OPTIONS = [
    {},
    {"accept": "hard", "temperature": 1.0},
    {"accept": "map", "many_to_one": "max", "fallback_weight": 0.0},
    {"many_to_one": "first", "byte_exact": False, "fallback_weight": 0.3},
    {"top_k": 10},
    {"top_k": 7, "many_to_one": "max"},
    {"top_k": 7, "many_to_one": "first", "temperature": 0.7},
]


def mined_samples(texts=TEXTS):
    return [align_sample(PROMPT, text, *pair(), "mined") for text in texts]


def make_batch(texts=TEXTS):
    return batch_of(mined_samples(texts))


def twin_rows(batch, accept="soft", byte_exact=True, ids=IDS):
    """(sample, position predicted) -> teacher row, or None where the next token is the target."""
    student, teacher = batch.student, batch.teacher
    rows = {}
    for b in range(len(batch)):
        s_ids, t_ids = batch.student_ids[b].tolist(), batch.teacher_ids[b].tolist()
        learnt_s = (batch.student_labels[b] != -100).nonzero().flatten().tolist()
        learnt_t = (batch.teacher_labels[b] != -100).nonzero().flatten().tolist()
        partners: dict[int, list[int]] = {}
        for _, i, j in batch.pairs[batch.pairs[:, 0] == b].tolist():
            partners.setdefault(i, []).append(j)
        for position in learnt_s:
            i = position - 1
            if position == learnt_s[0]:
                rows[b, position] = learnt_t[0] - 1
                continue
            rows[b, position] = None
            if len(partners.get(i, [])) != 1:
                continue
            (j,) = partners[i]
            texts = student.token_bytes(s_ids[i]), teacher.token_bytes(t_ids[j])
            equal = texts[0].replace(b" ", b"") == texts[1].replace(b" ", b"")
            accepted = (equal and accept != "map") or (ids[t_ids[j]] == s_ids[i] and accept != "hard")
            sides = (student, s_ids, learnt_s[0], i), (teacher, t_ids, learnt_t[0], j)
            read = [b"".join(t.token_bytes(x) for x in ids_[first : last + 1]) for t, ids_, first, last in sides]
            if accepted and (len(read[0]) == len(read[1]) or not byte_exact):
                rows[b, position] = j
    return rows


def twin_target(z, width, temperature, many_to_one, top_k, ids=IDS):
    """{student id: probability} of one teacher row."""
    order = z.argsort(descending=True).tolist()[: top_k or len(z)]
    q = (z[order] / temperature).softmax(-1).tolist()
    target: dict[int, float] = {}
    chosen = list(zip(order, q))
    if many_to_one == "first" and not top_k:
        chosen = sorted(chosen)
    for token, p in chosen:
        place = int(ids[token])
        if place < 0:
            continue
        if many_to_one == "sum":
            target[place] = target.get(place, 0.0) + p
        elif many_to_one == "max":
            target[place] = max(target.get(place, 0.0), p)
        else:
            target.setdefault(place, p)
    dense = torch.zeros(width, dtype=z.dtype)
    dense[list(target)] = torch.tensor(list(target.values()), dtype=z.dtype)
    return dense / dense.sum()


def twin(s, t, batch, accept="soft", byte_exact=True, many_to_one="sum", top_k=0, temperature=2.0, fallback_weight=1.0):
    total, weight = torch.zeros((), dtype=s.dtype), 0.0
    for (b, position), j in twin_rows(batch, accept, byte_exact).items():
        z = s[b, position - 1]
        if j is None:
            total = total - fallback_weight * z.log_softmax(-1)[batch.student_ids[b, position]]
            weight += fallback_weight
            continue
        target = twin_target(t[b, j], len(z), temperature, many_to_one, top_k)
        log_p = (z / temperature).log_softmax(-1)
        total = total + (torch.special.xlogy(target, target) - target * log_p).sum()
        weight += 1.0
    return total / weight


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_value_and_gradient_equal_the_twin(options):
    batch = make_batch()
    s, t = logits_for(batch, dtype=torch.float64)
    out = mined_loss(s, t, batch, ce_weight=0.4, projection=PROJECTION, **options)
    out.loss.backward()
    z = s.detach().clone().requires_grad_()
    expected = 0.4 * twins.sft(z, batch) + 0.6 * twin(z, t, batch, **options)
    expected.backward()
    torch.testing.assert_close(out.loss, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(s.grad, z.grad, rtol=1e-6, atol=1e-11)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gradcheck(options):
    batch = make_batch([" 1234", " é"])
    s, t = logits_for(batch, dtype=torch.float64)
    check_gradient(lambda z: mined_loss(z, t, batch, projection=PROJECTION, **options).loss, s, batch)


@pytest.mark.parametrize("pad", ["right", "left"])
@pytest.mark.parametrize("chunk_rows", [1, 3])
def test_chunks_padding_and_order_change_nothing_with_pairs(pad, chunk_rows):
    case = reordered(mined_samples(), pad)
    whole = mined_loss(*case.logits, case.first)
    again = mined_loss(*case.moved, case.second, chunk_rows=chunk_rows)
    torch.testing.assert_close(again.loss, whole.loss)
    assert again.diagnostics["usable_rows"] == whole.diagnostics["usable_rows"]
    torch.testing.assert_close(case.back(again.per_group), whole.per_group)


@pytest.mark.parametrize("accept", ["hard", "soft", "map"])
@pytest.mark.parametrize("byte_exact", [True, False])
def test_the_rows_are_those_of_the_alignment(accept, byte_exact):
    student, teacher = pair()
    for text in TEXTS:
        batch = make_batch([text])
        rows = response_rows(batch.student_labels)
        facing = facing_rows(rows, batch, accept, byte_exact, torch.from_numpy(IDS))
        encodings = encode_response(text, student), encode_response(text, teacher)
        alignment = mined(*encodings, same_end=byte_exact)
        expected = usable_rows(alignment, accept, IDS)
        before = [int((labels[0] != -100).nonzero()[0]) for labels in (batch.student_labels, batch.teacher_labels)]
        assert facing[0] == before[1] - 1  # both have read the prompt
        assert (facing[1:] - before[1] * (facing[1:] >= 0)).tolist() == expected.tolist()


def test_without_pairs_the_groups_say_who_faces_whom():
    batch = batch_of([plain_sample([0, 5, 6, 7, 1], [0, 5, 6, 7, 1], 1, 1, [[1, 2, 1, 2], [2, 4, 2, 4], [4, 5, 4, 5]])])
    rows = response_rows(batch.student_labels)
    ids = torch.arange(305)
    assert facing_rows(rows, batch, "map", False, ids).tolist() == [0, 1, -1, -1]


def test_equal_models_learn_the_text_alone():
    _, teacher = pair()
    batch = collate([align_sample(PROMPT, text, teacher, teacher, "mined") for text in TEXTS], teacher, teacher)
    s, _ = logits_for(batch, dtype=torch.float64, widths=(300, 305))
    out = mined_loss(s, s.detach(), batch)
    assert out.diagnostics["usable_share"] == 1.0
    assert out.diagnostics["matched_mass"] > 0.99
    assert out.terms["mined"].abs() < 1e-12
    assert out.terms["fallback"] == 0


def test_renaming_teacher_tokens_needs_a_renamed_map():
    batch = make_batch()
    s, t = logits_for(batch, dtype=torch.float64)
    order = torch.arange(305)
    order[:295] = torch.randperm(295, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        here = mined_loss(s, t, batch, projection=PROJECTION, accept="hard").loss
        there = mined_loss(s, t[..., order], batch, projection=PROJECTION, accept="hard").loss
        undone = mined_loss(s, t[..., order], batch, projection=PROJECTION[:, order.numpy()], accept="hard").loss
    assert abs(float(here - there)) > 1e-3
    torch.testing.assert_close(here, undone)


def test_a_masked_student_token_is_a_fault_only_where_the_target_asks_for_it():
    batch = make_batch()
    s, t = logits_for(batch)
    s.data[..., 402] = -torch.inf
    assert torch.isfinite(mined_loss(s, t, batch, projection=PROJECTION).loss)
    used = set(batch.student_ids.flatten().tolist())
    banned = next(k for k in range(1, 290) if k % 7 and k not in used)
    s.data[..., banned] = -torch.inf
    with pytest.raises(LossInputError, match="mined isn't finite"):
        mined_loss(s, t, batch, projection=PROJECTION)


def test_the_heaviest_student_token_of_each_column_is_taken():
    matrix = csr_matrix(np.array([[0.5, 0.2, 0.0], [0.5, 0.7, 0.0]]))
    assert heaviest_rows(matrix).tolist() == [0, 1, -1]


def test_faults_say_what_to_do():
    batch = make_batch()
    s, t = logits_for(batch)
    with pytest.raises(LossInputError, match="did you mean 'soft'"):
        mined_loss(s, t, batch, accept="sofd")
    with pytest.raises(LossInputError, match="many_to_one"):
        mined_loss(s, t, batch, many_to_one="all")
    bare = dataclasses.replace(batch, student=None, teacher=None)
    with pytest.raises(LossInputError, match="or give a projection"):
        mined_loss(s, t, bare)
    with pytest.raises(LossInputError, match="accept='map' with byte_exact=False"):
        mined_loss(s, t, bare, projection=PROJECTION)
    assert torch.isfinite(mined_loss(s, t, bare, projection=PROJECTION, accept="map", byte_exact=False).loss)
    t[...] = torch.nan
    with pytest.raises(LossInputError, match="NaN"):
        mined_loss(s, t, batch)


# --- released forms ---


def golden(name):
    return next(case for case in GOLDEN if case["id"] == name)


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_fuse_targets_equal_the_recorded_ones(kind):
    case = golden(f"mined_fuse_{kind}")
    given = case["inputs"]
    marked = [x.replace(case["options"]["blend_marker"], case["options"]["base_marker"]) for x in given["blend_vocab"]]
    mapped = [given["blend_to_base_token_map"].get(x, "") if kind == "soft" else x for x in marked]
    ids = torch.tensor([given["base_vocab"].index(x) if x in given["base_vocab"] else -1 for x in mapped])
    z = torch.full((len(given["blend_topk_ids"]), len(marked)), -torch.inf, dtype=torch.float64)
    z.scatter_(1, torch.tensor(given["blend_topk_ids"]), torch.tensor(given["blend_topk_logits"], dtype=torch.float64))
    rows = released.fuse_targets(z, ids, len(given["base_vocab"]), 10, 1.0)
    compared = 0
    for partners, expected in zip(case["outputs"]["base_to_blend"], case["outputs"]["aligned_distribution"]):
        if len(partners) == 1 and sorted(expected)[-2] > 0:  # a copied row, not a one-hot one
            np.testing.assert_allclose(rows[partners[0]].numpy(), expected, rtol=1e-6, atol=1e-9)
            compared += 1
    assert compared


def test_dskd_rows_equal_the_recorded_ones():
    case = golden("mined_dskd_fast")
    given, width = case["inputs"], len(case["inputs"]["base_vocab"])
    ids = torch.tensor(given["teacher_to_student_id_map"])
    moved = released.dskd_logits(torch.tensor(given["teacher_logits"], dtype=torch.float64), ids, width)
    one_hot = released.one_hot_logits(torch.tensor(given["base_target_ids"]), width, moved)
    own = [given["base_vocab"].index(x) for x in given["base_tokens"]]
    other = [given["blend_vocab"].index(x) for x in given["blend_tokens"]]
    lists = case["outputs"]["base_to_blend"]
    for i, (partners, expected) in enumerate(zip(lists, case["outputs"]["aligned_teacher_logits"])):
        used = len(partners) == 1 and int(ids[other[partners[0]]]) == own[i]
        np.testing.assert_allclose((moved[partners[0]] if used else one_hot[i]).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("accept", ["soft", "hard", "map"])
def test_released_forms_learn(accept):
    batch = make_batch()
    s, t = logits_for(batch, dtype=torch.float64)
    out = losses.loss("mined", s, t, batch, variant="released", accept=accept, projection=PROJECTION)
    out.loss.backward()
    assert torch.isfinite(s.grad).all()
    assert (s.grad.abs().sum(-1) > 0).sum() == len(response_rows(batch.student_labels))
    assert set(out.terms) == {"ce", "mined"}
    empty = batch_of([plain_sample([0, 5], [0, 7], 2, 2)])
    s, t = logits_for(empty)
    nothing = mined_loss(s, t, empty, variant="released", accept=accept)
    nothing.loss.backward()
    assert nothing.loss == 0


def test_dskds_form_is_the_clean_one_but_for_the_fallbacks_temperature():
    batch = make_batch()
    s, t = logits_for(batch, dtype=torch.float64)
    options = {"accept": "map", "projection": PROJECTION, "ce_weight": 0.0, "temperature": 1.0}
    rows = response_rows(batch.student_labels)
    facing = [facing_rows(rows, batch, "map", False, torch.from_numpy(IDS), released=flag) for flag in (False, True)]
    assert (facing[0] != facing[1]).sum() <= len(batch)  # the rows at the prompts' ends
    with torch.no_grad():
        plain = mined_loss(s, t, batch, many_to_one="first", byte_exact=False, **options)
        theirs = mined_loss(s, t, batch, variant="released", max_align_num=1, **options)
    if torch.equal(*facing):
        torch.testing.assert_close(plain.loss, theirs.loss)


@pytest.mark.parametrize("options", [{"accept": "soft"}, {"accept": "hard", "top_k": 9}, {"accept": "map"}], ids=str)
def test_the_released_programs_compare_the_first_row_of_a_batch_like_any_other(options):
    """Texts that begin without a mark: row 0 of sample 0 stands at a token that is aligned."""
    student, teacher = (dataclasses.replace(tokenizer, bos_id=None) for tokenizer in pair())
    chosen = [align_sample("", text, student, teacher, "mined") for text in ("abcd cats", " cats of 12")]
    first, second = (collate(order, student, teacher) for order in (chosen, chosen[::-1]))
    s, t = logits_for(first, dtype=torch.float64)
    moved = move_logits(first, second, [1, 0], s, t)
    ids = torch.from_numpy(IDS)
    facing = facing_rows(response_rows(first.student_labels), first, options["accept"], False, ids, released=True)
    assert facing[0] == 0
    given = {"variant": "released", "projection": PROJECTION, "ce_weight": 0.0, **options}
    here, there = mined_loss(s, t, first, **given), mined_loss(*moved, second, **given)
    torch.testing.assert_close(there.loss, here.loss)
    assert there.diagnostics["usable_rows"] == here.diagnostics["usable_rows"]


# --- several teachers ---


def test_weights_of_the_sources():
    ce = torch.tensor([[1.0, 3.0, torch.inf], [2.0, 0.5, 1.0]])
    assert fusion.min_ce(ce).tolist() == [[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]
    expected = torch.tensor([np.exp(-1.0), np.exp(-2.0)]).softmax(0)
    torch.testing.assert_close(fusion.avg_ce(ce)[:, 0], expected.float())


def test_sequence_cross_entropy_is_the_teachers_own():
    batch = make_batch()
    _, t = logits_for(batch, dtype=torch.float64)
    found = fusion.sequence_ce(t, batch, chunk_rows=3)
    for b in range(len(batch)):
        at = (batch.teacher_labels[b] != -100).nonzero().flatten()
        values = -t[b].log_softmax(-1)[at - 1, batch.teacher_ids[b, at]]
        torch.testing.assert_close(found[b], values.mean())


def test_a_teacher_without_response_tokens_knows_nothing_of_a_sample():
    """Infinity there, be it the last sample or all of them; the other source is chosen."""
    batch = make_batch()
    _, t = logits_for(batch, dtype=torch.float64)
    whole = fusion.sequence_ce(t, batch)
    for silent in ([3], [0, 2], [2, 3], [0, 1, 2, 3]):
        labels = batch.teacher_labels.clone()
        labels[silent] = -100
        bare = dataclasses.replace(batch, teacher_labels=labels)
        expected = whole.clone()
        expected[silent] = torch.inf
        assert fusion.sequence_ce(t, bare).tolist() == pytest.approx(expected.tolist())
        weights = fusion.fusion_weights("min_ce", [(t, bare), (t, batch)])
        assert weights[0].tolist() == [float(b not in silent) for b in range(4)]


def test_two_equal_teachers_are_one_and_the_better_one_is_chosen():
    batch = make_batch()
    s, t = logits_for(batch, dtype=torch.float64)
    with torch.no_grad():
        one = mined_loss(s, t, batch, projection=PROJECTION)
        two = fusion.fuse(s, [(t, batch), (t, batch)], "avg_ce", projections=[PROJECTION, PROJECTION])
        torch.testing.assert_close(one.loss, two.loss)
        torch.testing.assert_close(one.per_group, two.per_group)
        sure = t.clone()
        at = (batch.teacher_labels != -100).nonzero()
        sure[at[:, 0], at[:, 1] - 1, batch.teacher_ids[at[:, 0], at[:, 1]]] += 10.0
        best = fusion.fuse(s, [(t, batch), (sure, batch)], "min_ce", projections=[PROJECTION, PROJECTION])
        torch.testing.assert_close(best.loss, mined_loss(s, sure, batch, projection=PROJECTION).loss)


def test_fused_targets_equal_the_twin():
    batch = make_batch()
    s, t = logits_for(batch, dtype=torch.float64)
    _, other = logits_for(batch, seed=5, dtype=torch.float64)
    thin = dataclasses.replace(batch, pairs=batch.pairs[::2])  # another teacher, aligned elsewhere
    weights = torch.tensor([[0.3, 0.5, 0.9, 0.0], [0.7, 0.5, 0.1, 1.0]], dtype=torch.float64)
    out = fusion.fuse(s, [(t, batch), (other, thin)], weights, ce_weight=0.0, projections=[PROJECTION, PROJECTION])
    out.loss.backward()
    z = s.detach().clone().requires_grad_()
    rows = [twin_rows(b) for b in (batch, thin)]
    total = torch.zeros((), dtype=torch.float64)
    for b, position in rows[0]:
        row = z[b, position - 1]
        target, share = torch.zeros(403, dtype=torch.float64), 0.0
        for k, logits in enumerate((t, other)):
            j = rows[k][b, position]
            if j is not None and weights[k, b] > 0:
                share += float(weights[k, b])
                target = target + weights[k, b] * twin_target(logits[b, j], 403, 2.0, "sum", 0)
        if share > 0:
            target = target / share
            log_p = (row / 2.0).log_softmax(-1)
            total = total + share * (torch.special.xlogy(target, target) - target * log_p).sum()
        total = total - (1.0 - share) * row.log_softmax(-1)[batch.student_ids[b, position]]
    (total / len(rows[0])).backward()
    torch.testing.assert_close(out.loss, total / len(rows[0]))
    torch.testing.assert_close(s.grad, z.grad, rtol=1e-6, atol=1e-11)


def test_fusion_faults():
    batch = make_batch()
    s, t = logits_for(batch)
    with pytest.raises(LossInputError, match="at least one"):
        fusion.fuse(s, [])
    with pytest.raises(LossInputError, match="did you mean 'min_ce'"):
        fusion.fuse(s, [(t, batch)], "min")
    with pytest.raises(LossInputError, match=r"shape \[1 teachers, 4 samples\]"):
        fusion.fuse(s, [(t, batch)], torch.ones(2, 4))
    with pytest.raises(LossInputError, match="add up to 1"):
        fusion.fuse(s, [(t, batch)], torch.full((1, 4), 0.5))
    other = batch_of(span_samples())
    changed = dataclasses.replace(other, student_ids=other.student_ids.flip(0))
    with pytest.raises(LossInputError, match="same student ids"):
        fusion.fuse(s, [(t, batch), (t, changed)])


@pytest.mark.parametrize("many_to_one", ["sum", "max"])
def test_a_row_whose_mass_has_no_place_adds_nothing_and_one_with_all_of_it_adds_the_share(many_to_one):
    ids = torch.tensor([2, 2, 0, -1])
    z = torch.tensor([[-torch.inf, -torch.inf, -torch.inf, 0.0], [0.0, -torch.inf, -torch.inf, -torch.inf]])
    out, share = torch.zeros(3, 4), torch.tensor([1.0, 0.5])
    target = TargetRule(1.0, many_to_one, 0)
    mass, _ = add_moved_rows(z, ids, target, Buffers(z.device, z.dtype), out, torch.tensor([0, 2]), share)
    assert mass.tolist() == [0.0, 1.0]
    assert out.tolist() == [[0.0] * 4, [0.0] * 4, [0.0, 0.0, 0.5, 0.0]]


@pytest.mark.parametrize("options", [{}, {"top_k": 12}, {"many_to_one": "max", "temperature": 1.5}], ids=str)
def test_the_picture_says_which_part_of_the_teacher_is_lost_and_why(options, monkeypatch):
    """Equal tokens only: what the student's vocabulary lacks, what lies outside the top, what shares a token."""
    student, teacher = pair()[::-1]  # the student's vocabulary is the smaller one
    batch = collate([align_sample(PROMPT, TEXTS[0], student, teacher, "mined")], student, teacher)
    s, t = (z.detach() for z in logits_for(batch, widths=(student.n_ids, teacher.n_ids)))
    chosen = methods.get("mined").resolve_loss({"accept": "hard", **options})
    groups = tuple(tuple(g[1:]) for g in batch.groups.tolist())
    monkeypatch.setattr(case, "SMALLEST", -1.0)  # every part, however small
    found = [x for x in copied_rows(Case(batch, s, t, chosen, "clean", groups)) if x and x.position >= 0]
    assert len(found) > 3
    ids = default_ids(student, teacher, True)
    for target in found:
        q = (t[0, target.position - 1] / chosen["temperature"]).softmax(-1)
        top = q.argsort(descending=True).tolist()[: chosen["top_k"] or len(q)]
        lacking = sum(float(q[i]) for i in top if ids[i] < 0)
        assert lacking > 0.01
        places = [int(ids[i]) for i in top if ids[i] >= 0]
        kept = {p: [float(q[i]) for i in top if ids[i] == p] for p in places}
        shared = sum(sum(x) - max(x) for x in kept.values()) if chosen["many_to_one"] == "max" else 0.0
        assert [p for _, p in target.lost] == pytest.approx(
            [1 - sum(float(q[i]) for i in top), lacking, shared], abs=1e-5
        )
        assert [what for what, _ in target.lost][1:] == [NO_STUDENT_TOKEN, COLLIDED]
        assert str(chosen["top_k"]) in target.lost[0][0]


@pytest.mark.parametrize(
    "many_to_one, top_k, moved",
    [("sum", 0, 0.6), ("sum", 3, 0.6), ("max", 0, 0.4), ("max", 3, 0.4), ("first", 0, 0.2), ("first", 3, 0.4)],
)
def test_of_several_candidates_on_one_token(many_to_one, top_k, moved):
    """Probabilities 0.2 and 0.4 on one token; the first is the lowest id, or the best of a top."""
    z = torch.tensor([[0.2, 0.4, 0.2, 0.1]]).log()
    ids, out = torch.tensor([1, 1, 0, -1]), torch.zeros(1, 2)
    target = TargetRule(1.0, many_to_one, top_k)
    add_moved_rows(z, ids, target, Buffers(z.device, z.dtype), out, torch.tensor([0]), torch.ones(1))
    assert out[0].tolist() == pytest.approx([0.2 / (0.2 + moved), moved / (0.2 + moved)])
