"""Where a chunk may begin when groups are made of several rows."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from ctkd_core.losses.base import Rows, response_rows
from ctkd_core.losses.parts.merged import group_cuts


def rows_of(n: int) -> Rows:
    """n rows of one sample."""
    return response_rows(torch.arange(n + 1)[None])


@given(st.integers(1, 12), st.data())
def test_a_chunk_begins_anywhere_but_between_the_rows_of_a_group(n, data):
    groups = data.draw(st.lists(st.sets(st.integers(0, n - 1), min_size=1, max_size=4).map(sorted), max_size=4))
    at = torch.tensor([group[-1] for group in groups], dtype=torch.int64)
    factors = [(row, k) for k, group in enumerate(groups) for row in group[:-1]]
    factor_at, factor_group = torch.tensor(factors, dtype=torch.int64).reshape(-1, 2).unbind(1)
    found = group_cuts(rows_of(n), at, factor_at, factor_group)
    assert found.tolist() == [not any(group[0] < row <= group[-1] for group in groups) for row in range(n)]
