"""The released CDM map and loss: rules worked by hand (recorded facts: tests/golden/test_replay.py)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ctkd_core.alignment.released.cdm import alignment_lists, merge_groups
from ctkd_core.errors import ProjectionError
from ctkd_core.losses.released import cdm as loss
from ctkd_core.vocabulary.released import contextual
from tests.alignment.reference import levenshtein, merged_logits


def test_the_inverse_map_keeps_the_last_source_and_never_id_0():
    assert contextual.inverse_map([0, 3, 1, 3], 4).tolist() == [0, 2, 0, 3]
    with pytest.raises(ProjectionError, match="id 1 maps to 9, but the other vocabulary has only 4 ids"):
        contextual.inverse_map([0, 9], 4)


def test_top_ids_are_best_first_and_equal_ones_by_id():
    assert contextual.top_ids(np.array([[1.0, 3.0, 3.0, 2.0]]), 3).tolist() == [[1, 2, 3]]
    with pytest.raises(ProjectionError, match="top-5 of a vocabulary of 2"):
        contextual.top_ids(np.zeros((1, 2)), 5)


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [("cats", "cat", 1 / 7), (" run", "run", 0), ("", " ", 0), ("</s>", "<|im_end|>", 0), ("ab", "cd", 0.5)],
)
def test_distance_is_divided_by_both_lengths(a, b, distance):
    found = contextual.normalised_distances([a, "other", a], ["another", b])
    assert found[[0, 2], 1] == pytest.approx(distance)
    assert found[1, 0] == pytest.approx(2 / 12)


def test_an_unmapped_source_takes_the_nearest_candidate_of_its_row_below_the_threshold():
    source_strings, target_strings = ["<unk>", "cats", "dog"], ["<unk>", "-", "-", "cat", "zzz"]
    static = np.array([0, 0, 3])
    rows = np.array([[1, 2]])
    found = contextual.complete_rows(rows, np.array([[3, 4]]), static, source_strings, target_strings)
    assert found.found == ((1, 3),)
    assert (found.source.tolist(), found.target.tolist()) == ([[1, 2]], [[3, 3]])
    strict = contextual.complete_rows(rows, np.array([[3, 4]]), static, source_strings, target_strings, 1 / 7)
    assert strict.found == ()  # the threshold itself is too far
    assert (strict.source.tolist(), strict.target.tolist()) == ([[0, 2]], [[0, 3]])
    assert strict.unmapped_share == 0.5
    elsewhere = contextual.complete_rows(rows, np.array([[4, 4]]), static, source_strings, target_strings)
    assert elsewhere.found == ()


def completed(source, target, static, source_strings, target_strings, threshold):
    """The released pass, one pair of tokens after the other."""
    banned = {k for k, partner in enumerate(static) if partner == 0}
    static = [*static, *[0] * (len(source_strings) - len(static))]
    mapping, found = list(static), []
    for mine, theirs in zip(source, target):
        for u in (u for u in mine if static[u] == 0):
            nearest, least = 0, threshold
            for v in set(theirs) - banned:
                a, b = source_strings[u].replace(" ", ""), target_strings[v].replace(" ", "")
                special = {source_strings[u], target_strings[v]} == {"</s>", "<|im_end|>"}
                distance = 0.0 if special or not a + b else levenshtein(a, b) / len(a + b)
                if distance < least:
                    nearest, least = v, distance
            if nearest:
                mapping[u] = nearest
                found.append((u, nearest))
    return mapping, tuple(found)


STRINGS = st.sampled_from(["", " ", "a", " a", "ab", "abc", "cab", "</s>", "<|im_end|>", "naïve", "naive"])


@given(st.data())
def test_rows_are_completed_as_pair_by_pair(data):
    names = [data.draw(st.lists(STRINGS, min_size=2, max_size=6)) for _ in range(2)]
    own, other = (st.integers(0, len(x) - 1) for x in names)
    static = data.draw(st.lists(st.sampled_from([0, 0, 1]), min_size=1, max_size=len(names[0])))
    rows = data.draw(st.integers(0, 3))
    source, target = (
        data.draw(st.lists(st.lists(x, min_size=3, max_size=3), min_size=rows, max_size=rows)) for x in (own, other)
    )
    threshold = data.draw(st.sampled_from([0.0, 0.2, 0.5, 1.1]))
    mapping, expected = completed(source, target, static, *names, threshold)
    arrays = (np.array(x, dtype=np.int64).reshape(rows, 3) for x in (source, target))
    found = contextual.complete_rows(*arrays, np.array(static), *names, threshold)
    assert found.found == expected
    assert found.target.tolist() == [[mapping[u] for u in row] for row in source]


def test_the_released_term_is_a_divergence_at_tau_1_only():
    p, q = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(loss.slot_terms(p, q, 1.0).sum(dim=1), loss.kl(p, q))
    assert (loss.kl(p, q) > 0).all()
    torch.testing.assert_close(loss.kl(p, p), torch.zeros(5, dtype=torch.float64), atol=1e-12, rtol=0)
    assert loss.slot_terms(p, p, 0.8).sum(dim=1).abs().max() > 0.01


def test_slots_without_a_partner_have_no_mass():
    row = loss.slots(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[2, 0]]), torch.tensor([[True, False]]))
    assert row.tolist() == [[3.0, loss.NOTHING]]
    assert row.softmax(dim=-1).tolist() == [[1.0, 0.0]]


def test_merge_matrices_are_the_twofold_means():
    rng = np.random.default_rng(0)
    pairs = np.array([[0, 0], [0, 1], [1, 2], [2, 2], [2, 3], [3, 4]], dtype=np.int32)
    z_s, z_t = rng.normal(size=(4, 6)), rng.normal(size=(5, 7))
    of_student, of_teacher = alignment_lists(pairs, 4, 5)
    expected = merged_logits(z_s, z_t, of_student, merge_groups(of_teacher))
    for factor, z, merged in zip(loss.merge_matrices(pairs, 4, 5), (z_s, z_t), expected):
        np.testing.assert_allclose(factor @ z, merged, rtol=1e-12)
