"""Which groups could be parted, however small they are."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ctkd_core.alignment.base import Alignment
from ctkd_core.alignment.metrics import health
from ctkd_core.alignment.places import places
from ctkd_core.alignment.spans import sedi
from tests.alignment.make import encoded_twice, encoding


@given(encoded_twice(), st.randoms(use_true_random=False))
def test_a_group_made_of_several_smallest_ones_could_be_parted(pair, random):
    smallest = sedi(*pair).groups.tolist()
    blocks: list[list[list[int]]] = []
    for group in smallest:
        if blocks and random.random() < 0.4:
            blocks[-1].append(group)
        else:
            blocks.append([group])
    joined = [[b[0][0], b[-1][1], b[0][2], b[-1][3]] for b in blocks]
    alignment = Alignment(*pair, "hand", np.array(joined, dtype=np.int32).reshape(-1, 4))
    assert places(alignment).divisible == sum(len(b) > 1 for b in blocks)


def test_a_small_group_that_could_be_parted_is_coarse():
    s, t = encoding(["a", "bc", "d"]), encoding(["a", "b", "c", "d"])
    fine, coarse = (
        Alignment(s, t, "hand", np.array(g, dtype=np.int32))
        for g in ([[0, 1, 0, 1], [1, 2, 1, 3], [2, 3, 3, 4]], [[0, 2, 0, 3], [2, 3, 3, 4]])
    )
    assert (places(fine).divisible, places(coarse).divisible) == (0, 1)
    assert health(fine).level == "ok"
    assert (health(coarse).level, health(coarse).verdict) == ("warn", "exact but coarse")
