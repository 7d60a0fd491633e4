"""ALM against a slow twin: chunk likelihoods, debiasing, joined chunks, divergences, the hidden-state term."""

from __future__ import annotations

import math

import pytest
import torch

from ctkd_core.alignment.alm import boundary_tokens
from ctkd_core.errors import LossInputError
from ctkd_core.losses.alm import alm_loss, make_state
from ctkd_core.losses.base import StateContext, States
from ctkd_core.losses.batch import align_sample, collate
from ctkd_core.losses.parts.binarised import DIVERGENCES, EPSILON, KINDS, compare, log1m_exp
from ctkd_core.losses.parts.boundary import boundary_mask
from ctkd_core.losses.parts.chunks import chunks_of
from tests.losses import twins
from tests.losses.cases import batch_of, logits_for, pair, plain_sample, samples, seeded

OPTIONS = [
    {},
    {"debias": "none", "temperature": 1.0},
    {"debias": "append", "divergence": "tvd", "temperature": 5.0},
    {"gamma": 0.3, "divergence": "reverse_kl", "temperature": 10.0},
    {"divergence": "binary_ce"},
    {"divergence": "reverse_binary_ce", "debias": "none"},
    {"divergence": "kl_limit"},
    {"divergence": "tvd_limit", "debias": "append"},
]


def bernoulli(kind, a, b, tau):
    """The divergence from probabilities, the textbook way."""
    if kind == "kl_limit":
        x, y = a - EPSILON, b - EPSILON
        return (x - y) + x * (-y).log() - x * (-x).log()
    if kind == "tvd_limit":
        return (a - b).abs()
    p, q = (a / tau - EPSILON).exp(), (b / tau - EPSILON).exp()
    ce = lambda x, y: -(x * y.log() + (1 - x) * (1 - y).log())  # noqa: E731
    return {
        "kl": lambda: ce(p, q) - ce(p, p),
        "reverse_kl": lambda: ce(q, p) - ce(q, q),
        "binary_ce": lambda: ce(p, q),
        "reverse_binary_ce": lambda: ce(q, p),
        "tvd": lambda: (p - q).abs(),
    }[kind]()


def twin(s, t, batch, **options):
    return twins.average(twin_units(s, t, batch, sorted(batch.groups.tolist()), **options))


def twin_units(s, t, batch, groups, temperature=5.0, divergence="kl", debias="merge", gamma=0.1):
    """The value of each unit that these groups, in order, are joined to."""
    masks = [
        boundary_mask(k, z.shape[-1], z.device, z.dtype).bool() for k, z in ((batch.student, s), (batch.teacher, t))
    ]
    sides = (s, batch.student_ids, masks[0]), (t, batch.teacher_ids, masks[1])
    values, unit, sample = [], None, None

    def close():
        if unit is None:
            return
        own = [x + (y if debias != "none" else 0.0) for x, y in unit]
        values.append(bernoulli(divergence, own[1].clamp(max=0), own[0].clamp(max=0), temperature))

    for b, s0, s1, t0, t1 in groups:
        if s0 < 1 or t0 < 1:
            continue
        numbers = []
        followed = all(
            end < labels.shape[1] and labels[b, end] != -100
            for labels, end in ((batch.student_labels, s1), (batch.teacher_labels, t1))
        )
        for (logits, ids, mask), start, end in zip(sides, (s0, t0), (s1, t1)):
            log_p = logits[b].log_softmax(-1)
            text = sum(log_p[k - 1, ids[b, k]] for k in range(start, end))
            numbers.append((text, log_p[end - 1][mask].logsumexp(0) if followed else text * 0))
        joined = unit is not None and sample == b and debias == "merge" and unit[1][1].exp() <= gamma
        if joined:
            unit = [(old[0] + new[0], new[1]) for old, new in zip(unit, numbers)]
        else:
            close()
            unit = numbers
        sample = b
    close()
    return values


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_value_and_gradient_equal_the_twin(options):
    batch = batch_of(
        [*samples(), plain_sample([0], [0, 7], 1, 2), plain_sample([5, 6], [0, 7, 8], 0, 1, [[0, 1, 1, 2]])]
    )
    s, t = logits_for(batch, dtype=torch.float64)
    out = alm_loss(s, t, batch, ce_weight=0.3, **options)
    out.loss.backward()
    z = s.detach().clone().requires_grad_()
    expected = 0.3 * twins.sft(z, batch) + 0.7 * twin(z, t, batch, **options)
    expected.backward()
    torch.testing.assert_close(out.loss, expected, rtol=1e-7, atol=1e-10)
    torch.testing.assert_close(s.grad, z.grad, rtol=1e-5, atol=1e-9)
    assert out.diagnostics["left_out_chunks"] == 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("down", [30.0, 60.0, 200.0])
