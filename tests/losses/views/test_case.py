"""What the views of all methods have in common, on a text whose first token nothing predicts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ctkd_core import methods
from ctkd_core.losses.batch import align_sample, collate
from ctkd_core.losses.views.case import Case
from tests.losses.cases import TEXTS, extras, logits_for, pair, same_sides

WITH_VIEW = [row for row in methods.training() if row.view]


@pytest.mark.parametrize("row", WITH_VIEW, ids=lambda row: row.name)
def test_a_view_has_a_place_for_every_group(row):
    """Each target stands at the place of its group; None holds the place where no row predicts the student's token."""
    student, teacher = (replace(tokenizer, bos_id=None) for tokenizer in pair())
    batch = collate([align_sample("", TEXTS[0], student, teacher, row.name)], student, teacher)
    s, t = logits_for(batch)
    if row.same_tokenizer:
        batch, t = same_sides(batch, t)
    groups = tuple(tuple(group[1:]) for group in batch.groups.tolist())
    assert groups[0][:2] == (0, 1)
    case = Case(batch, s.detach(), t, row.loss_table({}), "clean", groups, extras(row.name, batch))
    found = methods.load(row.view)(case)
    assert len(found) == len(groups)
    assert found[0] is None
    assert sum(target is not None for target in found) > 3
    assert all(target is None or target.group == k for k, target in enumerate(found))
