"""Replay of tests/golden/divergences.json: same-vocabulary divergences without temperature squared."""

from __future__ import annotations

from typing import Any

import torch

from ctkd_core.losses.parts.divergences import divergence

_KINDS = {
    "forward_kl": "forward_kl",
    "reverse_kl": "reverse_kl",
    "skewed_forward_kl": "skewed_forward_kl",
    "skewed_reverse_kl": "skewed_reverse_kl",
    "js_divergence": "jsd",
    "adaptive_kl": "adaptive_kl",
}


def replay(case: dict[str, Any]) -> dict[str, Any]:
    """The results of one case, by the keys of the file."""
    options, inputs = case["options"], case["inputs"]
    s = torch.tensor(inputs["student_logits"], dtype=torch.float64)
    t = torch.tensor(inputs["teacher_logits"], dtype=torch.float64)
    kept = torch.tensor(inputs["labels"]) != -100
    if "kd_temperature" not in options:
        temperature = options["temperature"]
        values = {beta: divergence("jsd", s, t, temperature=temperature, beta=beta) for beta in (0, 0.1, 0.5, 0.9, 1)}
        return {f"beta={beta:g}": float(value[kept].mean()) for beta, value in values.items()}
    temperature = options["kd_temperature"]
    # The reference divides the teacher's logits by both temperatures.
    teacher = temperature * (options["teacher_temperature"] if options["use_tea_temp"] else 1.0)
    skew = options["skew_lambda"]
    result: dict[str, Any] = {}
    for name, kind in _KINDS.items():
        value = divergence(
            kind, s, t, temperature=temperature, teacher_temperature=teacher, skew=skew,
            tail_mass=options["adaptive_kl_alpha"],
        )  # fmt: skip
        result[f"{name}_per_token"] = value.tolist()
        result[f"{name}_sum"] = float(value[kept].sum())
    return result