def test_words_that_hardly_begin(dtype, down):
    """Its chance lies below what sums of float32 probabilities hold."""
    batch = batch_of(samples())
    s, t = (z.detach() for z in logits_for(batch, dtype=dtype))
    for z, tokenizer in ((s, batch.student), (t, batch.teacher)):
        z[1:, :, boundary_mask(tokenizer, z.shape[-1], z.device, dtype).bool()] -= down
    options = {"debias": "append", "temperature": 20.0}
    out = alm_loss(s.requires_grad_(), t, batch, ce_weight=0.0, **options)
    out.loss.backward()
    z = s.detach().double().requires_grad_()
    expected = twin(z, t.double(), batch, **options)
    expected.backward()
    tolerance = {"rtol": 1e-7, "atol": 1e-10} if dtype == torch.float64 else {"rtol": 2e-4, "atol": 2e-6}
    torch.testing.assert_close(out.loss.double(), expected, **tolerance)
    torch.testing.assert_close(s.grad.double(), z.grad, **tolerance)


def test_a_vocabulary_without_word_beginnings_learns_from_the_text():
    batch = batch_of(samples())
    s, t = (z.detach() for z in logits_for(batch, dtype=torch.float64))
    begins = boundary_mask(batch.student, s.shape[-1], s.device, s.dtype).bool()
    s[..., begins] = -torch.inf
    s.requires_grad_()
    kept = [i for i in batch.student_ids[batch.student_labels != -100].tolist() if begins[i]]
    with torch.no_grad():
        s[..., kept] = 0.0  # the text's own tokens have a probability, but nothing else that begins a word
    alm_loss(s, t, batch, ce_weight=0.0, debias="append").loss.backward()
    assert torch.isfinite(s.grad).all() and s.grad.abs().sum() > 0


@pytest.mark.parametrize("chunk_rows", [1, 4])
def test_chunks_change_nothing(chunk_rows):
    batch = batch_of(samples())
    s, t = logits_for(batch, dtype=torch.float64)
    whole, parts = (alm_loss(s, t, batch, chunk_rows=rows) for rows in (None, chunk_rows))
    torch.testing.assert_close(whole.loss, parts.loss)
    torch.testing.assert_close(whole.per_group, parts.per_group)


def test_log_of_one_minus_exp_is_exact_at_both_ends():
    import mpmath

    mpmath.mp.dps = 60
    x = torch.tensor([-1e-9, -1e-4, -0.6, -0.7, -5.0, -40.0], dtype=torch.float64)
    exact = [float(mpmath.log(1 - mpmath.e ** mpmath.mpf(float(v)))) for v in x]
    torch.testing.assert_close(log1m_exp(x), torch.tensor(exact, dtype=torch.float64), rtol=1e-9, atol=0)


@pytest.mark.parametrize("kind", ["kl", "reverse_kl", "tvd", "kl_limit", "tvd_limit"])
def test_equal_likelihoods_have_no_distance(kind):
    x = torch.tensor([-0.1, -3.0, -50.0], dtype=torch.float64)
    assert compare(kind, x, x, 100.0).abs().max() < 1e-12


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_ratios_estimate_the_kl_from_the_students_own_text(temperature):
    """Schulman's k2 and k3 of r = (p_T / p_S)^(1 / temperature); the mean of k3 is the KL itself where r is a ratio."""
    teacher, student = torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.1, 0.2, 0.3, 0.4]], dtype=torch.float64).log()
    k2, k3 = (compare(kind, teacher, student, temperature) for kind in ("k2", "k3"))
    r = [(math.exp(a) / math.exp(b)) ** (1 / temperature) for a, b in zip(teacher.tolist(), student.tolist())]
    assert k2.tolist() == pytest.approx([math.log(x) ** 2 / 2 for x in r])
    assert k3.tolist() == pytest.approx([x - 1 - math.log(x) for x in r])
    if temperature == 1.0:
        kl = (student.exp() * (student - teacher)).sum()
        assert float((student.exp() * k3).sum()) == pytest.approx(float(kl))


