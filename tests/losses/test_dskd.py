"""DSKD: attention and projectors against plain torch, where gradients go, what the first projectors keep, refusals."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div

from ctkd_core import losses
from ctkd_core.alignment import align
from ctkd_core.errors import LossInputError
from ctkd_core.losses.base import StateContext, States, response_rows
from ctkd_core.losses.batch import align_sample, collate
from ctkd_core.losses.dskd import make_state as make_projectors
from ctkd_core.losses.dskd_eta import LogitKeepingProjectors, aligned_rows, student_ids
from ctkd_core.losses.dskd_eta import make_state as make_keeping
from ctkd_core.losses.parts.matched import matched_ids
from ctkd_core.vocabulary.head_maps import head_maps
from tests.losses.cases import TEXTS, WIDTHS, batch_of, logits_for, pair, plain_sample, samples, seeded, states_for

VOCABULARIES = 403, 305


def models(batch, dtype=torch.float64):
    """Logits and states of both models; each state can take a gradient."""
    s, t = logits_for(batch, dtype=dtype)
    both = []
    for ids, width, vocabulary in zip((batch.student_ids, batch.teacher_ids), WIDTHS, VOCABULARIES):
        states = states_for(ids, width, vocabulary, dtype)
        both.append(
            States(
                tuple(h.requires_grad_() for h in states.hidden),
                states.head.clone().requires_grad_(),
                states.embeddings.clone().requires_grad_(),
            )
        )
    return s, t, *both


def attention_case(dtype=torch.float64, chosen=None):
    batch = batch_of(chosen or [*samples(), plain_sample([0, 9, 9], [0, 7], 1, 2)])  # no answer for the teacher
    s, t, own, other = models(batch, dtype)
    seeded(1)
    state = make_projectors(403, context=StateContext(403, 305, *WIDTHS)).to(dtype)
    return batch, s, t, {"state": state, "student_states": own, "teacher_states": other}


def eta_case(dtype=torch.float64, **options):
    student, teacher = pair()
    chosen = [align_sample("The teacher reads:", text, student, teacher, "dskd-eta") for text in TEXTS]
    batch = batch_of(chosen)
    s, t, own, other = models(batch, dtype)
    t[:, ::3, 302] += 30  # an id that no token has: nothing the student could know
    context = StateContext(403, 305, *WIDTHS, own.head, other.head, student, teacher)
    state = make_keeping(403, context=context, **options).to(dtype)
    return batch, s, t, {"state": state, "student_states": own, "teacher_states": other}


def plain_attention_loss(batch, s, t, given, tau=2.0):
    """The paper's terms sample by sample, in plain torch: means over each term's rows."""
    state, own, other = given["state"], given["student_states"], given["teacher_states"]
    rows, other_rows = response_rows(batch.student_labels), response_rows(batch.teacher_labels)
    ids, other_ids = batch.student_ids, batch.teacher_ids
    e_t = other.embeddings.detach()
    read, said = other_ids[other_rows.sample, other_rows.position - 1], other_rows.target
    key_scale = torch.cat([e_t[read], e_t[said]], dim=-1).std()
    h_t = other.hidden[-1].detach()
    state_scale = h_t[other_rows.sample, other_rows.position - 1].std()
    target_scale = e_t[said].std()
    guesses, t2s, s2t = [], [], []
    for b in range(len(batch)):
        mine, theirs = rows.position[rows.sample == b], other_rows.position[other_rows.sample == b]
        if not len(mine) or not len(theirs):
            continue
        e_s = own.embeddings.detach()
        query = state.query(torch.cat([e_s[ids[b, mine - 1]], e_s[ids[b, mine]]], dim=-1))
        key = torch.cat([e_t[other_ids[b, theirs - 1]], e_t[other_ids[b, theirs]]], dim=-1) / key_scale
        scores = query @ key.T / math.sqrt(2 * WIDTHS[1])
        value = state.t2s(h_t[b, theirs - 1] / state_scale + e_t[other_ids[b, theirs]] / target_scale)
        z = scores.softmax(1) @ value @ own.head.detach().T
        gold = ids[b, mine]
        guesses.append(cross_entropy(z, gold, reduction="none"))
        log_q, log_p = (z.detach() / tau).log_softmax(1), (s[b, mine - 1] / tau).log_softmax(1)
        t2s.append(kl_div(log_p, log_q, log_target=True, reduction="none").sum(1) * (z.argmax(1) == gold))
        back = scores.T.softmax(1) @ state.s2t(own.hidden[-1][b, mine - 1]) @ other.head.detach().T
        log_t = (t[b, theirs - 1] / tau).log_softmax(1)
        s2t.append(kl_div((back / tau).log_softmax(1), log_t, log_target=True, reduction="none").sum(1))
    ce = cross_entropy(s[rows.sample, rows.position - 1], rows.target)
    return 0.5 * ce + 0.5 * sum(torch.cat(part).mean() for part in (guesses, t2s, s2t))


def released_attention_loss(batch, s, t, given, tau=2.0):
    """The released program's sums on whole padded sequences, masked places of both sides in the attention."""
    state, own, other = given["state"], given["student_states"], given["teacher_states"]
    sides = []
    for ids, labels, states in (
        (batch.student_ids, batch.student_labels, own), (batch.teacher_ids, batch.teacher_labels, other),
    ):  # fmt: skip
        mask = labels[:, 1:] != -100
        e, read, said = states.embeddings.detach(), ids[:, :-1] * mask, ids[:, 1:] * mask
        sides.append((mask, torch.cat([e[read], e[said]], dim=-1), e[said], states.hidden[-1][:, :-1], said))
    (m_s, e_s, _, h_s, gold), (m_t, e_t, said_t, h_t, _) = sides
    scores = state.query(e_s) @ (e_t / e_t.std()).transpose(1, 2) / math.sqrt(2 * WIDTHS[1])
    scores = scores - 1e5 * ~(m_s[:, :, None] & m_t[:, None])
    h_t = h_t.detach()
    z = scores.softmax(2) @ state.t2s(h_t / h_t.std() + said_t / said_t.std()) @ own.head.detach().T
    back = scores.transpose(1, 2).softmax(2) @ state.s2t(h_s) @ other.head.detach().T

    def kl(q, p):
        log_q, log_p = (q / tau).log_softmax(-1), (p / tau).log_softmax(-1)
        return (log_q.exp() * (log_q - log_p)).sum(-1)

    guess = cross_entropy(z.transpose(1, 2), gold, reduction="none")
    t2s = kl(z.detach(), s[:, :-1]) * (z.argmax(-1) == gold)
    distilled = (m_s * (guess + t2s)).sum() + (m_t * kl(t[:, :-1], back)).sum()
    ce = cross_entropy(s[:, :-1].transpose(1, 2), gold, reduction="none")
    return 0.5 * ((m_s * ce).sum() + distilled) / m_s.sum()


