"""P-KL's picture where no student token maps to any of the teacher's columns."""

from __future__ import annotations

import numpy as np
import pytest

from ctkd_core import methods
from ctkd_core.losses.batch import align_sample, collate
from ctkd_core.losses.views.case import Case
from ctkd_core.losses.views.target import UNREACHED
from ctkd_core.losses.views.xtoken import teacher_columns
from ctkd_core.losses.xtoken import default_projection
from tests.losses.cases import PROMPT, TEXTS, logits_for, pair


def test_columns_that_nothing_maps_to_hold_nothing_of_the_student():
    student, teacher = pair()[::-1]  # the teacher's vocabulary is the larger one
    batch = collate([align_sample(PROMPT, TEXTS[0], student, teacher, "xtoken-pkl")], student, teacher)
    s, t = (z.detach() for z in logits_for(batch, widths=(student.n_ids, teacher.n_ids)))
    load = np.bincount(default_projection(batch).matrix.indices, minlength=teacher.n_ids)
    lonely = np.flatnonzero(load == 0)[:3].tolist()
    t[..., lonely] += 50.0
    groups = tuple(tuple(group[1:]) for group in batch.groups.tolist())
    options = methods.get("xtoken-pkl").resolve_loss({"top_k": 3})
    found = [target for target in teacher_columns(Case(batch, s, t, options, "clean", groups)) if target is not None]
    assert len(found) > 3
    for target in found:
        assert sorted(target.ids) == lonely
        assert target.student == (0.0, 0.0, 0.0)
        assert target.sources == ((), (), ())
        assert target.source_counts == (0, 0, 0)
        assert dict(target.lost)[UNREACHED] == pytest.approx(sum(target.teacher), abs=1e-5)
