"""CDM: compare the most probable tokens of each aligned group, mapped by spelling within their context.

Groups come from entropy-weighted time warping; the logits of a group are averaged; each side's K best tokens find their
partners by an exact map and, where that has none, by the nearest spelling among the other side's K best. Over the slots
so found, both sides are normalised and compared. Source: Chen et al., Findings of ACL 2025 (arXiv 2502.11104), and the
public code of its loss ("dual"). Differs: two soft-maxes instead of a joint one with the roles swapped in its second
half, both sides tempered, tau squared on the loss, means over groups, groups that don't overlap, a map for each row,
and the row at the last token of the prompt takes part. The released form is in `released/cdm.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ctkd_core.errors import LossInputError, unknown
from ctkd_core.losses.base import (
    LossOutput,
    check_inputs,
    cross_entropy_term,
    finish,
    need_teacher,
    response_rows,
)
from ctkd_core.losses.batch import AlignedBatch
from ctkd_core.losses.engine import units
from ctkd_core.losses.engine.engine import Chunk, Term, compute_dtype
from ctkd_core.losses.facts import Count, mean
from ctkd_core.losses.parts.group_rows import GroupRows
from ctkd_core.losses.parts.settings import CdmSettings
from ctkd_core.losses.parts.slots import Slots, fill_slots, last_rows, map_sides, merged_at, rows_after, top_of_groups

MERGES, NORMALISERS = ("mean", "last"), ("groups", "slots")
OUT = -1e30  # logit of a slot that takes no part


def cdm_loss(
    student_logits: Tensor,
    teacher_logits: Tensor | None,
    batch: AlignedBatch,
    *,
    ce_weight: float = 0.5,
    temperature: float = 0.8,
    top_k: int = 100,
    threshold: float = 0.3,
    merge: str = "mean",
    normaliser: str = "groups",
    realign: bool = False,
    projection: Any = None,
    variant: str = "clean",
    chunk_rows: int | None = None,
) -> LossOutput:
    """ce_weight * CE + (1 - ce_weight) * temperature^2 * (KL over the teacher's slots + KL over the student's) / 2.

    Each KL(teacher || student) runs over the slots of a group, both sides scaled to sum 1 there; its mean over the
    groups that have such a slot.

    threshold   largest distance (not included) of two spellings that may be partners; 0: the static map only
    merge       a group's logits: "mean" of its rows (released) or the "last" row, where both sides have read the same
    normaliser  "groups": means over groups; "slots": divided by the 2 * top_k slots besides, as one released program
    realign     align anew, with weights from the entropies of these logits, instead of using the batch's groups
    projection  the static map: one-to-one entries of weight 1 of a Projection or scipy matrix [Vs, Vt]; default: equal
                bytes of the batch's tokenizers (equal vocabulary strings for the released form)
    variant     "released": joint soft-max with swapped roles, see `released/cdm.py`; always merges by mean
    student_logits [B, Ts, Vs], teacher_logits [B, Tt, Vt]. Raises LossInputError.
    """
    teacher = need_teacher("cdm", teacher_logits)
    check_inputs(student_logits, teacher, batch)
    for name, value, known in (("merge", merge, MERGES), ("normaliser", normaliser, NORMALISERS)):
        if value not in known:
            raise unknown(f"value of {name!r}", value, known, LossInputError)
    settings = CdmSettings(ce_weight, temperature, top_k, threshold, merge, normaliser)
    units.needs_logits()
    given = batch.groups
    if realign:
        from ctkd_core.losses.parts.realign import realigned

        batch = realigned(batch, student_logits.detach(), teacher, chunk_rows)
    if variant == "released":
        from ctkd_core.losses.released.cdm import released_loss

        return released_loss(student_logits, teacher, batch, projection, settings, given)
    return cdm_objective(student_logits, teacher, batch, projection, settings, given, chunk_rows)


def cdm_objective(
    student_logits: Tensor, teacher: Tensor, batch: AlignedBatch, projection: Any, settings: CdmSettings,
    value_groups: Tensor, chunk_rows: int | None = None,
) -> LossOutput:  # fmt: skip
    """`cdm_loss` of the groups of `batch`; value_groups int64 [G, 5]: the groups that `per_group` tells of."""
    dtype, tau = compute_dtype(student_logits, teacher), settings.temperature
    rows = response_rows(batch.student_labels)
    groups = rows_after(rows, batch)
    sides = _sides(groups, rows.flat, settings.merge)
    widths = (student_logits.shape[-1], teacher.shape[-1])
    k = min(settings.top_k, *widths)
    s_top, s_bad = top_of_groups(student_logits.detach(), *sides[0], k, dtype, chunk_rows)
    t_top, t_bad = top_of_groups(teacher, *sides[1], k, dtype, chunk_rows)
    vocabularies = map_sides(projection, batch, widths, settings.threshold)
    slots = fill_slots(s_top, t_top, vocabularies, widths, settings.threshold)
    z_s = merged_at(student_logits, *sides[0], slots.student, dtype, chunk_rows)
    z_t = merged_at(teacher, *sides[1], slots.teacher, dtype, chunk_rows)
    scale = (1.0 - settings.ce_weight) * tau**2 * 0.5 / (2 * k if settings.normaliser == "slots" else 1)
    parts = _compare(z_s, z_t, slots, tau, s_bad | t_bad)
    terms = [cross_entropy_term(rows, settings.ce_weight), *_terms(parts, groups, sides[0], slots, scale, len(rows))]
    told = replace(batch, groups=value_groups)
    out = finish(student_logits, rows, terms, told, teacher_logits=teacher, chunk_rows=chunk_rows)
    return replace(out, diagnostics=_diagnostics(parts, slots, z_s, z_t, tau))


Side = tuple[Tensor, Tensor, Tensor]  # flat rows [n], their group [n], rows of each group [G]


def _sides(groups: GroupRows, flat: Tensor, merge: str) -> tuple[Side, Side]:
    """The rows that make each group's logits, student's and teacher's."""
    student = flat[groups.student_row], groups.student_group, groups.student_count
    teacher = groups.teacher_row, groups.teacher_group, groups.teacher_count
    if merge == "mean":
        return student, teacher
    sides = []
    for rows, group, count in (student, teacher):
        at = last_rows(group, count)
        sides.append((rows[at], torch.arange(len(count), device=rows.device), torch.ones_like(count)))
    return sides[0], sides[1]


