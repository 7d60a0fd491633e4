"""Merged rows of a teacher, and the rows of which a loss merges them again."""

from __future__ import annotations

import math

import pytest
import torch

from ctkd_core.errors import LossInputError
from ctkd_core.losses.batch import AlignedBatch
from ctkd_core.losses.merge_rules import IN_WORDS
from ctkd_core.losses.parts.merged import FACTOR_FLOOR
from ctkd_core.losses.teacher_merges import merged_rows, spread_rows, teacher_merges

V = 11


def batch_with(groups: list[list[int]]) -> AlignedBatch:
    """Two samples of nine tokens on both sides; the first two are the prompt."""
    ids = torch.arange(18).reshape(2, 9) % V
    labels = ids.clone()
    labels[:, :2] = -100
    ones = torch.ones_like(ids)
    return AlignedBatch(ids, ids.clone(), labels, labels.clone(), ones, ones.clone(), torch.tensor(groups))


GROUPS = [[0, 2, 3, 2, 5], [0, 3, 6, 5, 6], [0, 6, 8, 6, 8], [1, 2, 4, 2, 3], [1, 4, 5, 3, 7]]


def logits(scale: float = 2.0) -> torch.Tensor:
    return scale * torch.randn(2, 9, V, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("rule", IN_WORDS)
@pytest.mark.parametrize("scale", [2.0, 40.0])  # the second has factors at and below the floor
def test_what_is_spread_merges_to_the_same(rule, scale):
    teacher, batch = logits(scale), batch_with(GROUPS)
    merges = teacher_merges(batch, rule)
    rows, factor = merged_rows(teacher, merges, 1.5)
    out = spread_rows(rows, factor, merges, 1.5, torch.zeros(18, V)).reshape(2, 9, V)
    again, factor_again = merged_rows(out, merges, 1.5)
    torch.testing.assert_close(again, rows, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(factor_again, factor, rtol=1e-5, atol=1e-5)
    untouched = torch.ones(18, dtype=torch.bool)
    untouched[merges.row] = untouched[merges.factor_row] = False
    assert not out.reshape(18, V)[untouched].any()


def test_rows_are_those_that_the_rules_name():
    teacher, batch = logits(), batch_with(GROUPS)
    flat = teacher.reshape(18, V)
    predicting, none = merged_rows(teacher, teacher_merges(batch, "predicting"), 1.0)
    torch.testing.assert_close(predicting, flat[[3, 4, 6, 9 + 1, 9 + 5]])
    assert not none.any(), "nothing is multiplied"
    bayesian, factor = merged_rows(teacher, teacher_merges(batch, "bayesian"), 2.0)
    torch.testing.assert_close(bayesian, predicting)
    log_p = (teacher[0] / 2.0).log_softmax(dim=-1)
    ids = batch.teacher_ids[0]
    expected = sum(max(math.log(FACTOR_FLOOR), float(log_p[at - 1, ids[at]])) for at in (2, 3))
    assert float(factor[0]) == pytest.approx(expected, rel=1e-5)
    assert float(factor[1]) == 0.0
    observed, factor = merged_rows(teacher, teacher_merges(batch, "observed"), 2.0)
    torch.testing.assert_close(observed, flat[[2, 5, 6, 9 + 2, 9 + 3]])
    assert float(factor[0]) == pytest.approx(sum(float(log_p[at, ids[at]]) for at in (3, 4)), rel=1e-5)
    mean, _ = merged_rows(teacher, teacher_merges(batch, "mean"), 1.0)
    torch.testing.assert_close(mean[:2], torch.stack([flat[1], flat[2:5].mean(dim=0)]))  # the prompt's last row first
    last, _ = merged_rows(teacher, teacher_merges(batch, "last"), 1.0)
    torch.testing.assert_close(last[:2], flat[[1, 4]])


def test_groups_that_share_a_row_are_refused():
    with pytest.raises(LossInputError, match="overlap"):
        teacher_merges(batch_with([[0, 2, 3, 2, 5], [0, 3, 4, 4, 5]]), "bayesian")
