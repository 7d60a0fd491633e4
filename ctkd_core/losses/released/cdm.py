"""CDM's distillation term as released, in plain torch on whole tensors, for comparison and short runs.

Its slips: the two passes share one soft-max with the models' roles swapped in the second half, only the student side
is tempered, and tau squared multiplies the logarithm instead of the loss, so that it is a divergence at tau = 1 only.
The string of a token goes with the prediction made after it, over all tokens of the answer: the prediction of its first
token has no part, the one after its end has. Groups are the lists of `alignment/released/cdm.py` and may overlap; the
map is completed per sequence (`vocabulary/released_contextual.py`), and id 0 can't be mapped. Source: released code of
arXiv 2502.11104 ("dual"), and a port of it that takes the mean over positions.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctkd_core.alignment.released.cdm import alignment_lists, merge_groups
from ctkd_core.errors import LossInputError
from ctkd_core.losses.base import LossOutput
from ctkd_core.losses.batch import IGNORE, AlignedBatch
from ctkd_core.losses.engine import units
from ctkd_core.losses.facts import Count, portion
from ctkd_core.losses.parts.settings import CdmSettings
from ctkd_core.vocabulary.released import contextual

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

# Logit of a slot without a partner, on both sides.
NOTHING = -10000.0
# The map from student to teacher ids has this many places more than the student's vocabulary without added tokens. How
# long a map is counts: ids of the other side that are unmapped by number are banned, larger ones aren't.
ROOM = 256


def slots(logits: Tensor, ids: Tensor, mapped: Tensor) -> Tensor:
    """Logits [G, K] at ids int64 [G, K] of rows [G, V]; -10000 where `mapped` bool [G, K] is False."""
    return torch.where(mapped, logits.gather(1, ids), NOTHING)


def slot_terms(target: Tensor, student: Tensor, tau: float) -> Tensor:
    """p (tau^2 log p - log q) per slot [G, 2K], p = softmax(target), q = softmax(student / tau); a KL if tau = 1."""
    log_p, log_q = target.log_softmax(dim=-1), (student / tau).log_softmax(dim=-1)
    return log_p.exp() * (tau**2 * log_p - log_q)


def kl(target: Tensor, student: Tensor) -> Tensor:
    """KL(softmax(target) || softmax(student)) in nats per row [G]."""
    log_p, log_q = target.log_softmax(dim=-1), student.log_softmax(dim=-1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)


def merge_matrices(pairs: NDArray[np.int32], n: int, m: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Factors [G, n] and [G, m] that make a group's mean logits out of the rows of each side.

    The teacher's rows are averaged per student token first, then over the group's student tokens.
    """
    of_student, of_teacher = alignment_lists(pairs, n, m)
    groups = merge_groups(of_teacher)
    student, per_student = np.zeros((len(groups), n)), np.zeros((n, m))
    for row, group in zip(student, groups):
        row[group] = 1.0 / len(group)
    for row, teachers in zip(per_student, of_student):
        row[teachers] = 1.0 / len(teachers)
    return student, student @ per_student


def both_passes(
    student: Tensor, teacher: Tensor, static: tuple[NDArray[np.int64], NDArray[np.int64]],
    names: tuple[list[str], list[str]], top_k: int, threshold: float,
) -> tuple[Tensor, Tensor, float]:  # fmt: skip
    """Target and compared logits [G, 2K] of merged rows [G, Vs], [G, Vt], and the share of slots that are mapped.

    static: int64 student id of each teacher id, 0 for none, and its `contextual.inverse_map`; names: strings of the
    student's and teacher's ids.
    """
    top_s, top_t = (contextual.top_ids(z.detach().double().cpu().numpy(), top_k) for z in (student, teacher))
    forward, backward = static
    one = contextual.complete_rows(top_t, top_s, forward, names[1], names[0], threshold)
    two = contextual.complete_rows(top_s, one.source, backward, names[0], names[1], threshold)

    def at(z: Tensor, ids: NDArray[np.int64], target: NDArray[np.int64]) -> Tensor:
        return slots(z, torch.from_numpy(ids).to(z.device), torch.from_numpy(target != 0).to(z.device))

    first = at(teacher, one.source, one.target), at(student, one.target, one.target)
    second = at(student, two.source, two.target), at(teacher, two.target, two.target)
    share = 1.0 - (one.unmapped_share + two.unmapped_share) / 2
    return torch.cat([first[0], second[0]], dim=1), torch.cat([first[1], second[1]], dim=1), share


