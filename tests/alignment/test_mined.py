"""MinED: the unweighted search against its slow twin and tslearn, tie rules, usable pairs, long texts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctkd_core.alignment import cheapest_path, costs
from ctkd_core.alignment.dtw import cdm
from ctkd_core.alignment.mined import mined, usable_rows
from ctkd_core.alignment.positional import uld
from ctkd_core.alignment.spans import sedi
from ctkd_core.errors import AlignmentError
from tests.alignment import mined_rows
from tests.alignment.make import encoded_twice, encoding
from tests.alignment.reference import dtw_plain, levenshtein, path_components
from tests.alignment.test_dtw import TOKENS
from tests.alignment.test_spans import as_sets, assert_partition


def plain_costs(s, t):
    return costs.token_costs(s, t, np.ones(len(s)), np.ones(len(t)))


def matrix(s, t):
    return np.array([[levenshtein(a, b) for b in t] for a in s], dtype=float)


def student_first(cost):
    """The slow twin with ties to the diagonal, then student - 1, then teacher - 1: the transposed one, turned back."""
    return [(i, j) for j, i in dtw_plain(cost.T)[1]]


@given(TOKENS, TOKENS)
def test_path_equals_the_slow_twin_under_both_tie_rules(s, t):
    blocks, pairs = cheapest_path.dtw(plain_costs(s, t))
    total, path = dtw_plain(matrix(s, t))
    assert [tuple(p) for p in pairs.tolist()] == path
    assert blocks[-1].after == total[-1, -1]
    turned, other = cheapest_path.dtw(plain_costs(s, t), ties="student")
    assert [tuple(p) for p in other.tolist()] == student_first(matrix(s, t))
    assert turned[-1].after == total[-1, -1]
    assert (turned[-1].s1, turned[-1].t1) == (len(s), len(t))


@given(TOKENS, TOKENS)
def test_cost_equals_tslearn_on_the_same_matrix(s, t):
    tslearn = pytest.importorskip("tslearn.metrics")
    _, cost = tslearn.dtw_path_from_metric(matrix(s, t), metric="precomputed", be="pytorch")  # not compiled
    assert cheapest_path.dtw(plain_costs(s, t))[0][-1].after == pytest.approx(cost)


def test_the_tie_rules_differ_where_costs_are_equal():
    s, t = encoding(["ab", "a", "b", "c"]), encoding(["a", "ba", "b", "c"])
    one, other = mined(s, t), mined(s, t, ties="student")
    assert one.cost.total == other.cost.total
    assert cheapest_path.dtw(plain_costs(["a", "b"], ["b", "a"]))[1].tolist() == [[0, 0], [1, 1]]
    # before the last pair the diagonal costs 2, each single step 1
    cost = plain_costs(["x", "x", "y"], ["x", "y", "y"])
    assert cheapest_path.dtw(cost)[0][-1].after == cheapest_path.dtw(cost, ties="student")[0][-1].after == 0
    two_ways = plain_costs(["bb", "a", "bb"], ["a", "bb", "a"])
    assert cheapest_path.dtw(two_ways)[1].tolist() != cheapest_path.dtw(two_ways, ties="student")[1].tolist()


@given(encoded_twice(), st.sampled_from(["teacher", "student"]), st.sampled_from(["clean", "released"]))
def test_groups_are_the_components_of_the_path_and_flags_are_usable_pairs(pair, ties, variant):
    a = mined(*pair, ties=ties, variant=variant)
    assert_partition(a.groups, len(pair[0]), len(pair[1]))
    if len(pair[0]) and len(pair[1]):
        assert as_sets(a.groups) == path_components(a.pairs)
    usable = usable_rows(a)
    for (s0, s1, t0, t1), flag in zip(a.groups.tolist(), a.flags):
        assert flag == ((s1 - s0, t1 - t0) == (1, 1) and usable[s0] == t0)
    for i in np.flatnonzero(usable >= 0).tolist():
        assert [j for k, j in a.pairs.tolist() if k == i] == [usable[i]]
        if variant == "clean":
            assert pair[0].spans[i, 1] == pair[1].spans[usable[i], 1]


@given(encoded_twice())
def test_swapping_the_sides_keeps_the_cost_and_mirrors_the_ties(pair):
    there, back = mined(*pair), mined(pair[1], pair[0], ties="student")
    assert there.cost.total == back.cost.total
    assert there.swap().pairs.tolist() == back.pairs.tolist()
    assert there.swap().groups.tolist() == back.groups.tolist()


@given(encoded_twice())
@settings(max_examples=40)
def test_identical_tokenizers_give_the_diagonal_at_no_cost(pair):
    a = mined(pair[0], pair[0])
    assert a.groups.tolist() == [[k, k + 1, k, k + 1] for k in range(len(pair[0]))]
    assert a.cost.total == 0
    assert a.flags.all()


def test_without_logits_cdm_and_mined_take_the_same_path():
    s = encoding(["The", " comfort", " of", " un", "believable", " cats", ".\n"] * 3)
    t = encoding(["The", " com", "fort", " of", " unbelievable", " cats", ".", "\n"] * 3)
    assert mined(s, t).pairs.tolist() == cdm(s, t).pairs.tolist()
    assert mined(s, t).cost.total * 16 == cdm(s, t).cost.total
    assert mined(s, t).cost.unit == "edits"
    assert set(mined(s, t).cost.student_weights.tolist()) == {1.0}


def test_a_pair_of_equal_tokens_at_another_place_is_usable_in_released_only():
    s, t = encoding(["x", "aa", "a"]), encoding(["x", "a", "aa"])
    clean, program = mined(s, t), mined(s, t, variant="released")
    assert clean.pairs.tolist() == program.pairs.tolist()
    where = [k for k, (i, j) in enumerate(clean.pairs.tolist()) if s.tokens[i] == t.tokens[j]]
    moved = [clean.pairs[k].tolist() for k in where if clean.pairs[k, 0] and clean.pairs[k, 1]]
    for i, j in moved:
        assert s.spans[i, 1] == t.spans[j, 1] or usable_rows(clean)[i] == -1
    assert (usable_rows(program) >= 0).sum() >= (usable_rows(clean) >= 0).sum()
    assert usable_rows(mined(s, t, same_end=False)).tolist() == usable_rows(program).tolist()


def test_maps_decide_what_soft_and_dskd_accept():
    s, t = encoding(["the", " cat", " sat"]), encoding(["the", " cats"[:4], " sit"[:4]])
    t = encoding(["the", " cat", " sat"], name="other")
    a = mined(s, t)
    assert usable_rows(a).tolist() == [0, 1, 2]
    to_student = np.array([0, 2, -1])  # the map sends " cat" elsewhere and knows nothing of " sat"
    assert usable_rows(a, "map", to_student).tolist() == [0, -1, -1]
    assert usable_rows(a, "soft", to_student).tolist() == [0, 1, 2]


def test_faults_say_what_is_wrong():
    s, t = encoding(["a", "b"]), encoding(["ab"])
    with pytest.raises(AlignmentError, match="did you mean 'teacher'"):
        mined(s, t, ties="teachr")
    with pytest.raises(AlignmentError, match="must encode one text"):
        mined(s, encoding(["c"]))
    with pytest.raises(AlignmentError, match="unknown value of 'accept' 'sotf'; did you mean 'soft'"):
        usable_rows(mined(s, t), "sotf")
    with pytest.raises(AlignmentError, match="entry for every teacher id, up to 0; got 0 entries"):
        usable_rows(mined(s, t), "map")
    with pytest.raises(AlignmentError, match="'sedi' has no pairs"):
        usable_rows(sedi(s, t))
    assert uld(s, t).flags is None


def test_a_side_without_tokens_faces_nothing():
    only_special = encoding(["<s>"], special=(0,))
    a = mined(only_special, encoding([]))
    assert a.groups.shape == (0, 4)
    assert a.flags.shape == (0,)
    assert usable_rows(a).tolist() == [-1]


def test_pieces_of_characters_are_compared_as_bytes_in_released():
    s, t = encoding(["日".encode()[:2], "日".encode()[2:]]), encoding(["日"])
    assert mined(s, t).cost.window("local", slice(None), slice(None)).tolist() == [[2.0], [1.0]]
    assert mined(s, t, variant="released").cost.window("local", slice(None), slice(None)).tolist() == [[1.0], [2.0]]


WORDS = ["The", " comfort", " of", " un", "believable", " cats", " in", " 2024", ",", " 123", "45", ".\n"]
OTHER = ["The", " com", "fort", " of", " unbeliev", "able", " cats", " in", " 20", "24", ",", " 12345", ".", "\n"]


@pytest.mark.parametrize("align", [cdm, mined])
def test_long_texts_are_searched_in_stretches_and_lose_nothing_here(align):
    """Both run on 2,400 x 2,800 tokens: in stretches of 256 the cost and the groups are those of the whole search."""
    s, t = encoding(WORDS * 200), encoding(OTHER * 200)
    whole, parts = align(s, t), align(s, t, window=256)
    assert len(whole.cost.blocks) == 1
    assert len(parts.cost.blocks) >= 2400 // 256
    assert parts.cost.total == whole.cost.total
    assert parts.groups.tolist() == whole.groups.tolist()
    assert any("cheapest of the paths through those" in note for note in parts.notes)


@pytest.mark.parametrize("align", [cdm, mined])
def test_work_grows_with_the_length_not_with_its_square(align):
    """Cells searched for 5,000, 10,000 and 20,000 tokens a side, all beyond one search."""
    cells = []
    for repeats in (420, 840, 1680):
        a = align(encoding(WORDS * repeats), encoding(OTHER * repeats))
        cells.append(sum((b.s1 - b.s0) * (b.t1 - b.t0) for b in a.cost.blocks))
        assert_partition(a.groups, len(a.student), len(a.teacher))
    assert cells[1] / cells[0] == pytest.approx(2, rel=0.15)
    assert cells[2] / cells[1] == pytest.approx(2, rel=0.15)


def test_released_rows_of_fusellm():
    vocabulary = {"the": 0, "_cat": 1, "s": 2}
    ids, logits = mined_rows.fuse_rows(
        ["the", "_cat"],
        ["the", "_c", "at"],
        [[0], [1, 2]],
        [[0, 1, 2]] * 3,
        [[3.0, 2.0, 1.0]] * 3,
        vocabulary,
        ["the", "s", "_dog"],
    )
    assert ids == [[0, 2], [1]]  # "_dog" isn't in the vocabulary; two partners: the token itself
    assert logits == [[3.0, 2.0], [1.0]]
    rows = mined_rows.scattered(ids, logits, 3)
    np.testing.assert_allclose(rows.sum(axis=1), 1)
    np.testing.assert_allclose(rows[0, [0, 2]], np.exp([3.0, 2.0]) / np.exp([3.0, 2.0]).sum())
    assert rows[1].tolist() == [0.0, 1.0, 0.0]


def test_released_rows_of_dskd():
    z = np.arange(6.0).reshape(2, 3)
    rows = mined_rows.dskd_rows(z, [[0], [0, 1]], [1, 0], [2, 0], [0, 1], [1, 0, 1], 3)
    assert rows[0].tolist() == [1.0, 0.0, mined_rows.NOTHING]  # student 1 keeps teacher 0, the first mapped to it
    assert rows[1].tolist() == [mined_rows.NOTHING, mined_rows.ONE_HOT, mined_rows.NOTHING]
