"""Replay of tests/golden/cdm.json: weights, path, lists and merged rows of CDM, and its loss over contextual maps."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ctkd_core.alignment import cheapest_path, costs
from ctkd_core.alignment.released import cdm as released_cdm
from ctkd_core.losses.released import cdm as released_loss
from ctkd_core.vocabulary.released import contextual
from tests.alignment.reference import text_equal


def replay(case: dict[str, Any]) -> dict[str, Any]:
    """The results of one case, by the keys of the file; its matrices have the teacher's tokens as rows."""
    given = case["input"]
    student, teacher = given["student_tokens"], given["teacher_tokens"]
    z_s, z_t = np.array(given["student_logits"]), np.array(given["teacher_logits"])
    h_s, h_t = costs.entropy(z_s), costs.entropy(z_t)
    w_s, w_t = costs.weights(h_s), costs.weights(h_t)
    weighted = _costs(student, teacher, w_s, w_t)
    surface = cheapest_path.dtw(weighted)
    pairs = surface[1]
    plain = _costs(student, teacher, np.ones(len(student)), np.ones(len(teacher)))
    of_student, of_teacher = released_cdm.alignment_lists(pairs, len(student), len(teacher))
    groups = released_cdm.merge_groups(of_teacher)
    factors = released_loss.merge_matrices(pairs, len(student), len(teacher))
    merged_student, merged_teacher = (factor @ z for factor, z in zip(factors, (z_s, z_t)))
    out = {
        "entropy_teacher": h_t.tolist(),
        "entropy_student": h_s.tolist(),
        "weight_teacher_raw": costs.raw_weights(h_t).tolist(),
        "weight_student_raw": costs.raw_weights(h_s).tolist(),
        "weight_teacher": w_t.astype(int).tolist(),
        "weight_student": w_s.astype(int).tolist(),
        "cost_matrix": plain.local().T.tolist(),
        "acc_matrix": cheapest_path.accumulated(weighted).T.tolist(),
        "total_cost": surface[0][-1].after,
        "path": pairs[:, ::-1].tolist(),
        "teacher_to_student": of_teacher,
        "student_to_teacher": of_student,
        "merge_groups_student_idx": groups,
        "merged_teacher_logits": merged_teacher.tolist(),
        "merged_student_logits": merged_student.tolist(),
        "path_with_all_weights_one_ours": cheapest_path.dtw(plain)[1][:, ::-1].tolist(),
        "group_text_equal_ours": text_equal(student, teacher, of_student, groups),
    }
    if "tea2stu" not in given:
        case["params"].notes("tau", "topk", "thr")  # of the lists, which such a case doesn't have
        return out
    return out | _vocabulary(case, merged_student, merged_teacher)


def _vocabulary(case: dict[str, Any], student: np.ndarray, teacher: np.ndarray) -> dict[str, Any]:
    """Both passes over the top-K lists of the merged rows, and the released loss on their slots."""
    given, tau = case["input"], case["params"]["tau"]
    k, threshold = case["params"]["topk"], case["params"]["thr"]
    names_s, names_t = given["stu_vocab"], given["tea_vocab"]
    forward = np.array(given["tea2stu"])
    backward = contextual.inverse_map(given["tea2stu"], len(names_s))
    top_s, top_t = contextual.top_ids(student, k), contextual.top_ids(teacher, k)
    one = contextual.complete_rows(top_t, top_s, forward, names_t, names_s, threshold)
    two = contextual.complete_rows(top_s, one.source, backward, names_s, names_t, threshold)
    z_s, z_t = torch.from_numpy(student), torch.from_numpy(teacher)
    target, compared, share = released_loss.both_passes(z_s, z_t, (forward, backward), (names_s, names_t), k, threshold)
    (t1, s2), (s1, t2) = target.chunk(2, dim=1), compared.chunk(2, dim=1)
    terms = released_loss.slot_terms(target, compared, tau)
    return {
        "static_tea2stu": forward.tolist(),
        "static_stu2tea": backward.tolist(),
        "teacher_topk_ids": top_t.tolist(),
        "student_topk_ids": top_s.tolist(),
        "dynamic_pairs_t2s": [list(pair) for pair in one.found],
        "dir1_student_ids": one.target.tolist(),
        "dir1_teacher_ids": one.source.tolist(),
        "dynamic_pairs_s2t": [list(pair) for pair in two.found],
        "dir2_student_ids": two.source.tolist(),
        "dir2_teacher_ids": two.target.tolist(),
        "unmasked_rate": share,
        "aligned_teacher_logits_released_order": target.tolist(),
        "aligned_student_logits_released_order": compared.tolist(),
        "kd_loss_released_sum_over_numel": float(terms.mean()),
        "kd_loss_port_mean_over_positions": float(terms.sum(axis=1).mean()),
        "kl_dir1_only_tau1_per_position_ours": released_loss.kl(t1, s1).tolist(),
        "kl_dir2_only_tau1_per_position_ours": released_loss.kl(t2, s2).tolist(),
    }


def _costs(student: list[str], teacher: list[str], w_s: np.ndarray, w_t: np.ndarray) -> costs.TokenCosts:
    norm = costs.normalise_released
    free = [(norm(a), norm(b)) for a, b in costs.released_free_pairs()]
    return costs.token_costs([norm(x) for x in student], [norm(x) for x in teacher], w_s, w_t, free)
