"""Rows of groups against loops over their tokens, whatever the labels say."""

from __future__ import annotations

from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from ctkd_core.losses.base import response_rows
from ctkd_core.losses.batch import IGNORE, AlignedBatch
from ctkd_core.losses.parts.group_rows import group_rows


@st.composite
def batches(draw: st.DrawFn) -> AlignedBatch:
    """Two samples whose tokens are grouped and learnt at random, the groups in any order."""
    sides, groups = [], []
    n = draw(st.integers(1, 3))
    cuts = [
        [sorted(draw(st.sets(st.integers(0, 6), min_size=n + 1, max_size=n + 1))) for _ in range(2)] for _ in range(2)
    ]
    for _ in range(2):
        ids = torch.arange(12).view(2, 6)
        learnt = draw(st.lists(st.sampled_from([True, True, True, False]), min_size=12, max_size=12))
        sides.append((ids, torch.where(torch.tensor(learnt).view(2, 6), ids, IGNORE)))
    for b, (student, teacher) in enumerate(cuts):
        groups += [[b, *mine, *theirs] for mine, theirs in zip(pairwise(student), pairwise(teacher))]
    groups = torch.tensor(draw(st.permutations(groups)))
    (s_ids, s_labels), (t_ids, t_labels) = sides
    return AlignedBatch(s_ids, t_ids, s_labels, t_labels, torch.ones_like(s_ids), torch.ones_like(t_ids), groups)


@given(batches())
def test_a_group_counts_where_every_token_that_has_a_row_is_learnt_on_both_sides(batch):
    rows = response_rows(batch.student_labels)
    expected = {}
    for number, (b, s0, s1, t0, t1) in enumerate(batch.groups.tolist()):
        mine, theirs = range(max(s0, 1), s1), range(max(t0, 1), t1)  # nothing predicts a first token
        learnt = [batch.student_labels[b, i] != IGNORE for i in mine]
        learnt += [batch.teacher_labels[b, j] != IGNORE for j in theirs]
        if mine and theirs and all(learnt):
            expected[number] = [int(rows.number[b, i]) for i in mine], [b * 6 + j - 1 for j in theirs]
    found = group_rows(rows, batch)
    assert sorted(found.owner.tolist()) == sorted(expected)
    for k, number in enumerate(found.owner.tolist()):
        mine, theirs = expected[number]
        assert found.student_row[found.student_group == k].tolist() == mine
        assert found.teacher_row[found.teacher_group == k].tolist() == theirs
        assert (int(found.student_count[k]), int(found.teacher_count[k])) == (len(mine), len(theirs))
        assert int(found.at[k]) == mine[-1]
        assert int(found.sample[k]) == int(batch.groups[number, 0])
