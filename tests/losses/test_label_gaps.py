"""Labels with gaps (several turns, masked words): which rows are learnt, and that each has the value it has alone."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ctkd_core import losses, methods
from ctkd_core.losses.alm import alm_loss
from ctkd_core.losses.base import response_rows
from ctkd_core.losses.batch import IGNORE, AlignedBatch, align_sample
from ctkd_core.losses.gold import gold_loss
from ctkd_core.losses.multilevel_ot import face
from ctkd_core.losses.parts.mined_rows import facing_rows
from ctkd_core.losses.parts.pairing import PAIRINGS
from ctkd_core.losses.parts.realign import realigned
from ctkd_core.losses.parts.slots import rows_after
from ctkd_core.losses.sedi import sedi_loss
from ctkd_core.losses.xtoken import pkl_loss
from ctkd_core.losses.xtoken_hybrid import hkl_loss
from tests.losses import plain_twins, test_mined, twins
from tests.losses.cases import METHODS, PROMPT, TEXTS, batch_of, call, extras, logits_for, pair, same_sides, samples
from tests.losses.gap_oracles import ORACLES, Given, only
from tests.losses.plain_oracle import NotPlainError, plain_part
from tests.losses.test_xtoken import random_map

# How much of the labels is masked: some, most, all on one side.
SHARES = (0.3, 0.7, 1.0)


def with_gaps(batch: AlignedBatch, seed: int, shares: tuple[float, float] = (0.4, 0.4)) -> AlignedBatch:
    """The batch with random labels of either side masked; a share of each."""
    generator = torch.Generator().manual_seed(seed)
    labels = {}
    for side, share in zip(("student", "teacher"), shares):
        full = getattr(batch, f"{side}_labels")
        labels[f"{side}_labels"] = torch.where(torch.rand(full.shape, generator=generator) < share, IGNORE, full)
    return replace(batch, **labels)


def gap_case(name: str, seed: int, variant: str) -> Given:
    """The method's own alignment of four texts, labels with holes, both models' numbers and what the method takes."""
    chosen = [align_sample(PROMPT, text, *pair(), name, variant=variant) for text in TEXTS]
    batch = with_gaps(batch_of(chosen), seed, ((0.4, 0.4), (0.15, 0.0), (0.0, 0.15), (0.2, 0.2))[seed % 4])
    s, t = logits_for(batch, seed=seed, dtype=torch.float64)
    if methods.get(name).same_tokenizer:
        batch, t = same_sides(batch, t)
    given = extras(name, batch, torch.float64)
    for side in ("student", "teacher"):
        if states := given.get(f"{side}_states"):
            given[f"{side}_states"] = replace(states, hidden=tuple(h.requires_grad_() for h in states.hidden))
    if name.startswith("xtoken"):
        given["projection"] = random_map()
    if name == "mined":
        given["projection"] = test_mined.PROJECTION
    return Given(s, t, batch, given)


def distilled(name: str, variant: str, given: Given, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """The distillation part of a loss, by its oracle or, for a plain loss without one, by its own function."""
    if oracle := ORACLES.get((name, variant)):
        return oracle(given, monkeypatch) if "monkeypatch" in inspect.signature(oracle).parameters else oracle(given)
    module = importlib.import_module(methods.get(name).loss.partition(":")[0])
    try:
        return plain_part(
            lambda: losses.loss(name, given.s, given.t, given.batch, variant, **given.extras),
            module, given, monkeypatch,
        )  # fmt: skip
    except NotPlainError:
        pytest.fail(
            f"the loss of {name!r} isn't one call of row_loss or group_loss, so its function doesn't tell what it "
            f"gives for labels with gaps: add ({name!r}, {variant!r}) to ORACLES in tests/losses/gap_oracles.py, with "
            "a function that computes its distillation part row by row."
        )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("name", "variant"), [(row.name, v) for row in methods.training() for v in row.variants])
def test_every_loss_is_what_its_rows_give_one_by_one(name, variant, seed, monkeypatch):
    check_gaps(name, variant, seed, monkeypatch)


def check_gaps(name: str, variant: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Value and gradient of a loss for labels with gaps are those of its rows, one by one."""
    given = gap_case(name, seed, variant)
    options = {"scaling": "fixed"} if name.startswith("xtoken") else {}
    mixed = {} if name == "sft" else {"ce_weight": 0.3}
    out = losses.loss(name, given.s, given.t, given.batch, variant, **given.extras, **mixed, **options)
    states = given.extras.get("student_states")
    leaves = [given.s, *([] if states is None else [states.hidden[-1]])]
    found = torch.autograd.grad(out.loss, leaves, allow_unused=True)
    part = distilled(name, variant, given, monkeypatch)
    share = 1.0 if name == "sft" else 0.3
    expected = share * twins.sft(given.s, given.batch) + (1.0 - share) * part
    torch.testing.assert_close(out.loss, expected, rtol=1e-7, atol=1e-9)
    wanted = torch.autograd.grad(expected, leaves, allow_unused=True)
    for ours, theirs in zip(found, wanted):
        if ours is None or theirs is None:
            assert all(x is None or not bool(x.any()) for x in (ours, theirs))
        else:
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-9)