def released_loss(
    student_logits: Tensor, teacher: Tensor, batch: AlignedBatch, projection: Any, settings: CdmSettings,
    value_groups: Tensor,
) -> LossOutput:  # fmt: skip
    """ce_weight * CE + (1 - ce_weight) * the released term; normaliser "slots": mean over slots, "groups": over rows.

    Values per group (of value_groups int64 [G, 5]) hold the cross-entropy's only: the released groups are others.
    Raises LossInputError without tokenizers.
    """
    from ctkd_core.losses.sft import sft_loss

    if batch.student is None or batch.teacher is None:
        raise LossInputError("the released CDM compares token strings: pass both tokenizers to collate.")
    ce = sft_loss(student_logits, None, replace(batch, groups=value_groups))
    dtype = torch.float64 if student_logits.dtype == torch.float64 else torch.float32
    widths = student_logits.shape[-1], teacher.shape[-1]
    static = _static(projection, batch.student, batch.teacher, widths)
    names = _names(batch.student, widths[0]), _names(batch.teacher, widths[1])
    k = min(settings.top_k, *widths)
    terms, shares = [], []
    for b in range(len(batch)):
        pairs, (s_at, t_at) = _answer_pairs(batch, b)
        if not len(pairs):
            continue
        merge_s, merge_t = (
            torch.from_numpy(x).to(teacher.device, dtype) for x in merge_matrices(pairs, len(s_at), len(t_at))
        )
        z_s, z_t = merge_s @ student_logits[b, s_at].to(dtype), merge_t @ teacher[b, t_at].to(dtype)
        target, compared, mapped = both_passes(z_s, z_t, static, names, k, settings.threshold)
        terms.append(slot_terms(target, compared, settings.temperature))
        shares.append(mapped)
    if terms:
        everything = torch.cat(terms)
        count = units.divisor("groups", len(everything))
        value = everything.sum() / (count * everything.shape[1] if settings.normaliser == "slots" else count)
    else:
        value = student_logits.reshape(-1)[:0].sum().to(dtype)
    share = settings.ce_weight
    loss = share * ce.loss + (1.0 - share) * value
    facts = {"groups": Count(sum(map(len, terms))), "mapped_share": portion(sum(shares), len(shares))}
    return LossOutput(loss, {"ce": ce.terms["ce"], "cdm": value.detach()}, share * ce.per_group, facts)


def _answer_pairs(batch: AlignedBatch, b: int) -> tuple[NDArray[np.int32], tuple[Tensor, Tensor]]:
    """The path of a sample, int32 [P, 2] counted from the answers' first tokens, and the answers' positions.

    Tokens of a cut answer that the path doesn't reach are left out; without pairs, all tokens of a group face all.
    """
    sides = [(labels[b] != IGNORE).nonzero().squeeze(1) for labels in (batch.student_labels, batch.teacher_labels)]
    if batch.pairs is not None:
        path = batch.pairs[batch.pairs[:, 0] == b][:, 1:].cpu().numpy()
    else:
        cells = [
            (i, j)
            for _, s0, s1, t0, t1 in batch.groups[batch.groups[:, 0] == b].tolist()
            for i in range(s0, s1)
            for j in range(t0, t1)
        ]
        path = np.array(cells, dtype=np.int64).reshape(-1, 2)
    learnt = [side.cpu().numpy() for side in sides]
    path = path[np.isin(path[:, 0], learnt[0]) & np.isin(path[:, 1], learnt[1])]
    used = [np.unique(path[:, k]) for k in (0, 1)]
    pairs = np.stack([np.searchsorted(used[k], path[:, k]) for k in (0, 1)], axis=1).astype(np.int32)
    device = batch.student_ids.device
    return pairs, (torch.from_numpy(used[0]).to(device), torch.from_numpy(used[1]).to(device))


def _static(
    projection: Any, student: Tokenizer, teacher: Tokenizer, widths: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The student id of each teacher id, 0 for none, from equal vocabulary strings or a given map, and the inverse.

    int64 [teacher ids], int64 [student ids, or the vocabulary without added tokens and ROOM].
    """
    from ctkd_core.losses.parts.matched import _by_string, one_to_one

    pairs = _by_string(student, teacher) if projection is None else one_to_one(projection)
    pairs = pairs[(pairs[:, 0] < widths[0]) & (pairs[:, 1] < widths[1])]
    pairs = pairs[(pairs[:, 0] < student.n_ids) & (pairs[:, 1] < teacher.n_ids)]
    out = np.full(teacher.n_ids, contextual.UNMAPPED, dtype=np.int64)
    out[pairs[:, 1]] = pairs[:, 0]
    out[0] = contextual.UNMAPPED
    own = student.backend.get_vocab_size(with_added_tokens=False) + ROOM
    return out, contextual.inverse_map(out.tolist(), max(own, student.n_ids))


def _names(tokenizer: Tokenizer, width: int) -> list[str]:
    """Strings of all ids, decoded one by one, empty beyond the tokenizer."""
    names = _decoded(tokenizer)
    return names[:width] + [""] * (width - len(names))


@lru_cache(maxsize=4)
def _decoded(tokenizer: Tokenizer) -> list[str]:
    return [piece.decode("utf-8", "replace") for piece in tokenizer.all_token_bytes()]
