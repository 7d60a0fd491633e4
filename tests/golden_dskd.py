"""Replay of tests/golden/dskd.json: exact token alignment and first projectors; the losses come with the method."""

from __future__ import annotations

from typing import Any

import numpy as np

from ctkd_core.alignment.costs import normalise
from ctkd_core.alignment.exact_history import equal_history
from ctkd_core.vocabulary.head_maps import head_maps

_IGNORE = -100


def replay(case: dict[str, Any]) -> dict[str, Any]:
    """The results of one case, by the keys of the file."""
    if "overlap_student_teacher_ids" in case["inputs"]:
        return _projectors(case["inputs"])
    if "student_vocab" in case["inputs"]:
        return _exact_tokens(case["inputs"])
    return {}


def _projectors(given: dict[str, Any]) -> dict[str, Any]:
    student, teacher = np.array(given["student_lm_head"]), np.array(given["teacher_lm_head"])
    t2s, s2t = head_maps(student, teacher, given["overlap_student_teacher_ids"])
    return {
        "W_t2s_in_out": t2s.tolist(),
        "W_s2t_in_out": s2t.tolist(),
        "t2s_logits": (np.array(given["teacher_hidden"]) @ t2s @ student.T).tolist(),
        "s2t_logits": (np.array(given["student_hidden"]) @ s2t @ teacher.T).tolist(),
    }


def _exact_tokens(given: dict[str, Any]) -> dict[str, Any]:
    student, teacher = (
        [normalise(given[f"{side}_vocab"][k]) for k in given[f"{side}_labels"][0] if k != _IGNORE]
        for side in ("student", "teacher")
    )
    pairs = equal_history(student, teacher, [(given["student_vocab"][0], given["teacher_vocab"][0])])
    return {
        "aligned_student_idx": pairs[:, 0].tolist(),
        "aligned_teacher_idx": pairs[:, 1].tolist(),
        "align_ratio": len(pairs) / len(student),
    }
