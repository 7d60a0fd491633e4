"""Replay of the loss cases of tests/golden/xtoken.json: chunk ids as groups, W from its dense form."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
import torch

from ctkd_core.losses.batch import IGNORE, AlignedBatch
from ctkd_core.losses.xtoken import pkl_loss
from ctkd_core.losses.xtoken_hybrid import hkl_loss


def replay(case: dict[str, Any]) -> dict[str, Any]:
    """The results of one loss case, by the keys of the file."""
    given, config = case["inputs"], case["config"]
    student = torch.tensor(given["student_logits"], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor(given["teacher_logits"], dtype=torch.float64)
    batch = _batch(given, config)
    common = {
        "temperature": config["temperature"],
        "projection": _matrix(given, teacher.shape[-1]),
        "scaling": "dynamic" if config["dynamic_loss_scaling"] else "fixed",
        "variant": "released",
        "reverse": config["reverse_kl"],
    }
    config.notes("exact_token_match_only", "kl_loss_weight", "ce_loss_scale")  # without effect in some branches
    if config["gold_loss"]:
        config.notes("vocab_topk")
        rule = "relaxed" if config["xtoken_loss"] else "strict"
        out = _run(
            hkl_loss, student, teacher, batch, config, common | {"common": rule, "tail_k": config["uncommon_topk"]}
        )
        kd_terms = ("common", "tail")
    else:
        config.fixed(xtoken_loss=False)
        config.notes("uncommon_topk")
        common["top_k"] = config["vocab_topk"]
        out = _run(pkl_loss, student, teacher, batch, config, common)
        kd_terms = ("pkl",)
    facts = out["facts"]
    agreement = facts.diagnostics["top1_agreement"]
    if not config["gold_loss"] and facts.diagnostics["groups"]:  # counted over masked samples too
        with torch.no_grad():
            whole = _batch(given | {"sample_mask": [1.0] * len(batch)}, config)
            agreement = pkl_loss(student, teacher, whole, **common).diagnostics["top1_agreement"]
    scale = config["temperature"] ** 2
    kd = scale * sum(float(facts.terms[name]) for name in kd_terms)
    return {
        "total_loss": out["total"],
        "kd": kd,
        "ce": float(facts.terms["ce"]),
        "kd_scale": facts.diagnostics.get("kd_scale", 1.0),
        "top1_agreement": agreement,
        "kl_common": float(facts.terms["common"]) if "common" in kd_terms else None,
        "l1_uncommon": float(facts.terms["tail"]) if "tail" in kd_terms else None,
        "valid_chunks": int(facts.diagnostics["groups"]),
        "accuracy": _accuracy(student, batch),
        "grad_student_abs_sum": float(out["gradient"].abs().sum()),
    }


def _run(loss, student, teacher, batch, config, options):
    if config["dynamic_loss_scaling"]:
        out = loss(student, teacher, batch, **options)
        out.loss.backward()
        return {"total": float(out.loss.detach()), "facts": out, "gradient": student.grad}
    # the released program weighs both parts freely; ours mixes them, so ask for each alone
    parts = [loss(student, teacher, batch, ce_weight=w, **options) for w in (1.0, 0.0)]
    weights = config["ce_loss_scale"], config["kl_loss_weight"]
    total = sum(w * part.loss for w, part in zip(weights, parts))
    total.backward()
    return {"total": float(total.detach()), "facts": parts[1], "gradient": student.grad}


def _batch(given: dict[str, Any], config: dict[str, Any]) -> AlignedBatch:
    """Labels have the token and sample masks, chunks the sample mask alone."""
    ids, mask = torch.tensor(given["student_ids"]), torch.tensor(given["token_mask"])
    kept = torch.tensor(given["sample_mask"])[:, None] != 0
    labels = torch.where((mask != 0) & kept, ids, IGNORE)
    width = len(given["teacher_chunk_of_token"][0])
    teacher = torch.zeros(len(ids), width, dtype=torch.int64)
    groups = []
    for b, used in enumerate(given["sample_mask"]):
        mine, other = given["student_chunk_of_token"][b], given["teacher_chunk_of_token"][b]
        for chunk in sorted({*mine, *other} - {-1}) if used else ():
            exact = config["exact_token_match_only"] and not config["gold_loss"]
            if exact and not given["pair_is_correct"][b][chunk]:
                continue
            s, t = ([i for i, c in enumerate(side) if c == chunk] for side in (mine, other))
            if s and t:
                groups.append([b, s[0], s[-1] + 1, t[0], t[-1] + 1])
    ones = torch.ones_like(teacher)
    table = torch.tensor(groups, dtype=torch.int64).reshape(-1, 5)
    return AlignedBatch(ids, teacher, labels, teacher, torch.ones_like(ids), ones, table)


def _matrix(given: dict[str, Any], width: int) -> scipy.sparse.csr_matrix:
    indices, weights = np.array(given["w_indices"]), np.array(given["w_weights"], dtype=np.float64)
    row, slot = np.nonzero(indices >= 0)
    return scipy.sparse.csr_matrix((weights[row, slot], (row, indices[row, slot])), shape=(len(indices), width))


def _accuracy(student: torch.Tensor, batch: AlignedBatch) -> float:
    labels = batch.student_labels[:, 1:]
    right = (student[:, :-1].argmax(-1) == labels) & (labels != IGNORE)
    return float(right.sum() / (labels != IGNORE).sum())
