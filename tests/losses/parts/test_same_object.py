"""What is made of a map is kept for the map as it is: changed entries are seen."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from ctkd_core.losses.parts.columns import entries_of
from ctkd_core.losses.parts.matched import SameObject


def _map() -> sp.csr_matrix:
    return sp.csr_matrix(np.array([[1.0, 0, 0], [0.25, 0.75, 0], [0, 0.5, 0.5]]))


def test_entries_follow_a_matrix_that_is_changed() -> None:
    matrix = _map()
    first = entries_of(matrix, (3, 3), "cpu", torch.float32)
    assert entries_of(matrix, (3, 3), "cpu", torch.float32) is first, "looked through once"
    matrix.data *= 0.5
    assert float(entries_of(matrix, (3, 3), "cpu", torch.float32).weight.sum()) == pytest.approx(1.5)


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
@pytest.mark.parametrize("change", ["swapped weights", "moved entry", "dropped entry"])
def test_changes_that_keep_the_sum_are_seen(form: str, change: str) -> None:
    matrix = _map().asformat(form)
    before = SameObject(matrix)
    assert before == SameObject(matrix)
    if change == "swapped weights":
        low, high = np.flatnonzero(matrix.data == 0.25)[0], np.flatnonzero(matrix.data == 0.75)[0]
        matrix.data[[low, high]] = matrix.data[[high, low]]
    elif change == "moved entry":
        places = matrix.row if form == "coo" else matrix.indices
        places[0] = (places[0] + 1) % 3
    else:
        matrix.data[-1] = 0.0
        matrix.eliminate_zeros()
    assert before != SameObject(matrix)
    assert SameObject(_map()) != SameObject(_map()), "another object is another map"