def gradients(loss, given, s):
    own, other, state = given["student_states"], given["teacher_states"], given["state"]
    leaves = [s, own.hidden[-1], own.head, own.embeddings, other.hidden[-1], other.head, *state.parameters()]
    return torch.autograd.grad(loss, leaves, allow_unused=True)


def test_released_attention_looks_at_masked_places_too():
    """One sample has an answer for the student alone and one for the teacher alone: their rows face masked tokens."""
    one_sided = [plain_sample([0, 9, 9], [0, 7], 1, 2), plain_sample([0, 8], [0, 7, 6, 5], 2, 1)]
    batch, s, t, given = attention_case(chosen=[*samples(), *one_sided])
    out = losses.loss("dskd", s, t, batch, "released", **given)
    expected = released_attention_loss(batch, s, t, given)
    torch.testing.assert_close(out.loss, expected)
    for ours, theirs in zip(gradients(out.loss, given, s), gradients(expected, given, s)):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs)


def test_attention_equals_plain_torch():
    batch, s, t, given = attention_case()
    out = losses.loss("dskd", s, t, batch, **given)
    expected = plain_attention_loss(batch, s, t, given)
    torch.testing.assert_close(out.loss, expected)
    ours, theirs = gradients(out.loss, given, s), gradients(expected, given, s)
    for ours_one, theirs_one in zip(ours, theirs):
        assert (ours_one is None) == (theirs_one is None)
        if ours_one is not None:
            torch.testing.assert_close(ours_one, theirs_one)
    assert [g is None for g in ours[2:6]] == [True] * 4  # heads, embeddings and the teacher learn nothing
    assert out.diagnostics["s2t_rows"] == len(response_rows(batch.teacher_labels))
    assert out.diagnostics["t2s_rows"] == len(response_rows(batch.student_labels)) - 2  # two face no teacher