def test_every_oracle_is_of_a_loss():
    assert set(ORACLES) <= {(row.name, variant) for row in methods.training() for variant in row.variants}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("name", "twin", "options"),
    [
        ("kd", plain_twins.kd, {}),
        ("uld", plain_twins.uld, {}),
        ("uld", plain_twins.uld, {"pairing": "groups"}),
        ("gold", plain_twins.gold, {}),
    ],
)
def test_the_oracle_of_a_plain_loss_is_that_written_by_hand(name, twin, options, seed, monkeypatch):
    given = gap_case(name, seed, "clean")
    found = plain_part(lambda: twin(given.s, given.t, given.batch, **options), plain_twins, given, monkeypatch)
    if options:
        groups = [g for g in given.groups() if g[2] - 1 in given.predicted("student", g[0])]
        expected = twins.uld(given.s, given.t, only(given, groups), ce_weight=0.0, **options)
    else:
        expected = ORACLES[name, "clean"](given)
    torch.testing.assert_close(found, expected)


def test_a_loss_that_is_not_plain_is_told_where_its_oracle_goes(monkeypatch):
    monkeypatch.delitem(ORACLES, ("uld", "released"))
    with pytest.raises(
        pytest.fail.Exception, match=r"add \('uld', 'released'\) to ORACLES in tests/losses/gap_oracles"
    ):
        check_gaps("uld", "released", 0, monkeypatch)


def learnt_at(labels: torch.Tensor, b: int) -> list[int]:
    return (labels[b] != IGNORE).nonzero().flatten().tolist()


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", METHODS)
def test_only_learnt_rows_learn_and_cross_entropy_is_their_mean(name, seed):
    batch = with_gaps(batch_of(samples()), seed)
    s, t = logits_for(batch, seed=seed, dtype=torch.float64)
    if methods.get(name).same_tokenizer:  # what is masked is masked on both sides
        batch = same_sides(batch, t)[0]
    out = call(name, s, t, batch)
    out.loss.backward()
    rows = response_rows(batch.student_labels)
    expected = torch.zeros(batch.student_ids.shape, dtype=torch.bool)
    expected[rows.sample, rows.position - 1] = True
    moved = s.grad.abs().sum(dim=-1) > 0
    assert not bool((moved & ~expected).any())
    assert bool((moved == expected).all()), "cross-entropy reaches every learnt row"
    torch.testing.assert_close(out.terms["ce"].double(), twins.sft(s.detach(), batch))


@given(seed=st.integers(0, 10**6), student=st.sampled_from(SHARES), teacher=st.sampled_from((0.0, *SHARES)))
def test_the_kth_learnt_token_faces_the_kth(seed, student, teacher):
    batch = with_gaps(batch_of(samples()), seed, (student, teacher))
    rows = response_rows(batch.student_labels)
    facing = PAIRINGS["positional"](rows, batch)
    found = {(int(b), int(p)): int(f) for b, p, f in zip(rows.sample, rows.position, facing)}
    width = batch.teacher_ids.shape[1]
    for b in range(len(batch)):
        mine, other = learnt_at(batch.student_labels, b), learnt_at(batch.teacher_labels, b)
        for k, position in enumerate(mine):
            if position >= 1:
                exists = k < len(other) and other[k] >= 1
                assert found[b, position] == (b * width + other[k] - 1 if exists else -1)


