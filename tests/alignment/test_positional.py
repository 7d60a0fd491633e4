"""ULD pairs tokens by index, whatever they say."""

from __future__ import annotations

import pytest
from hypothesis import given

from ctkd_core.alignment.positional import uld
from ctkd_core.errors import AlignmentError
from tests.alignment.make import encoded_twice, encoding
from tests.alignment.test_spans import assert_partition


@given(encoded_twice())
def test_pairs_are_the_diagonal_and_the_tail_faces_nothing(pair):
    s, t = pair
    both = min(len(s), len(t))
    alignment = uld(s, t)
    assert_partition(alignment.groups, len(s), len(t))
    assert alignment.pairs.tolist() == [[k, k] for k in range(both)]
    assert alignment.groups[:both].tolist() == [[k, k + 1, k, k + 1] for k in range(both)]
    assert (alignment.kind_codes[both:] >= 4).all()
    assert len(alignment) == max(len(s), len(t))
    assert bool(alignment.notes) == (len(s) != len(t))


@given(encoded_twice())
def test_swapping_the_sides_swaps_pairs_and_groups(pair):
    there, back = uld(*pair), uld(*pair[::-1])
    assert there.swap().groups.tolist() == back.groups.tolist()
    assert there.swap().pairs.tolist() == back.pairs.tolist()


def test_special_tokens_do_not_count_as_positions():
    s = encoding(["<s>", "a", "b", "</s>"], special=(0, 3))
    t = encoding(["a", "<x>", "b"], special=(1,))
    alignment = uld(s, t)
    assert alignment.pairs.tolist() == [[1, 0], [2, 2]]
    assert alignment.groups.tolist() == [[1, 2, 0, 1], [2, 3, 2, 3]]


def test_the_tail_is_counted_in_a_note():
    alignment = uld(encoding(["a", "b", "c"]), encoding(["abc"]))
    assert alignment.notes == ("The last 2 student tokens face nothing: the other side has only 1.",)
    assert alignment.groups.tolist() == [[0, 1, 0, 1], [1, 2, 1, 1], [2, 3, 1, 1]]


def test_two_texts_are_refused():
    with pytest.raises(AlignmentError, match="must encode one text"):
        uld(encoding(["a"]), encoding(["b"]))