def test_a_large_temperature_approaches_its_limit():
    a, b = torch.tensor([-3.0, -40.0]).double(), torch.tensor([-5.0, -20.0]).double()
    torch.testing.assert_close(1e6 * compare("kl", a, b, 1e6), compare("kl_limit", a, b, 1.0), rtol=0.5, atol=0)
    near = compare("kl", a + 0, b, 1e3) * 1e3
    assert (near > 0).all()
    assert set(DIVERGENCES) < set(KINDS)


def test_the_same_model_under_one_tokenizer_has_nothing_to_learn():
    tokenizer = pair()[0]
    batch = collate(
        [align_sample("The teacher reads:", " In 2024 we sold", tokenizer, tokenizer)], tokenizer, tokenizer
    )
    s, _ = logits_for(batch, dtype=torch.float64, widths=(403, 403))
    out = alm_loss(s, s.detach(), batch, ce_weight=0.0)
    out.loss.backward()
    assert abs(float(out.loss.detach())) < 1e-12
    assert s.grad.abs().max() < 1e-9


def test_chunks_join_where_no_new_word_is_expected():
    batch = batch_of(samples())
    s, t = logits_for(batch)
    facts = [alm_loss(s, t, batch, gamma=gamma).diagnostics for gamma in (0.0, 0.2, 1.0)]
    assert facts[0]["units"] == facts[0]["chunks"] > facts[1]["units"] > facts[2]["units"] == len(samples())


def test_boundary_mask_covers_padded_and_cut_vocabularies():
    tokenizer = pair()[0]
    starts = torch.from_numpy(boundary_tokens(tokenizer)).double()
    for width in (tokenizer.n_ids + 3, tokenizer.n_ids - 5):
        mask = boundary_mask(tokenizer, width, torch.device("cpu"), torch.float64)
        assert mask.shape == (width,)
        kept = min(width, tokenizer.n_ids)
        torch.testing.assert_close(mask[:kept], starts[:kept])
        assert not mask[kept:].any()


def test_hidden_states_join_in():
    batch = batch_of(samples())
    s, t = logits_for(batch)
    seeded(0)
    own, other = torch.randn(*batch.student_ids.shape, 6, requires_grad=True), torch.randn(*batch.teacher_ids.shape, 5)
    table = torch.zeros(1)
    context = StateContext(403, student_width=6, teacher_width=5)
    state = make_state(403, hidden_weight=1.0, context=context)
    given = {"student_states": States((own,), table, table), "teacher_states": States((other,), table, table)}
    out = alm_loss(s, t, batch, hidden_weight=2.0, ce_weight=0.5, state=state, **given)
    out.loss.backward()
    plain = alm_loss(s, t, batch)
    torch.testing.assert_close(out.loss.detach(), plain.loss.detach() + 0.5 * 2.0 * out.terms["hidden"])
    assert own.grad.abs().sum() > 0
    assert state.project.weight.grad.abs().sum() > 0
    assert make_state(403) is None
    with pytest.raises(LossInputError, match="needs a projector"):
        make_state(403, hidden_weight=1.0)
    with pytest.raises(LossInputError, match="hidden_weight is set"):
        alm_loss(s, t, batch, hidden_weight=1.0)


def hidden_term(order, pad="right", dtype=torch.float64):
    """The hidden term of samples in some order; states are a table of ids, NaN on padding and outside the answers."""
    chosen = [samples()[i] for i in order]
    batch = batch_of(chosen, pad)
    s, t = logits_for(batch, dtype=dtype)
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(403, 6, generator=generator, dtype=torch.float64).to(dtype)
    sides = []
    for ids, labels, width in (
        (batch.student_ids, batch.student_labels, 6),
        (batch.teacher_ids, batch.teacher_labels, 5),
    ):
        hidden = table[ids][..., :width].clone()
        hidden[labels == -100] = float("nan")
        sides.append(States((hidden.requires_grad_(),), table, table))
    seeded(1)
    state = make_state(403, hidden_weight=1.0, context=StateContext(403, student_width=6, teacher_width=5))
    given = {"student_states": sides[0], "teacher_states": sides[1]}
    out = alm_loss(s, t, batch, hidden_weight=1.0, state=state, **given)
    return out.terms["hidden"], out, sides[0].hidden[0], state


