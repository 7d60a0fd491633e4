"""Replay of tests/golden/mined.json: the path over token strings, and the rows that FuseLLM and DSKD make of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ctkd_core.alignment import cheapest_path, costs
from ctkd_core.alignment.released import cdm as released_lists
from tests.alignment import mined_rows as released


def replay(case: dict[str, Any]) -> dict[str, Any]:
    """The results of one case, by the keys of the file; base is the student, blend the teacher."""
    if "new_vocab" in case["inputs"]:
        return _vocabulary_map(case)
    marks = case["options"]["base_marker"], case["options"]["blend_marker"]
    out, of_base = _path(case["inputs"]["base_tokens"], case["inputs"]["blend_tokens"], marks)
    return out | (_dskd(case, of_base) if "teacher_logits" in case["inputs"] else _fuse(case, of_base))


_TIES = (
    "candidates scanned by length, upward when the token is shorter than the median-length entry, else downward; first "
    "minimum wins; Python sort is stable"
)


def _path(base: list[str], blend: list[str], marks: tuple[str, str]) -> tuple[dict[str, Any], list[list[int]]]:
    """Path and lists; the recorded matrix and path have the teacher first. Each side loses its own mark alone."""
    strings = [[x.replace(mark, "") for x in side] for side, mark in zip((base, blend), marks)]
    plain = costs.token_costs(*strings, np.ones(len(base)), np.ones(len(blend)))
    blocks, pairs = cheapest_path.dtw(plain)
    of_base, of_blend = released_lists.alignment_lists(pairs, len(base), len(blend))
    return {
        "dtw_path_blend_base": pairs[:, ::-1].tolist(),
        "dtw_cost": float(blocks[-1].after),
        "base_to_blend": of_base,
        "blend_to_base": of_blend,
        "dtw_cumulative_cost": cheapest_path.accumulated(plain).T.tolist(),
    }, of_base


def _fuse(case: dict[str, Any], of_base: list[list[int]]) -> dict[str, Any]:
    given, options = case["inputs"], case["options"]
    options.fixed(top_k_logits=len(given["blend_topk_ids"][0]))
    soft = options.choice("vocab_align_type", {"soft": True, "hard": False})
    base_ids = {token: k for k, token in enumerate(given["base_vocab"])}

    def unified(tokens: list[str]) -> list[str]:
        return [token.replace(options["blend_marker"], options["base_marker"]) for token in tokens]

    ids, logits = released.fuse_rows(
        given["base_tokens"],
        unified(given["blend_tokens"]),
        of_base,
        given["blend_topk_ids"],
        given["blend_topk_logits"],
        base_ids,
        unified(given["blend_vocab"]),
        given["blend_to_base_token_map"] if soft else None,
    )
    rows = released.scattered(ids, logits, len(base_ids), options["distill_teacher_temperature"])
    return {"aligned_base_ids": ids, "aligned_logits": logits, "aligned_distribution": rows.tolist()}


def _dskd(case: dict[str, Any], of_base: list[list[int]]) -> dict[str, Any]:
    given, options = case["inputs"], case["options"]
    options.fixed(onehot_logits=[released.ONE_HOT, released.NOTHING], fill=released.NOTHING)
    names_s, names_t = given["base_vocab"], given["blend_vocab"]
    rows = released.dskd_rows(
        np.array(given["teacher_logits"]),
        of_base,
        [names_s.index(x) for x in given["base_tokens"]],
        [names_t.index(x) for x in given["blend_tokens"]],
        given["base_target_ids"],
        given["teacher_to_student_id_map"],
        len(names_s),
        options["max_align_num"],
    )
    return {"aligned_teacher_logits": rows.tolist()} | _kl(case, rows)


def _kl(case: dict[str, Any], rows: np.ndarray) -> dict[str, Any]:
    import torch

    from ctkd_core.losses.parts.divergences import divergence

    student = torch.tensor(case["inputs"]["student_logits"], dtype=torch.float64)
    value = divergence("forward_kl", student, torch.tensor(rows), temperature=case["options"]["kd_temperature"])
    return {"kl_per_token": value.tolist(), "kl_sum": float(value.sum())}


def _vocabulary_map(case: dict[str, Any]) -> dict[str, Any]:
    """tokenkit's map: each new token to the nearest of the original vocabulary, scanned by length."""
    from ctkd_core.vocabulary.nearest import nearest

    case["options"].fixed(tie_break=_TIES)
    new, original = case["inputs"]["new_vocab"], case["inputs"]["original_vocab_in_id_order"]
    found = nearest(new, original, ties="length")
    rows = zip(new, found.target.tolist(), found.distance.tolist())
    return {
        "mapping_token_to_original_and_distance": [
            [token, token, 0] if token in original else [token, original[target], distance]
            for token, target, distance in rows
        ]
    }
