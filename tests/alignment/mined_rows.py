"""What released MinED programs make of a path: one teacher row per student position.

FuseLLM keeps the top-K ids that the vocabulary map reaches, DSKD's re-implementation gathers full rows. Slips that the
clean method leaves out: FuseLLM's fallback is the token at the position although its row predicts the next one.
Source: fanqiwan/FuseAI at 7d9a3072 and songmzhang/DSKD at 077337ac, as described in their notes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

# DSKD's logits of the ground truth and of everything else, before the temperature.
ONE_HOT, NOTHING = 100.0, -100_000.0


def fuse_rows(
    base_tokens: Sequence[str],
    blend_tokens: Sequence[str],
    of_base: Sequence[Sequence[int]],
    top_ids: Sequence[Sequence[int]],
    top_logits: Sequence[Sequence[float]],
    base_ids: Mapping[str, int],
    blend_vocabulary: Sequence[str],
    mapping: Mapping[str, str] | None = None,
) -> tuple[list[list[int]], list[list[float]]]:
    """Ids and logits of the target at every base (student) position, FuseLLM's rule.

    Blend (teacher) strings carry the base tokenizer's space marker already. `mapping` (blend string -> base string)
    makes the rule "soft": a position counts when the map says its token, and every top-K id goes through the map;
    without it only equal strings count and only they are kept. Of several ids on one base id the first stays.
    """
    ids: list[list[int]] = []
    logits: list[list[float]] = []
    for token, partners in zip(base_tokens, of_base):
        partner = blend_tokens[partners[0]] if len(partners) == 1 else None
        accepted = partner is not None and token in {partner, mapping.get(partner) if mapping else partner}
        kept: dict[int, float] = {}
        if accepted:
            for k, logit in zip(top_ids[partners[0]], top_logits[partners[0]]):
                string = blend_vocabulary[k]
                target = base_ids.get(mapping.get(string, "") if mapping else string)
                if target is not None:
                    kept.setdefault(target, logit)
        else:
            kept[base_ids[token]] = 1.0
        ids.append(list(kept))
        logits.append(list(kept.values()))
    return ids, logits


def scattered(
    ids: Sequence[Sequence[int]], logits: Sequence[Sequence[float]], size: int, temperature: float = 1.0
) -> NDArray[np.float64]:
    """Distributions [n, size]: softmax of each row's logits / temperature, at the row's ids; 0 in a row without ids."""
    out = np.zeros((len(ids), size))
    for row, where, z in zip(out, ids, logits):
        if not z:
            continue
        p = np.exp((np.asarray(z, dtype=np.float64) - max(z)) / temperature)
        row[list(where)] = p / p.sum()
    return out


def dskd_rows(
    teacher_logits: NDArray[np.float64],
    of_base: Sequence[Sequence[int]],
    base_ids: Sequence[int],
    blend_ids: Sequence[int],
    next_ids: Sequence[int],
    teacher_to_student: Sequence[int],
    size: int,
    max_align_num: int = 1,
) -> NDArray[np.float64]:
    """Target logits [n, size] of DSKD's re-implementation.

    A position counts when its one partner's id is mapped to its own id; then each student id has the largest logit of
    the first `max_align_num` teacher ids mapped to it. Elsewhere the next token has 100 and everything else -100,000.
    """
    mapped: dict[int, list[int]] = {}
    for teacher_id, student_id in enumerate(teacher_to_student):
        mapped.setdefault(student_id, []).append(teacher_id)
    out = np.full((len(of_base), size), NOTHING)
    for row, partners, token, following in zip(out, of_base, base_ids, next_ids):
        if len(partners) == 1 and teacher_to_student[blend_ids[partners[0]]] == token:
            logits = teacher_logits[partners[0]]
            row[list(mapped)] = [logits[ids[:max_align_num]].max() for ids in mapped.values()]
        else:
            row[following] = ONE_HOT
    return out
