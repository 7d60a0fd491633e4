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
    options.fixed(no_tau_squared_factor=True, label_ignore=-100)
    if "kd_temperature" not in options:
        temperature = options["temperature"]
        rows = int(kept.sum())
        # TRL's "mean" is over all entries of the rows that count
        sizes = {"batchmean over unmasked tokens": max(1, rows), "mean": rows * s.shape[-1], "sum": 1}
        size = options.choice("reduction", sizes)
        betas = [k / 100 for k in range(101)]
        sums = {beta: divergence("jsd", s[kept], t[kept], temperature=temperature, beta=beta).sum() for beta in betas}
        return {f"beta={beta:g}": float(value) / size for beta, value in sums.items()}
    temperature = options["kd_temperature"]
    # The reference divides the teacher's logits by both temperatures.
    own = options["teacher_temperature"]
    teacher = temperature * (own if options["use_tea_temp"] else 1.0)
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
