"""Several methods token by token: equal groups have equal numbers, and stretches of dispute are where they don't."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctkd_core import methods
from ctkd_core.alignment import align_encodings
from ctkd_core.alignment.opinions import common_cuts, disputed, group_of_tokens, opinions
from ctkd_core.errors import AlignmentError
from tests.alignment.make import encoded_twice, encoding

NAMES = ["sedi", "uld", "cdm", "gold"]


def made(pair, names=NAMES):
    return [align_encodings(*pair, method=name) for name in names]


def of_token(alignment, token):
    """The tokens that a student token's group holds, both sides; None without a group."""
    for s0, s1, t0, t1 in alignment.groups.tolist():
        if s0 <= token < s1:
            return range(s0, s1), range(t0, t1)  # empty ranges are equal
    return None


@given(encoded_twice())
def test_two_methods_have_one_number_where_they_have_one_group(pair):
    every = made(pair)
    found = opinions(every)
    assert found.shape == (len(pair[0]), len(every))
    for token in range(len(pair[0])):
        groups = [of_token(one, token) for one in every]
        assert [number < 0 for number in found[token]] == [group is None for group in groups]
        for a, first in enumerate(groups):
            for b, second in enumerate(groups):
                if first is not None and second is not None:
                    assert (found[token, a] == found[token, b]) == (first == second)
        numbers = [n for n in found[token] if n >= 0]
        assert set(numbers) == set(range(len(set(numbers)))), "numbers begin at 0 and leave none out"


@given(encoded_twice())
def test_cuts_part_no_group_and_disputes_are_maximal(pair):
    every = made(pair)
    cuts = common_cuts(every)
    assert cuts[0] == 0 and cuts[-1] == len(pair[0])
    for one in every:
        for s0, s1, _, _ in one.groups.tolist():
            assert not ((cuts > s0) & (cuts < s1)).any()
    found = opinions(every)
    differs = (found > 0).any(axis=1)
    inside = np.zeros(len(differs), dtype=bool)
    for a, b in disputed(found).tolist():
        inside[a:b] = True
        assert a < b and (a == 0 or not differs[a - 1]) and (b == len(differs) or not differs[b])
    assert (inside == differs).all()


@given(encoded_twice(), st.sampled_from([row.name for row in methods.aligning()]))
def test_a_method_has_no_dispute_with_itself(pair, name):
    one = align_encodings(*pair, method=name)
    assert not len(disputed(opinions([one, one])))
    owner = group_of_tokens(one, "teacher")
    for group, (_, _, t0, t1) in enumerate(one.groups.tolist()):
        assert (owner[t0:t1] == group).all()


def test_other_tokens_are_refused():
    one = made((encoding("ab"), encoding("ab")), ["sedi"])[0]
    other = made((encoding(["ab"]), encoding("ab")), ["sedi"])[0]
    with pytest.raises(AlignmentError, match="different student tokens"):
        opinions([one, other])
    with pytest.raises(AlignmentError, match="one text"):
        opinions([one, made((encoding("ac"), encoding("ac")), ["sedi"])[0]])
