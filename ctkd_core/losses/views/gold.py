"""GOLD: one merged row a group; equal tokens by identity, the rest by rank."""

from __future__ import annotations

import torch
from torch import Tensor

from ctkd_core.losses.gold import usable_groups
from ctkd_core.losses.parts.matched import matched_ids
from ctkd_core.losses.parts.merged import MergedSide, log_factors, merged_side, token_log_probs
from ctkd_core.losses.views.case import TOP, Case, Targets, by_identity, by_size, lost_parts
from ctkd_core.losses.views.target import OTHERS, UNMATCHED, WHICH


def merged_rows(case: Case) -> Targets:
    """GOLD: one merged row a group; matched tokens by identity, the rest sorted."""
    o, batch = case.options, case.batch
    numbers = usable_groups(batch, o["merge"], o["with_eos"], case.variant == "clean")
    sample, s0, s1, t0, t1 = batch.groups[numbers].T
    p = _merged(case.student, merged_side(sample, s0, s1, batch.student_ids, o["merge"]), o["temperature"])
    q = _merged(case.teacher, merged_side(sample, t0, t1, batch.teacher_ids, o["merge"]), case.temperature("teacher"))
    ids = matched_ids(None, batch, case.widths, raw=case.variant == "released") if o["hybrid"] else None
    found: Targets = []
    for g, k in enumerate(case.own(numbers)):
        if k < 0:
            found.append(None)
            continue
        others = (OTHERS, 1 - q[k].sum())
        if ids is None:
            found.append(by_size(g, q[k], p[k], TOP, lost_parts((WHICH, q[k].sum()), others)))
            continue
        lost = lost_parts((UNMATCHED, q[k][ids.teacher_rest].sum()), others)
        found.append(by_identity(g, q[k][ids.teacher], p[k][ids.student], ids.student, lost, position=int(t1[k]) - 1))
    return found


def _merged(logits: Tensor, side: MergedSide, tau: float) -> Tensor:
    """[G, V]: factor * softmax, as `_merged` defines it."""
    flat = logits.reshape(-1, logits.shape[-1])
    log_p = token_log_probs(logits, side.factor_row, side.factor_token, tau, torch.float32)
    return (flat[side.row].float() / tau).softmax(-1) * log_factors(side, log_p).exp()[:, None]