def test_values_per_group_add_up_to_the_terms():
    batch, s, t, given = attention_case()
    batch = replace(batch, groups=batch.groups[:0])
    places = []  # one group for each sample, over all its rows
    for b in range(len(batch)):
        own, other = (x[b].ne(-100).nonzero().flatten() for x in (batch.student_labels, batch.teacher_labels))
        ends = [int(own[0]), int(own[-1]) + 1, *([int(other[0]), int(other[-1]) + 1] if len(other) else [0, 0])]
        places.append([b, *ends])
    batch = replace(batch, groups=torch.tensor(places))
    out = losses.loss("dskd", s, t, batch, ce_weight=0.25, **given)
    rows, facts = len(response_rows(batch.student_labels)), out.diagnostics
    counts = {"t2s_ce": facts["t2s_targets"], "t2s_kd": facts["t2s_rows"], "s2t_kd": facts["s2t_rows"]}
    expected = 0.25 * out.terms["ce"] * rows + 0.75 * sum(out.terms[name] * n for name, n in counts.items())
    torch.testing.assert_close(out.per_group.sum(), expected)
    torch.testing.assert_close(
        out.loss.detach(), 0.25 * out.terms["ce"] + 0.75 * sum(out.terms[name] for name in counts)
    )


def test_only_correct_projected_rows_teach():
    batch, s, t, given = attention_case()
    quiet = losses.loss("dskd", s, t, batch, ce_weight=0.0, **given)
    assert quiet.diagnostics["t2s_agreement"] < 0.2  # random projectors
    (gradient,) = torch.autograd.grad(quiet.loss, [s])
    rows = response_rows(batch.student_labels)
    taught = gradient[rows.sample, rows.position - 1].abs().sum(-1) > 0
    assert int(taught.sum()) == round(quiet.diagnostics["t2s_agreement"] * quiet.diagnostics["t2s_targets"])


def test_first_projectors_equal_the_pseudo_inverse_and_keep_logits():
    _, _, _, given = eta_case()
    state, own, other = given["state"], given["student_states"], given["teacher_states"]
    t2s, s2t = head_maps(own.head.detach(), other.head.detach(), state.shared)
    np.testing.assert_allclose(state.t2s.detach().numpy(), t2s, rtol=1e-5, atol=1e-6)  # kept in float32
    np.testing.assert_allclose(state.s2t(own.head, other.head).numpy(), s2t, rtol=1e-5, atol=1e-6)
    # the teacher's space is a subspace of the student's: what comes from there keeps its logits
    wide = torch.randn(50, 4, dtype=torch.float64)
    narrow = wide @ torch.randn(4, 3, dtype=torch.float64)
    ids = torch.arange(40)
    kept = LogitKeepingProjectors(wide, narrow, torch.stack([ids, ids], dim=1)).double()
    hidden = torch.randn(5, 3, dtype=torch.float64)
    torch.testing.assert_close(hidden @ kept.t2s @ wide[:40].T, hidden @ narrow[:40].T, rtol=1e-4, atol=1e-5)


