"""Bytes: against an oracle that loops over the vocabulary, and what must hold for any two models."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from ctkd_core import methods
from ctkd_core.errors import LossInputError
from ctkd_core.losses import bytes as bytes_module
from ctkd_core.losses import loss
from ctkd_core.losses.batch import align_sample, collate
from ctkd_core.losses.bytes import both_next_bytes, bytes_loss, compared, placed
from ctkd_core.losses.kernels import byte_sums
from ctkd_core.losses.parts import byte_masses
from ctkd_core.losses.parts.byte_masses import Masses, add_gradient, add_masses
from ctkd_core.losses.parts.byte_tree import END, byte_tree
from tests.losses.cases import batch_of, logits_for, pair, same_sides, samples
from tests.tiny import tiny_byte_level

ELSE = -1


def symbols(tokenizer, token: int) -> tuple[int, ...]:
    if token == tokenizer.eos_id:
        return (END,)
    return () if token in tokenizer.special_ids else tuple(tokenizer.token_bytes(token))


def oracle(logits, ids, labels, tokenizer, boundary="mixture"):
    """What one side says at each learnt byte: {(position, byte of its token): ({symbol: share}, what else)}.

    By loops over all tokens; logits [T, V] of one sample.
    """
    keys = [symbols(tokenizer, i) if i < tokenizer.n_ids else () for i in range(logits.shape[-1])]

    @cache
    def beginning_with(u):
        """Tokens that begin with u, a number for the symbol that each has next, and these symbols; the last: none."""
        every = [i for i, key in enumerate(keys) if key and key[: len(u)] == u]
        after = sorted({keys[i][len(u)] for i in every if len(keys[i]) > len(u)})
        numbers = [after.index(keys[i][len(u)]) if len(keys[i]) > len(u) else len(after) for i in every]
        return torch.tensor(every, dtype=torch.long), torch.tensor(numbers, dtype=torch.long), after

    def next_symbols(p, u):
        every, numbers, after = beginning_with(u)
        sums = p.new_zeros(len(after) + 1).index_add(0, numbers, p[every])
        *shares, ends = (sums / sums.sum()).unbind()
        return dict(zip(after, shares)), ends

    found = {}
    for place in range(1, len(ids)):
        key = symbols(tokenizer, ids[place])
        if labels[place] == -100:
            continue
        for k in range(len(key)):
            shares, ends = next_symbols(logits[place - 1].softmax(-1), key[:k])
            before = symbols(tokenizer, ids[place - 1])
            if (
                boundary == "mixture"
                and k == 0
                and place > 1
                and labels[place - 1] != -100
                and before not in ((), (END,))
            ):
                longer, ended = next_symbols(logits[place - 2].softmax(-1), before)
                shares = {c: longer.get(c, 0.0) + ended * shares.get(c, 0.0) for c in {*longer, *shares}}
                ends = ends * 0.0
            found[place, k] = shares, ends
    return found


def difference(own, other):
    """Forward KL between what two sides say of one byte."""
    (p, p_ends), (q, q_ends) = own, other
    q_rest = sum((q[c] for c in q if c not in p), q_ends)
    value = sum(q[c] * (torch.log(q[c]) - torch.log(p[c])) for c in sorted(p.keys() & q.keys()))
    if float(q_rest) > 0:
        if p.keys() - q.keys() or float(p_ends.detach()) > 0:
            p_rest = sum((p[c] for c in p if c not in q), p_ends)
            value = value + q_rest * (torch.log(q_rest) - torch.log(p_rest))
        else:  # (1 - rest) * KL of what is left: the student can say nothing else
            value = value - (1 - q_rest) * torch.log(1 - q_rest)
    return value


def oracle_loss(s, t, batch, boundary="mixture"):
    """Differences of all bytes of groups that spell the same, over the learnt rows; differentiable."""
    total, rows = s.sum() * 0.0, 0
    for b in range(len(batch)):
        sides = []
        for side, logits in (("student", s), ("teacher", t)):
            ids, labels = (getattr(batch, f"{side}_{what}")[b].tolist() for what in ("ids", "labels"))
            tokenizer = getattr(batch, side)
            sides.append((oracle(logits[b], ids, labels, tokenizer, boundary), [symbols(tokenizer, i) for i in ids]))
        rows += int((batch.student_labels[b, 1:] != -100).sum())
        for _, s0, s1, t0, t1 in (g for g in batch.groups.tolist() if g[0] == b):
            (own, mine), (other, theirs) = sides
            places = [(i, k) for i in range(s0, s1) for k in range(len(mine[i]))]
            facing = [(i, k) for i in range(t0, t1) for k in range(len(theirs[i]))]
            if [mine[i][k] for i, k in places] == [theirs[i][k] for i, k in facing]:
                for one, two in zip(places, facing):
                    if one in own and two in other:
                        total = total + difference(own[one], other[two])
    return total / max(1, rows)


def double(seed: int, batch, scale: float = 2.0):
    return logits_for(batch, seed=seed, dtype=torch.float64, scale=scale)


@pytest.mark.parametrize(("text", "boundary"), [(" é🦙", "mixture"), (" 201", "mixture"), (" 12", "next")])
def test_the_oracle_agrees_with_value_and_gradient(text, boundary):
    batch = batch_of(samples([text]))
    s, t = double(3, batch)
    out = bytes_loss(s, t, batch, ce_weight=0.0, boundary=boundary)
    out.loss.backward()
    z = s.detach().clone().requires_grad_()
    expected = oracle_loss(z, t, batch, boundary)
    expected.backward()
    torch.testing.assert_close(out.loss, expected)
    torch.testing.assert_close(s.grad, z.grad, rtol=1e-8, atol=1e-12)
    assert out.diagnostics["bytes"] == len(text.encode()) + 1  # and the end


def test_equal_models_with_one_tokenizer_have_nothing_to_learn():
    batch, _ = same_sides(batch_of(samples()), torch.zeros(4, 1, 305))
    s, _ = double(0, batch)
    out = bytes_loss(s, s.detach(), batch, ce_weight=0.0)
    out.loss.backward()
    assert abs(float(out.loss.detach())) < 1e-12
    assert s.grad.abs().max() < 1e-12


def test_the_order_of_ids_and_doubles_mean_nothing():
    batch = batch_of(samples([" 12 cats"]))
    s, t = double(1, batch)
    base = bytes_loss(s, t, batch, ce_weight=0.0).loss
    # A token's probability split between it and an id with the same bytes: of the padding, which has none, take none.
    tree = byte_tree(batch.student, s.shape[-1], frozenset({batch.student.eos_id}))
    assert sorted(tree.order.tolist()) == [i for i in range(403) if i < 400 and symbols(batch.student, i)]
    moved = s.detach().clone()
    moved[..., 400:] += 3.0  # ids beyond the tokenizer have no text
    torch.testing.assert_close(bytes_loss(moved, t, batch, ce_weight=0.0).loss, base.detach())


def class_of(key, how, common):
    """The class of a token where both sides begin one: the symbols it begins with, and whether it ends there."""
    if how == "tokens":
        return (key, "whole") if key in common else (key[:1], "other")
    depth = {"two_bytes": 2, "three_bytes": 3}[how]
    return (key, "whole") if len(key) < depth else (key[:depth], "goes on")


def said_of_classes(row, keys, how, common):
    """{class: probability} by one row of logits [V], of what has text."""
    p = row.softmax(-1)
    whole = sum(p[i] for i, key in enumerate(keys) if key)
    found: dict[object, object] = {}
    for i, key in enumerate(keys):
        if key:
            name = class_of(key, how, common)
            found[name] = found.get(name, 0.0) + p[i] / whole
    return found


def starts_loss(s, t, batch, how):
    """Differences of the classes of tokens wherever both sides begin one, over the learnt rows; differentiable."""
    sides = []
    for side, logits in (("student", s), ("teacher", t)):
        tokenizer = getattr(batch, side)
        keys = [symbols(tokenizer, i) if i < tokenizer.n_ids else () for i in range(logits.shape[-1])]
        ids, labels = (getattr(batch, f"{side}_{what}")[0].tolist() for what in ("ids", "labels"))
        sides.append((logits[0], keys, ids, labels))
    common = {key for key in sides[0][1] if key} & {key for key in sides[1][1] if key}
    total = s.sum() * 0.0
    for _, s0, s1, t0, t1 in batch.groups.tolist():
        begins = []
        for (_, keys, ids, labels), (low, high) in zip(sides, ((s0, s1), (t0, t1))):
            at, place = {}, 0
            for i in range(low, high):
                if labels[i] != -100:
                    at[place] = i
                place += len(keys[ids[i]])
            begins.append(at)
        for place in begins[0].keys() & begins[1].keys():
            says = []
            for at, (logits, keys, _, _) in zip(begins, sides):
                says.append(said_of_classes(logits[at[place] - 1], keys, how, common))
            nothing = torch.zeros((), dtype=s.dtype)
            total = total + difference(*((said, nothing) for said in says))
    return total / int((batch.student_labels != -100).sum())


@pytest.mark.parametrize("how", ["two_bytes", "three_bytes", "tokens"])
def test_classes_of_tokens_where_both_begin_one_agree_with_loops(how):
    batch = batch_of(samples([" 201 cats"]))
    s, t = double(3, batch)
    out = bytes_loss(s, t, batch, ce_weight=0.0, positions="common", starts=how)
    out.loss.backward()
    z = s.detach().clone().requires_grad_()
    expected = starts_loss(z, t, batch, how)
    expected.backward()
    torch.testing.assert_close(out.loss, expected)
    torch.testing.assert_close(s.grad, z.grad, rtol=1e-8, atol=1e-12)
    assert set(out.terms) == {"ce", "starts", "bytes"}
    assert float(out.terms["bytes"]) == 0.0


def test_diagnostics_count_what_is_compared_at_starts_too():
    batch = batch_of(samples([" cats"]))
    s, t = logits_for(batch)
    for how in ("byte", "two_bytes", "tokens"):
        found = bytes_loss(s, t, batch, starts=how, positions="common").diagnostics
        assert found["mass_without_text"] > 0 and found["bytes_left_out"] == 0
    t = t.clone()
    t[0, :, : batch.teacher.n_ids] -= 200.0  # all mass on ids without text: float32 holds nothing else
    for how in ("byte", "tokens"):
        found = bytes_loss(s, t, batch, starts=how).diagnostics
        assert found["bytes_left_out"] == found["bytes"] == 6


@pytest.mark.parametrize("starts", ["byte", "tokens"])
def test_a_view_says_where_more_than_the_byte_is_compared(starts):
    from ctkd_core.losses.views.bytes import next_byte
    from ctkd_core.losses.views.case import Case

    batch = batch_of(samples([" cats"]))
    s, t = logits_for(batch)
    options = methods.get("bytes").resolve_loss({"starts": starts, "positions": "common"})
    groups = tuple(tuple(row[1:]) for row in batch.groups.tolist())
    found = [each for each in next_byte(Case(batch, s.detach(), t, options, "clean", groups)) if each is not None]
    assert found
    assert all(("compares more of it" in each.note) == (starts == "tokens") for each in found)


def test_starts_and_the_bytes_inside_tokens_are_added_up():
    batch = batch_of(samples([" 201 cats"]))
    s, t = double(3, batch)
    whole = bytes_loss(s, t, batch, ce_weight=0.0, starts="tokens")
    starts = bytes_loss(s, t, batch, ce_weight=0.0, starts="tokens", positions="common")
    rest = bytes_loss(s, t, batch, ce_weight=0.0).loss - bytes_loss(s, t, batch, ce_weight=0.0, positions="common").loss
    torch.testing.assert_close(whole.loss, starts.loss + rest)
    assert whole.diagnostics["bytes"] > starts.diagnostics["bytes"]


@pytest.mark.parametrize("how", ["two_bytes", "tokens"])
def test_equal_models_have_nothing_to_learn_from_classes_of_tokens(how):
    batch, _ = same_sides(batch_of(samples()), torch.zeros(4, 1, 305))
    s, _ = double(0, batch)
    out = bytes_loss(s, s.detach(), batch, ce_weight=0.0, starts=how)
    out.loss.backward()
    assert abs(float(out.loss.detach())) < 1e-12
    assert s.grad.abs().max() < 1e-12


def test_classes_of_one_byte_tokens_are_bytes():
    tokenizer = one_byte_tokenizer()
    sample = align_sample("In", "a cat", tokenizer, tokenizer)
    batch = collate([sample], tokenizer, tokenizer)
    s, t = logits_for(batch, dtype=torch.float64, widths=(tokenizer.n_ids, tokenizer.n_ids))
    by_bytes = bytes_loss(s, t, batch, ce_weight=0.0, boundary="next").loss
    for how in ("two_bytes", "three_bytes", "tokens"):
        torch.testing.assert_close(bytes_loss(s, t, batch, ce_weight=0.0, starts=how).loss, by_bytes)


def one_byte_tokenizer():
    return tiny_byte_level(258, 1)


def test_the_expectation_is_the_divergence_of_tokens_where_tokens_are_bytes():
    """With one-byte tokens nothing is lost: over all next tokens the mean value is the token-level forward KL."""
    tokenizer = one_byte_tokenizer()
    singles = [i for i in range(tokenizer.n_ids) if len(tokenizer.token_bytes(i)) == 1][:6]
    generator = torch.Generator().manual_seed(2)
    width = tokenizer.n_ids
    p, q = (torch.full((width,), -math.inf, dtype=torch.float64) for _ in range(2))
    p[singles], q[singles] = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    expected = (q.softmax(0)[singles] * (q.log_softmax(0) - p.log_softmax(0))[singles]).sum()
    values = [_first_value(tokenizer, token, p, q) for token in singles]
    mean = sum(float(q.softmax(0)[token]) * value for token, value in zip(singles, values))
    assert mean == pytest.approx(float(expected), abs=1e-9)


def test_the_expectation_never_exceeds_the_divergence_of_tokens():
    tokenizer = tiny_byte_level(400, 3)
    chosen = [i for i in range(tokenizer.n_ids) if i not in tokenizer.special_ids and tokenizer.token_bytes(i)]
    chosen = sorted(chosen, key=tokenizer.token_bytes)[40:80]
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        p, q = (torch.full((tokenizer.n_ids,), -math.inf, dtype=torch.float64) for _ in range(2))
        p[chosen], q[chosen] = 3 * torch.randn(2, len(chosen), generator=generator, dtype=torch.float64)
        divergence = float((q.softmax(0)[chosen] * (q.log_softmax(0) - p.log_softmax(0))[chosen]).sum())
        values = [_first_value(tokenizer, token, p, q) for token in chosen]
        mean = sum(float(q.softmax(0)[token]) * value for token, value in zip(chosen, values))
        assert -1e-9 <= mean <= divergence + 1e-9


def _first_value(tokenizer, token: int, p, q) -> float:
    """The sum over the bytes of one learnt token, predicted by p and q [V]."""
    ids = torch.tensor([[tokenizer.bos_id or 0, token]])
    labels = torch.tensor([[-100, token]])
    groups = torch.tensor([[0, 1, 2, 1, 2]])
    ones = torch.ones_like(ids)
    from ctkd_core.losses.batch import AlignedBatch

    batch = AlignedBatch(ids, ids, labels, labels, ones, ones, groups, tokenizer, tokenizer)
    rows = [row.expand(1, 2, -1).clone() for row in (p, q)]
    return float(bytes_loss(*rows, batch, ce_weight=0.0).loss)


def test_a_number_that_one_side_writes_as_one_token_rises_most():
    student, teacher = pair()
    batch = collate([align_sample("In", "201", student, teacher)], student, teacher)
    whole = next(i for i in range(400) if student.token_bytes(i) == b"201")
    assert whole in batch.student_ids[0].tolist()
    s = torch.zeros(*batch.student_ids.shape, 400, dtype=torch.float64, requires_grad=True)
    t = torch.zeros(*batch.teacher_ids.shape, 300, dtype=torch.float64)
    for place in range(batch.teacher_ids.shape[1] - 1):
        t[0, place, batch.teacher_ids[0, place + 1]] = 8.0  # about nine in ten
    bytes_loss(s, t, batch, ce_weight=0.0).loss.backward()
    step = -s.grad[0, batch.student_ids[0].tolist().index(whole) - 1]
    assert step.argmax() == whole
    assert step[[i for i in range(400) if student.token_bytes(i) == b"2"]] > 0
    others = [i for i in range(400) if student.token_bytes(i)[:1] != b"2"]
    assert step[others].max() <= 0


def test_the_end_of_an_answer_is_a_symbol():
    batch = batch_of(samples([" cats"]))
    s, t = double(0, batch)
    sure = t.clone()
    end = int((batch.teacher_ids[0] == batch.teacher.eos_id).nonzero()[-1, 0])
    sure[0, end - 1, batch.teacher.eos_id] = 60.0
    bytes_loss(s, sure, batch, ce_weight=0.0).loss.backward()
    own_end = int((batch.student_ids[0] == batch.student.eos_id).nonzero()[-1, 0])
    gradient = s.grad[0, own_end - 1]
    assert gradient.argmin() == batch.student.eos_id


@pytest.mark.parametrize("kind", ["jsd", "skewed_forward_kl", "reverse_kl"])
def test_pictures_compare_as_the_loss_does(kind):
    batch = batch_of(samples())
    s, t = double(5, batch)
    options = {o.name: o.default for o in methods.get("bytes").loss_options}
    options |= {"divergence": kind, "beta": 0.9, "skew": 0.3, "ce_weight": 0.0}
    _, own, other = both_next_bytes(s, t, batch, options)
    value, _, _ = compared(options).values(own, other)
    learnt = int((batch.student_labels != -100).sum())
    torch.testing.assert_close(bytes_loss(s, t, batch, **options).loss, value.sum() / learnt)


@pytest.mark.parametrize("chunk_rows", [1, 2, 5])
@pytest.mark.parametrize(
    "options",
    [{}, {"boundary": "next"}, {"lump": "left_out", "byte_weights": "tokens"}, {"starts": "tokens"}],
    ids=str,
)
def test_rows_that_are_read_beside_a_chunk_change_nothing(chunk_rows, options):
    batch = batch_of(samples())
    s, t = double(5, batch)
    whole = bytes_loss(s, t, batch, ce_weight=0.0, **options)
    whole.loss.backward()
    expected, s.grad = s.grad, None
    bytes_loss(s, t, batch, ce_weight=0.0, chunk_rows=chunk_rows, **options).loss.backward()
    torch.testing.assert_close(s.grad, expected, rtol=1e-9, atol=1e-14)


def test_sums_on_a_cpu_are_those_of_running_sums(monkeypatch):
    batch = batch_of(samples())
    s, _ = double(7, batch)
    both = placed(batch, (403, 305), "mixture", "all")
    nodes, tree = both.reads[0].nodes, both.trees[0]
    p = s.detach().reshape(-1, 403)[both.rows[0].flat].softmax(-1)
    slope = Masses(torch.randn(len(nodes), 257, dtype=torch.float64), torch.randn(len(nodes), dtype=torch.float64))
    results = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    for small in (byte_masses.SMALL, 1, None):  # one thread, several, and the form of other devices
        if small is None:
            monkeypatch.setattr(byte_masses, "_on_cpu", lambda _: False)
        else:
            monkeypatch.setattr(byte_masses, "SMALL", small)
        found, gradient = Masses.zeros(len(nodes), "cpu"), torch.zeros_like(p)
        add_masses(p, nodes, tree, found)
        add_gradient(p, nodes, tree, slope, gradient)
        results.append((found.goes_on, found.equal, gradient))
    for other in results[1:]:
        for one, same in zip(results[0], other):
            torch.testing.assert_close(one, same, rtol=1e-9, atol=1e-12)


def test_loops_and_plain_python_agree():
    """The compiled loops are obvious enough to run as they stand."""
    batch = batch_of(samples([" 12"]))
    both = placed(batch, (403, 305), "mixture", "all")
    nodes, tree = both.reads[0].nodes, both.trees[0]
    p = torch.rand(len(both.rows[0]), 403, dtype=torch.float64).numpy()
    given = (p, tree.first, tree.order, nodes.row.numpy(), nodes.root.numpy(), nodes.low.numpy(), nodes.edges.numpy())
    results = []
    for loop in (byte_sums.node_sums, byte_sums.node_sums.py_func):
        goes_on, equal = np.zeros((len(nodes), 257)), np.zeros(len(nodes))
        loop(*given, goes_on, equal, 0, len(nodes))
        results.append((goes_on, equal))
    np.testing.assert_allclose(results[0][0], results[1][0])
    np.testing.assert_allclose(results[0][1], results[1][1])


def test_groups_that_spell_other_bytes_are_passed_over():
    batch = batch_of(samples([" cats"]))
    s, t = double(0, batch)
    batch.groups[0, 4] += 1  # one more teacher token: other bytes
    out = bytes_loss(s, t, batch)
    assert out.diagnostics["groups_of_other_bytes"] == 1.0
    assert math.isfinite(float(out.loss.detach()))


def test_it_needs_tokenizers():
    batch = batch_of(samples())
    with pytest.raises(LossInputError, match="pass both tokenizers to collate"):
        bytes_loss(*logits_for(batch), replace(batch, student=None))


def test_options_change_the_value():
    batch = batch_of(samples())
    s, t = logits_for(batch)
    variants = [{}, {"boundary": "next"}, {"positions": "common"}, {"byte_weights": "tokens"}, {"lump": "left_out"}]
    variants += [{"starts": "two_bytes"}, {"starts": "three_bytes"}, {"starts": "tokens"}]
    values = [float(loss("bytes", s, t, batch, **given).loss) for given in variants]
    for one, other in itertools.combinations(values, 2):
        assert abs(one - other) > 1e-4


def test_a_prefix_without_probability_is_left_out():
    batch = batch_of(samples([" cats"]))
    s, t = logits_for(batch)
    t = t.clone()
    t[0, :, : batch.teacher.n_ids] -= 200.0  # all mass on ids without text: float32 holds nothing else
    out = bytes_loss(s, t, batch)
    assert math.isfinite(float(out.loss))
    assert out.diagnostics["bytes_left_out"] == out.diagnostics["bytes"]
    assert bytes_module.TINY > 0


def test_teacher_logits_that_are_nan_are_no_bytes_unseen():
    batch = batch_of(samples([" cats"]))
    s, t = logits_for(batch)
    t = t.clone()
    t[0, int(batch.groups[0, 3]) - 1] = float("nan")
    with pytest.raises(LossInputError, match="bytes isn't finite"):
        bytes_loss(s, t, batch)


def test_a_tokens_bytes_weigh_as_much_as_one_that_is_compared_at_a_single_byte():
    batch = batch_of(samples([" 201"]))
    s, t = double(4, batch)
    common = {"positions": "common", "ce_weight": 0.0}
    one, other = (bytes_loss(s, t, batch, byte_weights=w, **common).loss for w in ("equal", "tokens"))
    torch.testing.assert_close(one, other)  # a byte a token is left


def test_the_end_is_the_tokenizers_whatever_the_batch_holds():
    ended, cut = (collate([align_sample("In", " cats", *pair(), ended=whole)], *pair()) for whole in (True, False))
    trees = [placed(batch, (403, 305), "mixture", "all").trees for batch in (ended, cut)]
    assert trees[0][0] is trees[1][0]
    assert trees[0][0].ends == {pair()[0].eos_id}


def test_a_view_of_a_text_without_a_byte_to_compare_shows_nothing():
    from ctkd_core import methods
    from ctkd_core.losses.views.bytes import next_byte
    from ctkd_core.losses.views.case import Case

    batch = batch_of(samples([" cats"]))
    s, t = logits_for(batch)
    options = methods.get("bytes").resolve_loss({})
    bare = replace(batch, groups=batch.groups[:0])
    assert next_byte(Case(bare, s.detach(), t, options, "clean", ((2, 3, 2, 3),))) == [None]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1.5, -1, True])
def test_what_is_no_number_of_tokens_is_refused(number):
    batch = batch_of(samples([" cats"]))
    with pytest.raises(LossInputError, match="num_items_in_batch is a number of tokens"):
        loss("bytes", *logits_for(batch), batch, num_items_in_batch=number)
