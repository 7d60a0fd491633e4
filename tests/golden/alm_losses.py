"""Replay of the losses of tests/golden/alm.json: chunk log-probabilities, joined chunks, the public code's mean."""

from __future__ import annotations

from typing import Any

import torch

from ctkd_core.losses.alm import ChunkRule, alm_objective
from ctkd_core.losses.batch import IGNORE, AlignedBatch
from ctkd_core.losses.parts.binarised import compare
from ctkd_core.losses.parts.boundary import read_rows
from ctkd_core.losses.parts.chunks import Chunks, blocks_of, chunks_of, join, last_of, range_sums

KINDS = {
    "abs": "tvd_limit",
    "abs_exp": "tvd",
    "binary_ce": "binary_ce",
    "binary_kl_temp_limit": "kl_limit",
    "joschu_k2": "k2",
    "joschu_k3": "k3",
    "renyi": "renyi",
    "reverse_binary_kl": "reverse_kl",
}
# What the words of alm_mode add up to; "eos_as_space" changes the mask alone.
MODES = {
    frozenset(): "none",
    frozenset({"append_space"}): "append",
    frozenset({"merge_by_space_prob"}): "merge_only",
    frozenset({"merge_by_space_prob", "append_space"}): "merge",
}
SIDES = ("student", "teacher")


def replay(case: dict[str, Any], groups: Any) -> dict[str, Any]:
    """The loss keys of one case; groups int [G, 4] as its alignment has them."""
    given, options = case["inputs"], case["options"]
    logits = {side: torch.tensor([given[f"{side}_logits"]], dtype=torch.float64) for side in SIDES}
    words = set(filter(None, options["alm_mode"].split("+")))
    first = () if "eos_as_space" in words else ("Ġ",)
    masks = tuple(
        torch.tensor([float(t.startswith(first) or t == "<eos>") for t in given[f"{side}_vocab"]], dtype=torch.float64)
        for side in SIDES
    )
    batch = _batch(given, groups)
    rule = ChunkRule(
        options.choice("alm_diff_fn", KINDS), options["binarization_temp"], MODES[frozenset(words - {"eos_as_space"})],
        options["tokenizer_pair_bias_threshold"], True, options.get("renyi_alpha", 0.5),
        (options["numerator"], options["denominator"]), _sizes(options.get("distill_chunk_sizes", [1])),
    )  # fmt: skip
    chunks = chunks_of(batch, released=True)
    with torch.no_grad():
        out = alm_objective(logits["student"], logits["teacher"], batch, chunks, rule, masks, 0.0)
    size = min(len(given["teacher_ids"]), len(given["student_ids"]))
    numbers = {side: _numbers(logits[side], batch, chunks, side, mask) for side, mask in zip(SIDES, masks)}
    facts: dict[str, Any] = {"loss": float(out.loss)}
    for side in SIDES:
        padded = torch.zeros(size, dtype=torch.float64)
        padded[: len(chunks)] = numbers[side][0]
        facts[f"naive_{side}_chunk_logp"] = padded.tolist()
    if not bool(chunks.real.any()):  # the public code divides 0 by 0
        facts |= {"loss": float("nan"), "loss_plain_mean_over_chunks": float("nan")}
        return facts | ({"elementwise_loss_per_merged_chunk": []} if rule.joins else {})
    units = join(numbers["teacher"][1], chunks, rule.gamma if rule.joins else 0.0)
    values = _elements(numbers, units, chunks, rule)
    facts["loss_plain_mean_over_chunks"] = float(values.mean())
    if rule.joins:
        facts["elementwise_loss_per_merged_chunk"] = values.tolist()
        facts["reference_denominator_chunks"] = round(float(values.sum() / out.loss) / len(rule.sizes))
    return facts


def _sizes(sizes: Any) -> tuple[int, ...]:
    if not isinstance(sizes, list) or not sizes or not all(type(size) is int and size >= 1 for size in sizes):
        raise ValueError(f"distill_chunk_sizes are whole numbers from 1 on; the case asks for {sizes!r}.")
    return tuple(sizes)


def _batch(given: dict[str, Any], groups: Any) -> AlignedBatch:
    ids = {side: torch.tensor([given[f"{side}_ids"]]) for side in SIDES}
    labels = {side: torch.where(torch.tensor([given[f"{side}_loss_mask"]]) != 0, ids[side], IGNORE) for side in SIDES}
    attention = {side: torch.tensor([given[f"{side}_attention_mask"]]) for side in SIDES}
    table = torch.tensor([[0, *group] for group in groups.tolist()], dtype=torch.int64).reshape(-1, 5)
    return AlignedBatch(*(x[side] for x in (ids, labels, attention) for side in SIDES), table)


def _numbers(logits: torch.Tensor, batch: AlignedBatch, chunks: Chunks, side: str, mask: torch.Tensor) -> Any:
    """Log-probability of each chunk's learnt tokens, and of a new word behind it."""
    ids, labels = (getattr(batch, f"{side}_{what}")[0] for what in ("ids", "labels"))
    rows = torch.arange(len(ids) - 1)
    token, _ = read_rows(logits, rows, ids[1:], None, torch.float64, None)
    table = torch.zeros(1, len(ids), dtype=torch.float64)
    table[0, 1:] = torch.where(labels[1:] != IGNORE, token, 0.0)
    after = getattr(chunks, f"{side}_after")
    boundary = read_rows(logits, after, torch.zeros_like(after), mask, torch.float64, None)[1]
    return range_sums(table, chunks.sample, getattr(chunks, side)), boundary


def _elements(numbers: Any, units: torch.Tensor, chunks: Chunks, rule: ChunkRule) -> torch.Tensor:
    """The values of all blocks of units that count, by size."""
    n, real = int(units[-1]) + 1, chunks.real
    tokens = torch.zeros(n, dtype=torch.int64).index_add_(0, units, chunks.tokens)
    found = []
    for size in rule.sizes:
        block, end = blocks_of(units, chunks, tokens > 0, size)
        sums = {}
        for side in SIDES:
            total = torch.zeros(n, dtype=torch.float64).index_add_(0, units, numbers[side][0] * real)
            sums[side] = torch.zeros(len(end), dtype=torch.float64).index_add_(0, block, total)
            if rule.appends:
                sums[side] = sums[side] + numbers[side][1][last_of(units, real)[end]]
        values = compare(rule.divergence, sums["teacher"], sums["student"], rule.temperature, rule.renyi_alpha)
        found.append(values[torch.zeros_like(end).index_add_(0, block, tokens) > 0])
    return torch.cat(found)