def test_the_same_model_on_both_sides_teaches_nothing_but_its_guesses():
    student = pair()[0]
    chosen = [align_sample("The teacher reads:", text, student, student, "dskd-eta") for text in TEXTS]
    batch = collate(chosen, student, student)
    states = states_for(batch.student_ids, WIDTHS[0], 403, torch.float64)
    logits = states.hidden[-1] @ states.head.T
    context = StateContext(403, 403, 6, 6, states.head, states.head, student, student)
    state = make_keeping(403, context=context).double()
    out = losses.loss("dskd-eta", logits, logits, batch, state=state, student_states=states, teacher_states=states)
    assert out.diagnostics["t2s_agreement"] > 0.99
    assert abs(float(out.terms["t2s_kd"])) < 1e-8
    assert abs(float(out.terms["s2t_kd"])) < 1e-8


def test_exact_tokens_equal_plain_torch():
    batch, s, t, given = eta_case()
    state, own, other = given["state"], given["student_states"], given["teacher_states"]
    student, teacher = pair()
    found = matched_ids(None, batch, VOCABULARIES)
    ids = student_ids(found, batch, 305)
    guesses, t2s, s2t = [], [], []
    for b, text in enumerate(TEXTS):
        start = [int((x[b] != -100).nonzero()[0]) for x in (batch.student_labels, batch.teacher_labels)]
        pairs = (align(text, student=student, teacher=teacher, method="dskd-eta").pairs + start).tolist()
        ends = [int((x[b] != -100).nonzero()[-1]) for x in (batch.student_labels, batch.teacher_labels)]
        for i, j in [*pairs, ends]:
            z = other.hidden[-1][b, j - 1].detach() @ state.t2s @ own.head.detach().T
            target = ids[t[b, j - 1].argmax()]
            if target >= 0:
                guesses.append(cross_entropy(z, target))
                if z.argmax() == target:
                    log_q, log_p = (z.detach() / 2).log_softmax(0), (s[b, i - 1] / 2).log_softmax(0)
                    t2s.append(kl_div(log_p, log_q, log_target=True, reduction="sum"))
            back = own.hidden[-1][b, i - 1] @ state.s2t(own.head, other.head) @ other.head.detach().T
            log_t = (t[b, j - 1] / 2).log_softmax(0)
            s2t.append(kl_div((back / 2).log_softmax(0), log_t, log_target=True, reduction="sum"))
    assert len(guesses) < len(s2t)  # some of the teacher's tokens are unknown to the student
    out = losses.loss("dskd-eta", s, t, batch, ce_weight=0.0, **given)
    expected = sum(torch.stack(part).mean() if part else 0.0 for part in (guesses, t2s, s2t))
    torch.testing.assert_close(out.loss, expected)
    for ours, theirs in zip(gradients(out.loss, given, s), gradients(expected, given, s)):
        if theirs is None:
            assert ours is None or ours.abs().max() == 0  # no projected row agreed
        else:
            torch.testing.assert_close(ours, theirs)


def train_projector(batch, s, t, given, steps=120):
    optimiser = torch.optim.Adam(given["state"].parameters(), lr=0.2)
    for _ in range(steps):
        optimiser.zero_grad()
        losses.loss("dskd-eta", s.detach(), t, batch, **given).loss.backward()
        optimiser.step()


def test_the_projector_learns_to_agree_and_then_teaches():
    batch, s, t, given = eta_case(torch.float32)
    before = losses.loss("dskd-eta", s, t, batch, **given)
    train_projector(batch, s, t, given)
    after = losses.loss("dskd-eta", s, t, batch, **given)
    assert after.terms["t2s_ce"] < 0.8 * before.terms["t2s_ce"]
    assert after.diagnostics["t2s_agreement"] > before.diagnostics["t2s_agreement"]
    # above the threshold rows teach that predict another token, too
    everything = losses.loss("dskd-eta", s, t, batch, agreement=0.0, **given)
    assert everything.terms["t2s_kd"] != after.terms["t2s_kd"]


