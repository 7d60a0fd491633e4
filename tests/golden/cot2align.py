"""Replay of tests/golden/cot2align.json: transport between hidden states, and the six terms of the public program."""

from __future__ import annotations

from typing import Any

import torch

from ctkd_core.losses.base import States
from ctkd_core.losses.cot2align import (
    COSTS,
    CotProjector,
    TransportRule,
    Version,
    ot_term,
    released_transport,
    sample_cost,
)

# Student version, teacher version of each recorded term.
TERMS = {
    "standard": ("cot", "cot"),
    "crc_like_raw_student_cot_teacher": ("raw", "cot"),
    "cot_student_raw_teacher": ("cot", "raw"),
}


def replay(case: dict[str, Any]) -> dict[str, Any]:
    """The results of one case, by the keys of the file."""
    given, options = case["inputs"], case["options"]
    options.fixed(kernel="exp(-alpha*C)", stopThr=1e-9, epsilon=1e-9, marginals="uniform", per_call_divisor="4*batch")
    options.notes("projection")
    rule = TransportRule(
        options["ot_dist_type"], 1.0 / options["sinkhorn_alpha"], options["OT_max_iter"], released_transport
    )
    if "student_seq" not in given:
        return _six_terms(given, rule)
    x, y = (torch.tensor(given[name], dtype=torch.float64) for name in ("student_seq", "teacher_seq_projected"))
    loss, cost, plan = sample_cost(x, y, rule)
    # the untouched program computes everything in bfloat16
    low = COSTS[rule.cost](x.bfloat16(), y.bfloat16())
    low_plan = released_transport(low, rule.epsilon, rule.iterations)
    return {
        "cost": cost.tolist(),
        "transport": plan.tolist(),
        "loss": float(loss),
        "loss_bf16_untouched": float((low_plan * low).sum()),
    }


def _six_terms(given: dict[str, Any], rule: TransportRule) -> dict[str, Any]:
    tensors = {name: torch.tensor(value, dtype=torch.float64) for name, value in given.items()}
    weight = tensors["ot_weight_out_in"]
    projector = CotProjector(weight.shape[1], weight.shape[0]).double()
    with torch.no_grad():
        projector.project.weight.copy_(weight)
        projector.project.bias.copy_(tensors["ot_bias"])
    versions = {}
    for name in ("cot", "raw"):
        student, teacher = (
            States((tensors[f"{side}_{name}_first"], tensors[f"{side}_{name}_last"]), weight, weight)
            for side in ("student", "teacher")
        )
        masks = (tensors[f"mask_{side}_{name}"].bool() for side in ("student", "teacher"))
        versions[name] = Version(student, teacher, *masks)
    out = {}
    with torch.no_grad():
        for layer, index in (("last", -1), ("first", 0)):
            for name, (mine, other) in TERMS.items():
                out[f"{name}_{layer}"] = float(ot_term(versions[mine], versions[other], index, projector, rule)[0]) / 4
    return out | {"ot_loss_total": sum(out.values())}
