"""MinED as its public programs compute it: dense targets in plain torch, for comparison and short runs.

FuseLLM ("soft", "hard"): the teacher's largest logits go through the map, the first of several on one id stays, and a
row that is not accepted gets the token AT its position as target although the row predicts the next one; the student
is not tempered. DSKD's re-implementation ("map"): full rows, the largest of the lowest teacher ids (one by default),
the next token as fallback (logits 100 and -100,000), both sides tempered, no factor. Sources: fanqiwan/FuseAI at
7d9a3072, songmzhang/DSKD at 077337ac. Neither asks that both tokens end at the same byte. Not here: FuseLLM's bfloat16
storage.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ctkd_core.errors import LossInputError
from ctkd_core.losses.base import LossOutput, Rows, per_group, response_rows
from ctkd_core.losses.batch import AlignedBatch
from ctkd_core.losses.engine import units
from ctkd_core.losses.facts import Count
from ctkd_core.losses.parts.mined_rows import facing_rows, lowest_of_each

ONE_HOT, NOTHING = 100.0, -100_000.0  # DSKD's logits of the next token and of everything else


def fuse_targets(z: Tensor, ids: Tensor, width: int, top_k: int, temperature: float) -> Tensor:
    """FuseLLM's rows [n, width] from teacher rows [n, Vt] and ids int64 [Vt] (-1: nowhere); NaN where nothing is kept.

    The largest `top_k` (0: all) logits go to their ids, the larger of several stays, then a soft-max over what is kept.
    """
    kept, where = z.topk(min(top_k or z.shape[1], z.shape[1]), dim=1)
    place = ids[where]
    dense = z.new_full((len(z), width + 1), -torch.inf)
    dense.scatter_reduce_(1, torch.where(place >= 0, place, width), kept, "amax")
    return (dense[:, :width] / temperature).softmax(dim=1)


def dskd_logits(z: Tensor, ids: Tensor, width: int, max_align_num: int = 1) -> Tensor:
    """DSKD's rows [n, width]: each student id has the largest logit of the `max_align_num` lowest teacher ids that go
    there, else -100,000."""
    ids = lowest_of_each(ids, max_align_num)
    entries = (ids >= 0).nonzero().squeeze(1)
    columns = ids[entries].expand(len(z), -1)
    dense = z.new_full((len(z), width), -torch.inf).scatter_reduce_(1, columns, z[:, entries], "amax")
    return torch.where(dense == -torch.inf, NOTHING, dense)


def one_hot_logits(tokens: Tensor, width: int, like: Tensor) -> Tensor:
    """DSKD's rows [n, width] for positions without a usable partner."""
    return like.new_full((len(tokens), width), NOTHING).scatter_(1, tokens[:, None], ONE_HOT)


def released_loss(
    student_logits: Tensor, teacher: Tensor, batch: AlignedBatch, ids: Tensor, accept: str, ce_weight: float,
    temperature: float, top_k: int, max_align_num: int = 1,
) -> LossOutput:  # fmt: skip
    """ce_weight * CE + (1 - ce_weight) * mean over response rows of the released term; whole tensors at once.

    Raises LossInputError for an option of the other of the two programs.
    """
    if accept == "map" and top_k:
        raise LossInputError("DSKD's form (accept 'map') compares whole rows; leave out top_k, which is FuseLLM's.")
    if accept != "map" and max_align_num > 1:
        raise LossInputError(f"FuseLLM's form (accept {accept!r}) has no max_align_num, which is DSKD's; leave it out.")
    from ctkd_core.losses.sft import sft_loss

    ce = sft_loss(student_logits, None, batch)
    rows = response_rows(batch.student_labels)
    facing = facing_rows(rows, batch, accept, False, ids, released=True)
    dtype = torch.float64 if student_logits.dtype == torch.float64 else torch.float32
    z = student_logits.flatten(0, 1)[rows.flat].to(dtype)
    used = facing >= 0
    rule = _dskd if accept == "map" else _fuse_llm
    values = rule(
        z,
        teacher.flatten(0, 1)[facing[used]].to(dtype),
        used,
        rows,
        batch,
        ids,
        temperature,
        max_align_num if accept == "map" else top_k,
    )
    value = values.sum() / units.divisor("compared rows", len(values))
    share = 1.0 - ce_weight
    groups = ce_weight * ce.per_group + share * per_group(values.detach().double(), rows, batch.groups).to(dtype)
    facts: dict[str, float] = {"rows": Count(len(rows)), "usable_rows": Count(used.sum())}
    loss = ce_weight * ce.loss + share * value
    return LossOutput(loss, {"ce": ce.terms["ce"], "mined": value.detach()}, groups, facts)


def _fuse_llm(
    z: Tensor, z_t: Tensor, used: Tensor, rows: Rows, batch: AlignedBatch, ids: Tensor, temperature: float, top_k: int
) -> Tensor:
    """[R]: -sum P log p with FuseLLM's targets."""
    log_p = z.log_softmax(dim=1)
    at = batch.student_ids[rows.sample, rows.position - 1]
    target = torch.zeros_like(log_p).scatter_(1, at[:, None], 1.0)
    moved = fuse_targets(z_t, ids, z.shape[1], top_k, temperature)
    nothing_kept = moved.isnan() & z_t.isfinite().all(dim=1, keepdim=True)
    target[used] = torch.where(nothing_kept, log_p.detach()[used].exp(), moved)  # then the student's own
    return -(target * log_p).sum(dim=1)


def _dskd(
    z: Tensor, z_t: Tensor, used: Tensor, rows: Rows, _batch: AlignedBatch, ids: Tensor, temperature: float,
    max_align_num: int,
) -> Tensor:  # fmt: skip
    """[R]: KL(target || student) at the temperature with DSKD's targets."""
    target = one_hot_logits(rows.target, z.shape[1], z.detach())
    target[used] = dskd_logits(z_t, ids, z.shape[1], max_align_num or z_t.shape[1])
    log_q = (target / temperature).log_softmax(dim=1)
    return (log_q.exp() * (log_q - (z / temperature).log_softmax(dim=1))).sum(dim=1)
