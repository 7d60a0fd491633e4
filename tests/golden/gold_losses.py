"""Replay of the loss cases of tests/golden/gold_uld.json: the released trainer's groups and its loss on them."""

from __future__ import annotations

from typing import Any

import torch

from ctkd_core.losses.batch import IGNORE, AlignedBatch
from ctkd_core.losses.engine.engine import Buffers
from ctkd_core.losses.gold import Weights, gold_objective
from ctkd_core.losses.parts.divergences import divergence
from ctkd_core.losses.parts.matched import matched_from_pairs
from ctkd_core.losses.parts.merged import MergedSide, log_factors, merged_side
from ctkd_core.losses.parts.unnormalised import raw_jsd
from ctkd_core.losses.released.gold import answer_span, released_groups


def replay(case: dict[str, Any]) -> dict[str, Any]:
    """The results of one case, by the keys of the file."""
    kinds = {"uld_loss": _loss, "generalized_jsd": _jsd, "merge": _merge}
    return kinds[case["kind"]](case["inputs"], case.get("config"))


def _loss(given: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    tensors = {side: torch.tensor(given[f"{side}_logits"], dtype=torch.float64) for side in ("student", "teacher")}
    batch = _batch(given, config)
    matched = None
    share = 1.0
    config.notes("uld_skip_student_eos", "beta")
    if config["uld_use_hybrid_loss"]:
        widths = (tensors["student"].shape[-1], tensors["teacher"].shape[-1])
        matched = matched_from_pairs(given["matched_pairs_student_teacher"], widths)
        share = len(matched.student) / widths[1]
    fixed = config["uld_hybrid_matched_weight"], config["uld_hybrid_unmatched_weight"]
    w_m, w_u = (share, 1.0 - share) if fixed[0] is None else fixed
    weights = Weights(config["uld_crossentropy_weight"], config["uld_distillation_weight"], w_m, w_u)
    temperatures = (config["uld_student_temperature"], config["uld_teacher_temperature"])
    logits = tensors["student"].requires_grad_()

    def run(of: AlignedBatch):
        return gold_objective(
            logits, tensors["teacher"], of, weights, matched,
            merge=config["uld_token_merge_strategy"], temperatures=temperatures, beta=config["beta"],
            with_eos=True, empty_samples="count",
        )  # fmt: skip

    out = run(batch)
    out.loss.backward()
    result = {
        "loss": float(out.loss.detach()),
        "per_sample_before_any_bayesian_drop": [_sample(batch, given, config, b) for b in range(len(batch))],
        "grad_student_logits_abs_sum": float(logits.grad.abs().sum()),
        "grad_student_logits_sample0_pos_norms": logits.grad[0].norm(dim=-1).tolist(),
    }
    scored = batch.groups
    if config["uld_token_merge_strategy"] == "bayesian":  # nothing predicts a token at position 0
        scored = scored[(scored[:, [1, 3]] > 0).all(dim=1)]
    if matched is not None and len(scored):
        # the released program keeps the parts of the last sample that has such groups
        last = int(scored[-1, 0])
        alone = AlignedBatch(**vars(batch) | {"groups": batch.groups[batch.groups[:, 0] == last]})
        with torch.no_grad():
            parts = run(alone).terms
        result["last_sample_matched_term"] = float(parts["matched"]) * len(batch)
        result["last_sample_unmatched_term"] = float(parts["unmatched"]) * len(batch)
    return result


def _batch(given: dict[str, Any], config: dict[str, Any]) -> AlignedBatch:
    ids = {side: torch.tensor(given[f"{side}_input_ids"]) for side in ("student", "teacher")}
    labels = {side: torch.tensor(given[f"{side}_labels"]) for side in ("student", "teacher")}
    offsets = given["student_byte_offsets"], given["teacher_byte_offsets"]
    groups = released_groups(
        labels["student"], labels["teacher"], offsets if config["use_extended_uld"] else None,
        config["uld_skip_student_eos"], config["uld_skip_teacher_eos"],
    )  # fmt: skip
    ones = {side: torch.ones_like(x) for side, x in ids.items()}
    return AlignedBatch(
        ids["student"], ids["teacher"], labels["student"], labels["teacher"], ones["student"], ones["teacher"], groups
    )


def _sample(batch: AlignedBatch, given: dict[str, Any], config: dict[str, Any], b: int) -> dict[str, Any]:
    s0, n = answer_span(batch.student_labels[b], config["uld_skip_student_eos"])
    t0, m = answer_span(batch.teacher_labels[b], config["uld_skip_teacher_eos"])
    facts: dict[str, Any] = {"student_start": s0, "student_size": n, "teacher_start": t0, "teacher_size": m}
    mine = batch.groups[batch.groups[:, 0] == b].tolist()
    if config["use_extended_uld"] and n > 0 and m > 0:
        facts["student_groups"] = [list(range(a - s0, c - s0)) for _, a, c, _, _ in mine]
        facts["teacher_groups"] = [list(range(a - t0, c - t0)) for _, _, _, a, c in mine]
    return facts


def _jsd(given: dict[str, Any], _: Any) -> dict[str, Any]:
    """On logits at a temperature, or on probabilities as they are; rows that count are labelled, or all."""
    student = torch.tensor(given["student"], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor(given["teacher"], dtype=torch.float64)
    labels, beta, temperature = given["labels"], given["beta"], given["temperature"]
    kept = torch.ones(student.shape[:-1], dtype=torch.bool) if labels is None else torch.tensor(labels) != IGNORE
    rows = student[kept], teacher[kept]
    if given["inputs_are_probs"]:  # the temperature has been applied
        values, slope = raw_jsd(*(x.detach().clone() for x in rows), beta, Buffers(student.device, torch.float64))
        p = rows[0].detach()  # below the floor of 1e-8 nothing depends on it
        gradient = torch.where(p > 0, slope / p.clamp(min=1e-300), 0.0)
    else:
        values = divergence("jsd", *rows, temperature=temperature, beta=beta)
        (gradient,) = torch.autograd.grad(values.sum(), student)
    count = _count(given, kept, student.shape)
    return {
        "loss": float(values.detach().sum() / count),
        "grad_student_abs_sum": float(gradient.abs().sum() / count),
    }


def _count(given: dict[str, Any], kept: torch.Tensor, shape: torch.Size) -> float:
    """What the sum over rows and vocabulary is divided by."""
    items = given["num_items"]
    batch = shape[0] if given["labels"] is None else int(kept.sum())
    sizes = {"batchmean": max(1, batch), "sum": 1.0, "mean": int(kept.sum()) * shape[-1]}
    size = given.choice("reduction", sizes)
    return float(size if items is None else items)


def _merge(given: dict[str, Any], _: Any) -> dict[str, Any]:
    probabilities = torch.tensor(given["probs"], dtype=torch.float64)
    groups, ids = given["groups"], torch.tensor([given["token_ids"]])
    start, end = (torch.tensor([g[k] for g in groups]) for k in (0, -1))
    side = merged_side(torch.zeros_like(start), start, end + 1, ids, given["strategy"])
    if given["strategy"] == "bayesian":  # the recorded rows are shifted already: row k predicts token k
        side = MergedSide(side.row + 1, side.factor_row + 1, side.factor_token, side.factor_group)
    factors = log_factors(side, probabilities[side.factor_row, side.factor_token].log()).exp()
    merged = probabilities[side.row] * factors[:, None]
    return {"merged": merged.tolist(), "row_sums": merged.sum(dim=1).tolist()}
