"""Chunks of rows: every row once, in order, and cut only where a loss allows it."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from ctkd_core.losses.engine.engine import chunk_spans


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 12))
def test_chunks_cover_every_row_once_and_keep_groups_whole(cuts, step):
    mask = torch.tensor(cuts, dtype=torch.bool)
    spans = chunk_spans(len(cuts), step, mask)
    assert [i for span in spans for i in range(span.start, span.stop)] == list(range(len(cuts)))
    assert all(cuts[span.start] for span in spans[1:])
    for span in spans:
        inner = [i for i in range(span.start + 1, span.stop) if cuts[i]]
        longer = span.stop - span.start > step
        assert not (longer and inner), "a chunk over the step must hold one group only"


@given(st.integers(0, 40), st.integers(1, 12))
def test_without_cuts_chunks_are_full(n, step):
    spans = chunk_spans(n, step)
    assert [s.stop - s.start for s in spans[:-1]] == [step] * max(0, len(spans) - 1)
    assert sum(s.stop - s.start for s in spans) == n