def test_released_targets_go_by_vocabulary_strings():
    batch, s, t, given = eta_case()
    clean = losses.loss("dskd-eta", s, t, batch, **given)
    released = losses.loss("dskd-eta", s, t, batch, variant="released", **given)
    # byte-level strings are the same either way; rows without a target are in no term
    assert released.diagnostics["s2t_rows"] == clean.diagnostics["t2s_targets"] < clean.diagnostics["s2t_rows"]
    torch.testing.assert_close(released.terms["t2s_ce"], clean.terms["t2s_ce"])


def test_rows_without_a_target_never_teach():
    batch, s, t, given = eta_case()
    train_projector(batch, s, t, given)
    rows, other = response_rows(batch.student_labels), response_rows(batch.teacher_labels)
    number, facing = aligned_rows(batch, rows.number, other.number)
    known = t.flatten(0, 1)[other.flat[facing]].argmax(1) != 302
    assert 0 < int(known.sum()) < len(known)
    out = losses.loss("dskd-eta", s, t, batch, ce_weight=0.0, agreement=0.0, **given)
    quiet = losses.loss("dskd-eta", s, t, batch, ce_weight=0.0, agreement=1.0, **given)
    assert quiet.diagnostics["t2s_agreement"] == out.diagnostics["t2s_agreement"] > 0  # so 0.0 lets all known rows in
    (gradient,) = torch.autograd.grad(out.loss, [s])
    taught = gradient[rows.sample, rows.position - 1].abs().sum(-1) > 0
    assert taught[number].tolist() == known.tolist()
    # the threshold is the share that the diagnostics name
    share = out.diagnostics["t2s_agreement"]
    above = losses.loss("dskd-eta", s, t, batch, ce_weight=0.0, agreement=share, **given)
    torch.testing.assert_close(above.loss, quiet.loss)
    below = losses.loss("dskd-eta", s, t, batch, ce_weight=0.0, agreement=share - 1e-6, **given)
    torch.testing.assert_close(below.loss, out.loss)


def test_half_precision_heads_keep_the_map():
    generator = torch.Generator().manual_seed(0)
    heads = [torch.randn(3000, w, generator=generator) + 2 * torch.randn(1, w, generator=generator) for w in (12, 16)]
    half = [head.bfloat16() for head in heads]
    ids = torch.arange(3000)
    state = LogitKeepingProjectors(half[0], half[1], torch.stack([ids, ids], dim=1))
    _, expected = head_maps(half[0].double(), half[1].double(), state.shared)
    made = state.s2t(half[0], half[1])
    assert made.dtype == torch.float32
    np.testing.assert_allclose(made.numpy(), expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["dskd", "dskd-eta"])
def test_states_and_heads_in_bfloat16(name):
    batch, s, t, given = attention_case(torch.float32) if name == "dskd" else eta_case(torch.float32)
    exact = losses.loss(name, s, t, batch, **given)
    for key in ("student_states", "teacher_states"):
        own = given[key]
        given[key] = States(tuple(h.bfloat16() for h in own.hidden), own.head.bfloat16(), own.embeddings.bfloat16())
    out = losses.loss(name, s.bfloat16(), t.bfloat16(), batch, **given)
    torch.testing.assert_close(out.loss, exact.loss, rtol=5e-2, atol=0)


def test_constant_states_have_no_scale():
    batch, s, t, given = attention_case()
    other = given["teacher_states"]
    given["teacher_states"] = States((torch.full_like(other.hidden[-1], 0.5),), other.head, other.embeddings)
    assert losses.loss("dskd", s, t, batch, **given).loss < 100


