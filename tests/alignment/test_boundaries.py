"""Where both sides of a group begin and end."""

from __future__ import annotations

import numpy as np

from ctkd_core.alignment.base import Alignment
from ctkd_core.alignment.boundaries import same_bytes
from tests.alignment.make import of_spans


def test_equal_places_whatever_stands_before_them():
    """A first token without text on one side, a gap, a group of tokens that overlap, a group that ends elsewhere."""
    s = of_spans([(0, 2), (3, 5), (4, 6), (6, 7), (7, 9)], 9)
    t = of_spans([(0, 0), (0, 2), (3, 6), (6, 7), (7, 8)], 9, special=[0])
    groups = [[0, 1, 1, 2], [1, 3, 2, 3], [3, 4, 3, 4], [4, 5, 4, 5]]
    for a, b, rows in ((s, t, groups), (t, s, [[*g[2:], *g[:2]] for g in groups])):
        assert same_bytes(Alignment(a, b, "hand", np.array(rows, dtype=np.int32))).tolist() == [True] * 3 + [False]
