"""Exact token alignment: pairs need equal text and equal history, everything else stands alone."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctkd_core.alignment import align
from ctkd_core.alignment.exact_history import equal_history, exact_tokens
from ctkd_core.errors import AlignmentError, ProjectionError
from ctkd_core.vocabulary.head_maps import head_maps
from tests.alignment.make import encoded_twice, encoding
from tests.alignment.test_spans import assert_partition
from tests.tiny import tiny_byte_level, tiny_metaspace

STRINGS = st.lists(st.text(alphabet="ab", max_size=3), max_size=12)


def by_definition(s, t):
    """Pairs whose strings and joined histories are equal."""
    return [[i, j] for i in range(len(s)) for j in range(len(t)) if s[i] == t[j] and "".join(s[:i]) == "".join(t[:j])]


@given(encoded_twice())
def test_pairs_are_those_of_the_definition_on_bytes(pair):
    s, t = ([b.decode("latin-1") for b in side.token_bytes] for side in pair)
    a = exact_tokens(*pair)
    assert a.pairs.tolist() == by_definition(s, t)
    assert_partition(a.groups, len(s), len(t))
    two_sided = a.groups[(a.sizes > 0).all(axis=1)]
    assert two_sided[:, [0, 2]].tolist() == a.pairs.tolist()
    assert set(a.sizes.sum(axis=1)[(a.sizes == 0).any(axis=1)].tolist()) <= {1}


@given(st.lists(st.text(alphabet="ab", min_size=1, max_size=3), max_size=12), st.data())
def test_released_pointers_find_the_pairs_of_the_definition_where_no_token_is_empty(s, data):
    text = "".join(s)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)))) | {0, len(text)})
    t = [text[a:b] for a, b in pairwise(cuts)]
    assert equal_history(s, t).tolist() == by_definition(s, t)


@given(STRINGS, STRINGS)
def test_released_pairs_always_meet_the_definition(s, t):
    pairs = equal_history(s, t).tolist()
    assert all(pair in by_definition(s, t) for pair in pairs)
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(pairs))
    assert [p[::-1] for p in equal_history(t, s).tolist()] == pairs


def test_two_end_markers_count_as_equal():
    assert equal_history(["a", "</s>"], ["a", "<eos>"]).tolist() == [[0, 0]]
    assert equal_history(["a", "</s>"], ["a", "<eos>"], [("</s>", "<eos>")]).tolist() == [[0, 0], [1, 1]]


def test_a_pair_needs_equal_history_not_only_equal_text():
    s, t = encoding(["aa", "a", "b"]), encoding(["a", "aa", "b"])
    assert exact_tokens(s, t).pairs.tolist() == [[2, 2]]
    assert exact_tokens(s, t).groups.tolist() == [[0, 1, 0, 0], [1, 2, 0, 0], [2, 2, 0, 1], [2, 2, 1, 2], [2, 3, 2, 3]]


def test_a_blank_belongs_to_its_token_in_clean_and_to_none_in_released():
    s, t = encoding(["a", " b", "c"]), encoding(["a ", "b", "c"])
    assert exact_tokens(s, t).pairs.tolist() == [[2, 2]]
    assert exact_tokens(s, t, variant="released").pairs.tolist() == [[0, 0], [1, 1], [2, 2]]


def test_pieces_of_one_character_do_not_end_the_history_in_released():
    s, t = encoding(["日".encode()[:1], "日".encode()[1:], "a"]), encoding(["日", "a"])
    for variant in ("clean", "released"):
        assert exact_tokens(s, t, variant=variant).pairs.tolist() == [[2, 1]]


def test_the_blank_before_a_sentencepiece_text_does_not_shift_history():
    a = align("The cat", student=tiny_metaspace(), teacher=tiny_byte_level(400), method="dskd-eta")
    first = [a.student.tokens[0].strip(), a.teacher.tokens[0].strip()]
    assert (first[0] == first[1]) == ([0, 0] in a.pairs.tolist())
    ends = {int(a.student.spans[i, 1]) == int(a.teacher.spans[j, 1]) for i, j in a.pairs}
    assert ends == {True}


def test_special_tokens_are_in_no_group():
    s, t = encoding(["<s>", "a", "b"], special=(0,)), encoding(["a", "b", "</s>"], special=(2,))
    a = exact_tokens(s, t)
    assert a.pairs.tolist() == [[1, 0], [2, 1]]
    assert a.groups.tolist() == [[1, 2, 0, 1], [2, 3, 1, 2]]
    assert "2 of 2 student tokens" in a.notes[-1]


def test_two_texts_are_refused():
    with pytest.raises(AlignmentError, match="must encode one text"):
        exact_tokens(encoding(["a"]), encoding(["b"]))


def test_head_maps_keep_the_logits_of_shared_tokens():
    """With as many shared tokens as dimensions and full rank the logits are kept exactly."""
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(9, 3)), rng.normal(size=(8, 5))
    shared = np.array([[1, 0], [4, 2], [7, 5]])
    t2s, s2t = head_maps(student, teacher, shared)
    assert t2s.shape == (5, 3)
    assert s2t.shape == (3, 5)
    h_t, h_s = rng.normal(size=(4, 5)), rng.normal(size=(4, 3))
    np.testing.assert_allclose(h_t @ t2s @ student[shared[:, 0]].T, h_t @ teacher[shared[:, 1]].T)
    np.testing.assert_allclose(h_s @ s2t @ teacher[shared[:, 1]].T, h_s @ student[shared[:, 0]].T)


def test_head_maps_refuse_ids_outside_the_heads():
    with pytest.raises(ProjectionError, match="at least one token that both vocabularies have"):
        head_maps(np.ones((2, 2)), np.ones((2, 2)), [])
    with pytest.raises(ProjectionError, match="shared teacher ids run from 0 to 5, but the teacher's head has 2 rows"):
        head_maps(np.ones((2, 2)), np.ones((2, 2)), [[0, 0], [1, 5]])