def test_few_shared_tokens_and_refusals():
    batch, s, t, given = eta_case(shared_tokens=40)
    assert len(given["state"].shared) == 40
    for name, found in (("dskd", make_projectors), ("dskd-eta", make_keeping)):
        with pytest.raises(LossInputError, match=r"make_state needs context=StateContext"):
            found(403)
        with pytest.raises(LossInputError, match="reads hidden states"):
            losses.loss(name, s, t, batch)
        states = {key: given[key] for key in ("student_states", "teacher_states")}
        with pytest.raises(LossInputError, match=rf"make_state\('{name}'"):
            losses.loss(name, s, t, batch, **states)
    foreign = replace(batch, student=None)
    with pytest.raises(LossInputError, match="needs both tokenizers"):
        losses.loss("dskd-eta", s, t, foreign, **given)


STATE_METHODS = ("dskd", "dskd-eta", "cot2align")


def complete(name):
    if name == "dskd-eta":
        return eta_case(torch.float32)
    batch, s, t, given = attention_case(torch.float32)
    if name == "cot2align":
        given["state"] = losses.make_state(name, 403, context=StateContext(403, 305, *WIDTHS))
    return batch, s, t, given


@pytest.mark.parametrize("name", STATE_METHODS)
@pytest.mark.parametrize("side", ["student_states", "teacher_states"])
def test_states_that_do_not_fit_the_batch(name, side):
    batch, s, t, given = complete(name)
    whole = given[side]
    for cut in (slice(1, None), slice(None, -1)):
        given[side] = States(tuple(h[:, cut] for h in whole.hidden), whole.head, whole.embeddings)
        with pytest.raises(LossInputError, match=r"states of this batch, \[B, T, width\], not shifted"):
            losses.loss(name, s, t, batch, **given)
    for wrong in (whole.hidden[-1], whole.hidden):
        with pytest.raises(LossInputError, match=rf"{side} must be States"):
            losses.loss(name, s, t, batch, **given | {side: wrong})
    with pytest.raises(LossInputError, match=rf"{side} must be States"):
        losses.loss(name, s, t, batch, **given | {side: States(whole.hidden[-1], whole.head, whole.embeddings)})


@pytest.mark.parametrize("name", STATE_METHODS)
def test_states_of_the_other_side_and_another_methods_module(name):
    batch, s, t, given = complete(name)
    with pytest.raises(LossInputError, match="positions; pass the states of this batch"):
        turned = {"student_states": given["teacher_states"], "teacher_states": given["student_states"]}
        losses.loss(name, s, t, batch, **given | turned)
    with pytest.raises(LossInputError, match=rf"make_state\('{name}'"):
        losses.loss(name, s, t, batch, **given | {"state": torch.nn.Linear(3, 3)})


@pytest.mark.parametrize("name", ["dskd", "dskd-eta"])
def test_heads_and_projectors_of_other_sizes(name):
    batch, s, t, given = complete(name)
    wider = torch.nn.functional.pad(t, (0, 64))
    with pytest.raises(LossInputError, match=r"the teacher's head is \[305, 5\], .* its logits 369"):
        losses.loss(name, s, wider, batch, **given)
    other = replace(batch, student=batch.teacher, teacher=batch.student)
    turned = StateContext(305, 403, *WIDTHS[::-1], given["teacher_states"].head, given["student_states"].head,
                          other.student, other.teacher)  # fmt: skip
    with pytest.raises(LossInputError, match=r"made for widths 5 and 6, but the states are 6 and 5 wide"):
        losses.loss(name, s, t, batch, **given | {"state": losses.make_state(name, 305, context=turned)})


def test_methods_without_states_do_not_mind_them():
    batch, s, t, given = complete("dskd")
    states = {key: given[key] for key in ("student_states", "teacher_states")}
    torch.testing.assert_close(losses.loss("gold", s, t, batch, **states).loss, losses.loss("gold", s, t, batch).loss)
    with pytest.raises(LossInputError, match="loss 'gold' takes no state"):
        losses.loss("gold", s, t, batch, state=given["state"])
    with pytest.raises(LossInputError, match="loss 'sedi' takes no projection"):
        losses.loss("sedi", s, t, batch, projection=np.eye(3))
