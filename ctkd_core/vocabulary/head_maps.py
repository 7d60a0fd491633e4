"""Linear maps between two models' hidden spaces that keep the logits of shared tokens (DSKD v2's first projectors).

Source: DSKDv2, arXiv 2504.11426, and its released code (projector initialisation). Differs: computed in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.errors import ProjectionError


def head_maps(
    student_head: Any, teacher_head: Any, shared: Any, cutoff: float = 1e-15
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Teacher-to-student [D, d] and student-to-teacher [d, D] maps, float64, from LM heads [Vs, d] and [Vt, D].

    shared int [k, 2]: (student id, teacher id) of tokens that both vocabularies have; the maps are the least-squares
    ones on these: hidden @ map gives, through the other model's head, the logits the own head gives. `cutoff`:
    singular values below this share of the largest count as zero. Raises ProjectionError for ids outside the heads or
    no shared token.
    """
    s, t = np.asarray(student_head, dtype=np.float64), np.asarray(teacher_head, dtype=np.float64)
    ids = np.asarray(shared, dtype=np.int64).reshape(-1, 2)
    if not len(ids):
        raise ProjectionError("maps between hidden spaces need at least one token that both vocabularies have; got 0.")
    for side, head, column in (("student", s, 0), ("teacher", t, 1)):
        if not 0 <= ids[:, column].min() <= ids[:, column].max() < len(head):
            raise ProjectionError(
                f"shared {side} ids run from {ids[:, column].min()} to {ids[:, column].max()}, but the {side}'s head "
                f"has {len(head)} rows."
            )
    s_shared, t_shared = s[ids[:, 0]].T, t[ids[:, 1]].T
    return t_shared @ np.linalg.pinv(s_shared, rcond=cutoff), s_shared @ np.linalg.pinv(t_shared, rcond=cutoff)