@pytest.mark.parametrize("skipped", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("seed", range(4))
def test_ranked_columns_face_row_by_row(seed, skipped):
    batch = with_gaps(batch_of(samples()), seed)
    found = face(response_rows(batch.student_labels), batch, skipped)
    pairs = []
    for b in range(len(batch)):
        mine, other = (learnt_at(x, b) for x in (batch.student_labels, batch.teacher_labels))
        mine, other = mine[: max(0, len(mine) - skipped[0])], other[: max(0, len(other) - skipped[1])]
        widths = batch.student_ids.shape[1], batch.teacher_ids.shape[1]
        pairs += [(b * widths[0] + i - 1, b * widths[1] + j - 1) for i, j in zip(mine, other) if i >= 1 and j >= 1]
    assert list(zip(found.student.tolist(), found.teacher.tolist())) == pairs
    if not any(skipped):  # which is what a call that says nothing asks for
        assert face(response_rows(batch.student_labels), batch).student.tolist() == found.student.tolist()


@pytest.mark.parametrize("seed", range(4))
def test_uld_is_the_mean_over_pairs_computed_one_by_one(seed):
    from ctkd_core.losses.uld import uld_loss

    batch = with_gaps(batch_of(samples()), seed)
    s, t = logits_for(batch, dtype=torch.float64)
    with torch.no_grad():
        for pairing in ("positional", "groups"):
            out = uld_loss(s, t, batch, ce_weight=0.3, pairing=pairing)
            if pairing == "groups":  # a pair needs a learnt token on the student's side
                kept = batch.student_labels[batch.groups[:, 0], batch.groups[:, 2] - 1] != IGNORE
                batch = replace(batch, groups=batch.groups[kept])
            torch.testing.assert_close(out.loss, twins.uld(s, t, batch, ce_weight=0.3, pairing=pairing))


@pytest.mark.parametrize("seed", range(4))
def test_kd_compares_every_learnt_row(seed):
    from ctkd_core.losses.same import kd_loss

    batch = with_gaps(batch_of(samples()), seed)
    s, t = logits_for(batch, dtype=torch.float64)
    batch, t = same_sides(batch, t)
    with torch.no_grad():
        out = kd_loss(s, t, batch, ce_weight=0.0)
        values = []
        for b in range(len(batch)):
            for k in learnt_at(batch.student_labels, b):
                if k >= 1:
                    p, q = (x[b, k - 1, : batch.student.n_ids].log_softmax(-1) for x in (s, t))
                    values.append((q.exp() * (q - p)).sum())
    assert out.diagnostics["compared_rows"] == len(values)
    torch.testing.assert_close(out.loss, twins.average(values))


@pytest.mark.parametrize("seed", range(3))
def test_sedi_rows_alone_have_the_same_values(seed):
    batch = with_gaps(batch_of(samples()), seed)
    s, t = logits_for(batch, dtype=torch.float64)
    with torch.no_grad():
        out = sedi_loss(s, t, batch, omega=0.5)
        values = []
        for b in range(len(batch)):
            for k in learnt_at(batch.student_labels, b):
                alone = torch.full_like(batch.student_labels, IGNORE)
                alone[b, k] = batch.student_ids[b, k]
                one = sedi_loss(s, t, replace(batch, student_labels=alone), omega=0.5)
                if one.diagnostics["target_rows"]:
                    values.append(torch.stack([one.terms["kl"], one.terms["entropy"]]))
    assert out.diagnostics["target_rows"] == len(values)
    mean = torch.stack(values).mean(dim=0)
    torch.testing.assert_close(torch.stack([out.terms["kl"], out.terms["entropy"]]), mean)


def _one_group_at_a_time(loss, s, t, batch, names, **options):
    """The terms of each group of the batch alone, where it counts, with its sample."""
    found = []
    for group in batch.groups:
        one = loss(s, t, replace(batch, groups=group[None]), **options)
        counted = one.diagnostics.get("groups", one.diagnostics.get("chunks"))
        if counted:
            found.append((int(group[0]), torch.stack([one.terms[name].double() for name in names])))
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("loss", "names", "options"),
    [
        (pkl_loss, ("pkl",), {"top_k": 50}),
        (hkl_loss, ("common", "tail"), {}),
        (alm_loss, ("alm",), {"debias": "none"}),
    ],
    ids=["xtoken-pkl", "xtoken-hkl", "alm"],
)
def test_the_mean_over_groups_is_that_of_each_alone(loss, names, options, seed):
    batch = with_gaps(batch_of(samples()), seed, (0.25, 0.25))
    s, t = logits_for(batch, dtype=torch.float64)
    if loss is not alm_loss:
        options = {**options, "projection": random_map(), "scaling": "fixed"}
    with torch.no_grad():
        out = loss(s, t, batch, **options)
        found = _one_group_at_a_time(loss, s, t, batch, names, **options)
    assert found
    assert len(found) < len(batch.groups) or loss is not alm_loss
    mean = torch.stack([value for _, value in found]).mean(dim=0)
    torch.testing.assert_close(torch.stack([out.terms[name].double() for name in names]), mean)