@dataclass(frozen=True)
class Compared:
    """Both passes: values [G, 2] (nats), slopes d value / d student logit [G, 2K], used bool [G, 2]."""

    values: Tensor
    slopes: Tensor
    used: Tensor


def _compare(z_s: Tensor, z_t: Tensor, slots: Slots, temperature: float, bad: Tensor) -> Compared:
    """KL(teacher || student) over the slots of each pass, from merged logits [G, 2K]; `bad` groups are NaN."""
    n, width = z_s.shape[0], z_s.shape[1] // 2
    # A slot that a model masks with minus infinity can't be compared.
    kept = (slots.mapped & (z_s != -torch.inf) & (z_t != -torch.inf)).view(n, 2, width)
    log_p, log_q = (torch.where(kept, z.view(n, 2, width) / temperature, OUT).log_softmax(dim=2) for z in (z_s, z_t))
    used = kept.any(dim=2)
    p, q = (torch.where(kept, x.exp(), 0.0) for x in (log_p, log_q))
    values = torch.where(kept, q * (log_q - log_p), 0.0).sum(dim=2)
    values = torch.where(bad[:, None] & used, torch.nan, values)
    return Compared(values, ((p - q) / temperature).view(n, 2 * width), used)


def _terms(
    parts: Compared, groups: GroupRows, side: Side, slots: Slots, scale: float, n_rows: int
) -> tuple[Term, Term]:
    """The two passes as terms; the first carries the gradient of both."""
    flat_rows, group, count = side
    device = flat_rows.device
    counts = [units.divisor(f"{name} slots", n) for name, n in zip(("teacher", "student"), parts.used.sum(dim=0))]
    norm = parts.used.double() / torch.tensor([float(n) for n in counts], dtype=torch.float64, device=device)
    factor = (scale * norm).repeat_interleave(slots.student.shape[1] // 2, dim=1)
    slope = (parts.slopes * factor).to(parts.slopes.dtype) / count[:, None]
    at = groups.student_row if len(flat_rows) == len(groups.student_row) else groups.at
    columns = torch.zeros(n_rows, slots.student.shape[1], dtype=torch.int64, device=device)
    slopes = torch.zeros(n_rows, slots.student.shape[1], dtype=slope.dtype, device=device)
    columns.index_copy_(0, at, slots.student[group])
    slopes.index_copy_(0, at, slope[group])
    norms, values = torch.zeros(n_rows, 2, dtype=torch.float64, device=device), slope.new_zeros(n_rows, 2)
    norms.index_copy_(0, groups.at, norm)
    values.index_copy_(0, groups.at, parts.values)
    return (
        Term(("teacher_slots",), (scale,), norms[:, 0], _Kernel(values[:, :1], columns, slopes)),
        Term(("student_slots",), (scale,), norms[:, 1], _Kernel(values[:, 1:])),
    )


@dataclass(frozen=True)
class _Kernel:
    """Known values [R, 1]; the gradient at a few columns of each row, weighted already, or none."""

    values: Tensor
    columns: Tensor | None = None
    slopes: Tensor | None = None

    def __call__(self, chunk: Chunk, weight: Tensor) -> Tensor:  # noqa: ARG002 - the slopes are weighted already
        if chunk.learns and self.columns is not None and self.slopes is not None:
            chunk.add_at(self.columns[chunk.rows], self.slopes[chunk.rows])
        return self.values[chunk.rows]


def _diagnostics(parts: Compared, slots: Slots, z_s: Tensor, z_t: Tensor, temperature: float) -> dict[str, float]:
    """Shares of the slots (and of the probability within the K best) that have partners, and how often both agree."""
    facts: dict[str, float] = {"groups": Count(len(parts.used)), "compared_groups": Count(parts.used.any(dim=1).sum())}
    facts |= {"mapped_share": mean(slots.mapped.double()), "static_share": mean(slots.static.double())}
    if not slots.mapped.numel():
        return facts
    n, k = len(z_s), z_s.shape[1] // 2
    mapped = slots.mapped.view(n, 2, k)
    for name, z, part in (("teacher", z_t[:, :k], 0), ("student", z_s[:, k:], 1)):
        share = (z / temperature).softmax(dim=1)
        facts[f"{name}_mapped_mass"] = mean(torch.where(mapped[:, part], share, 0.0).sum(dim=1))
    theirs, mine = (torch.where(mapped[:, 0], z[:, :k], OUT).argmax(dim=1) for z in (z_t, z_s))
    facts["top1_agreement"] = mean((theirs == mine)[parts.used[:, 0]].double())
    return facts