@pytest.mark.parametrize(("order", "pad"), [([3, 2, 1, 0], "right"), ([1, 0, 3, 2], "left")])
def test_hidden_states_are_read_at_each_chunks_last_token(order, pad):
    first, out, states, _ = hidden_term([0, 1, 2, 3])
    torch.testing.assert_close(hidden_term(order, pad)[0], first)
    (gradient,) = torch.autograd.grad(out.loss, [states])
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_hidden_states_of_any_precision(dtype):
    torch.testing.assert_close(hidden_term([0, 1], dtype=dtype)[0].double(), hidden_term([0, 1])[0], rtol=2e-2, atol=0)


def blocks_by_hand(s, t, batch, sizes):
    """tokenkit: sums over `size` chunks in a row, the boundary of the last one; all sizes in one mean, over their
    number."""
    total, count = 0.0, 0
    by_sample = [sorted(g for g in batch.groups.tolist() if g[0] == b and g[1] >= 1) for b in range(len(batch))]
    logs = s.log_softmax(-1), t.log_softmax(-1)
    for size in sizes:
        for groups in by_sample:
            for start in range(0, len(groups), size):
                block = groups[start : start + size]
                sums = []
                for log_p, ids, first, mask in (
                    (logs[0], batch.student_ids, 1, boundary_mask(batch.student, s.shape[-1], s.device, s.dtype)),
                    (logs[1], batch.teacher_ids, 3, boundary_mask(batch.teacher, t.shape[-1], t.device, t.dtype)),
                ):
                    text = sum(log_p[g[0], k - 1, ids[g[0], k]] for g in block for k in range(g[first], g[first + 1]))
                    b, end = block[-1][0], block[-1][first + 1]
                    follows = block[-1] is not groups[-1]
                    sums.append(text + (log_p[b, end - 1][mask.bool()].logsumexp(0) if follows else 0.0))
                total = total + bernoulli("kl", sums[1].clamp(max=0), sums[0].clamp(max=0), 5.0)
                count += 1
    return total / count / len(sizes)


@pytest.mark.parametrize("sizes", ["2", "1,3", "100", "1"])
def test_chunks_in_a_row_are_compared_as_one(sizes):
    batch = batch_of(samples())
    s, t = logits_for(batch, dtype=torch.float64)
    out = alm_loss(s, t, batch, ce_weight=0.0, debias="append", chunk_sizes=sizes)
    out.loss.backward()
    z = s.detach().clone().requires_grad_()
    expected = blocks_by_hand(z, t, batch, [int(x) for x in sizes.split(",")])
    expected.backward()
    torch.testing.assert_close(out.loss, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(s.grad, z.grad, rtol=1e-6, atol=1e-11)
    released = alm_loss(s, t, batch, ce_weight=0.0, debias="append", chunk_sizes=sizes, variant="released")
    assert torch.isfinite(released.loss)


@pytest.mark.parametrize("sizes", ["", "0", "1,", "two", "1.5", "99999", "-1"])
def test_sizes_of_chunks_are_whole_numbers(sizes):
    batch = batch_of(samples([" a"]))
    s, t = logits_for(batch)
    with pytest.raises(LossInputError, match="chunk_sizes are whole numbers"):
        alm_loss(s, t, batch, chunk_sizes=sizes)


def test_refusals():
    batch = batch_of(samples())
    s, t = logits_for(batch)
    bare = type(batch)(**vars(batch) | {"student": None, "teacher": None})
    with pytest.raises(LossInputError, match="debias='none'"):
        alm_loss(s, t, bare)
    assert torch.isfinite(alm_loss(s, t, bare, debias="none").loss)
    with pytest.raises(LossInputError, match="did you mean 'merge'"):
        alm_loss(s, t, batch, debias="merges")
    with pytest.raises(LossInputError, match="did you mean 'kl'"):
        alm_loss(s, t, batch, divergence="kll")


def test_chunks_of_two_turns_do_not_follow_each_other():
    """No group lies between turns that were aligned by themselves, yet what is said between them does."""
    chosen = plain_sample(range(1, 9), range(1, 9), 1, 1, [[1, 2, 1, 2], [2, 3, 2, 3], [6, 7, 6, 7], [7, 8, 7, 8]])
    found = chunks_of(batch_of([chosen]))
    assert found.follows.tolist() == [False, True, False, True]