@pytest.mark.parametrize("seed", range(3))
def test_gold_leaves_out_groups_with_a_masked_token(seed):
    batch = with_gaps(batch_of(samples()), seed, (0.2, 0.2))
    s, t = logits_for(batch, dtype=torch.float64)
    whole = [
        all(k in learnt_at(batch.student_labels, b) for k in range(s0, s1))
        and all(k in learnt_at(batch.teacher_labels, b) for k in range(t0, t1))
        for b, s0, s1, t0, t1 in batch.groups.tolist()
    ]
    assert 0 < sum(whole) < len(whole)
    with torch.no_grad():
        out = gold_loss(s, t, batch)
        found = _one_group_at_a_time(gold_loss, s, t, batch, ("matched", "unmatched"))
    samples_of = sorted({b for b, _ in found})
    means = [torch.stack([value for b, value in found if b == own]).mean(dim=0) for own in samples_of]
    # alone, a sample's mean over its groups and the batch's over its samples are both over one
    torch.testing.assert_close(
        torch.stack([out.terms[name].double() for name in ("matched", "unmatched")]), torch.stack(means).mean(dim=0)
    )
    usable = [w and s0 >= 1 for w, (_, s0, *_) in zip(whole, batch.groups.tolist())]
    assert out.diagnostics["groups"] <= sum(usable)


@pytest.mark.parametrize("byte_exact", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_mined_rows_face_what_they_face_without_gaps(seed, byte_exact):
    full = batch_of(samples())
    holed = with_gaps(full, seed)
    ids = torch.full((305,), -1)
    found = []
    for batch in (full, holed):
        rows = response_rows(batch.student_labels)
        facing = facing_rows(rows, batch, "soft", byte_exact, ids)
        found.append({(int(b), int(p)): int(f) for b, p, f in zip(rows.sample, rows.position, facing)})
    assert found[1] == {key: found[0][key] for key in found[1]}
    assert any(f >= 0 for f in found[1].values())


@pytest.mark.parametrize("seed", range(4))
def test_cdm_compares_rows_of_the_same_text(seed):
    """Groups after masking are among those before: no row faces the end of a prompt inside an answer."""
    full = batch_of(samples())
    found = []
    for batch in (full, with_gaps(full, seed)):
        rows = response_rows(batch.student_labels)
        groups = rows_after(rows, batch)
        ends = rows.flat[groups.at].tolist()
        last = (groups.teacher_count.cumsum(0) - 1).tolist()
        found.append(dict(zip(ends, groups.teacher_row[last].tolist())))
    shared = found[0].keys() & found[1].keys()
    assert shared
    assert all(found[1][end] == found[0][end] for end in shared)


@pytest.mark.parametrize("seed", range(4))
def test_aligning_anew_skips_masked_tokens(seed):
    batch = with_gaps(batch_of(samples()), seed, (0.3, 0.3))
    s, t = logits_for(batch)
    again = realigned(batch, s.detach(), t)
    for pairs, labels in (
        (again.pairs[:, [0, 1]], batch.student_labels),
        (again.pairs[:, [0, 2]], batch.teacher_labels),
    ):
        assert bool((labels[pairs[:, 0], pairs[:, 1]] != IGNORE).all())
    first = {}
    for b, i, j in again.pairs.tolist():
        first.setdefault(b, (i, j))
    for b, found in first.items():
        assert found == (learnt_at(batch.student_labels, b)[0], learnt_at(batch.teacher_labels, b)[0])


def test_two_turns_both_have_an_end_of_their_prompt():
    """The row at the last token before each answer faces the teacher's, in a conversation as in a single turn."""
    full = batch_of(samples([" 12 cats"]))
    b, s0, _, t0, _ = full.groups[2].tolist()  # the second answer begins at this group; the one before is the user's
    labels = [full.student_labels.clone(), full.teacher_labels.clone()]
    labels[0][0, s0 - 1] = labels[1][0, t0 - 1] = IGNORE
    kept = torch.tensor([g for g in range(len(full.groups)) if g != 1])
    batch = replace(full, student_labels=labels[0], teacher_labels=labels[1], groups=full.groups[kept], pairs=None)
    rows = response_rows(batch.student_labels)
    facing = facing_rows(rows, batch, "map", False, torch.full((305,), -1))
    number = int(rows.number[b, s0])
    assert int(facing[number]) == t0 - 1
    assert np.count_nonzero((facing >= 0).numpy()) == 2  # the ends of both prompts
