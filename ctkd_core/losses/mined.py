"""MinED: where one token faces one equal token, copy the teacher's distribution through a vocabulary map.

The path is the alignment's (dynamic time warping with edit distances); rows whose tokens face each other one to one
are learnt by KL, with every teacher token sent to a student token; at all other rows the target is the text's own next
token. Source: FuseLLM, Wan et al., ICLR 2024 (arXiv 2401.10491), its released code, and the re-implementations in DSKD
("fast") and tokenkit. Differs: the fallback is the next token at temperature 1, with a weight of its own; a copied row
must stand at the same byte; several teacher tokens on one student token add up. The released forms are in
`released/mined.py`, several teachers in `fusion.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctkd_core.errors import LossInputError, unknown
from ctkd_core.losses.base import (
    LossOutput,
    Rows,
    check_inputs,
    cross_entropy_term,
    finish,
    need_teacher,
    response_rows,
)
from ctkd_core.losses.batch import AlignedBatch
from ctkd_core.losses.engine import units
from ctkd_core.losses.engine.engine import Buffers, Chunk, Term, softmax
from ctkd_core.losses.facts import Count, mean
from ctkd_core.losses.parts.matched import SameObject, without_doubles
from ctkd_core.losses.parts.mined_rows import facing_rows, lowest_of_each

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

MANY_TO_ONE = ("sum", "max", "first")
FACTS = ("matched_mass", "tail_mass", "target_row_sum", "top1_agreement")


def mined_loss(
    student_logits: Tensor,
    teacher_logits: Tensor | None,
    batch: AlignedBatch,
    *,
    ce_weight: float = 0.5,
    temperature: float = 2.0,
    accept: str = "soft",
    byte_exact: bool = True,
    many_to_one: str = "sum",
    top_k: int = 0,
    fallback_weight: float = 1.0,
    max_align_num: int = 0,
    projection: Any = None,
    variant: str = "clean",
    chunk_rows: int | None = None,
) -> LossOutput:
    """ce_weight * CE + (1 - ce_weight) * (sum_usable KL(P || p) + fallback_weight * sum_others CE) / N.

    P is the teacher's softmax(z / temperature) moved through the map, scaled to sum 1; p the student's at the same
    temperature; N = usable rows + fallback_weight * other rows, so that weight 0 leaves a mean over usable rows.

    accept        which pairs count, see `facing_rows`: "soft" (FuseLLM), "hard" (only ids of equal strings are copied
                  then), "map" (DSKD)
    byte_exact      both tokens of a pair must end at the same byte; the released programs don't ask that
    many_to_one   several teacher ids on one student id: "sum" of their probabilities, "max", or "first" (the lowest id;
                  among `top_k` ids the most probable, which is "max")
    top_k         only the teacher's largest k logits (FuseLLM: 10); 0: all
    projection    a Projection or scipy matrix [Vs, Vt]: each teacher id goes to the heaviest student id of its column
                  (the lowest of equal ones); default: the `nearest` map of the batch's tokenizers, each teacher token
                  to its nearest student token, with accept "hard" the `exact` map
    variant       "released": FuseLLM's rows ("soft", "hard") or DSKD's ("map"), see `released/mined.py`; these know
                  neither `byte_exact`, `many_to_one` nor `fallback_weight`
    max_align_num  the teacher ids of one student id that count, from the lowest; 0: all. Default: 0, released 1 (DSKD's
                  form, which copies the largest logit of them; FuseLLM's knows no other number)
    student_logits [B, Ts, Vs], teacher_logits [B, Tt, Vt]; alignment: `batch.pairs`. Raises LossInputError.
    """
    teacher = need_teacher("mined", teacher_logits)
    check_inputs(student_logits, teacher, batch)
    widths = (student_logits.shape[-1], teacher.shape[-1])
    ids = student_ids_of_teacher(projection, batch, widths, accept, student_logits.device)
    if variant == "released":
        from ctkd_core.losses.released.mined import released_loss

        return released_loss(student_logits, teacher, batch, ids, accept, ce_weight, temperature, top_k, max_align_num)
    rows = response_rows(batch.student_labels)
    facing = facing_rows(rows, batch, accept, byte_exact, ids)
    if max_align_num:
        ids = lowest_of_each(ids, max_align_num)
    sources = [Source(teacher, facing, torch.ones(len(rows), device=facing.device), ids)]
    options = TargetRule(temperature, many_to_one, top_k)
    return mined_objective(student_logits, batch, rows, sources, options, ce_weight, fallback_weight, chunk_rows)


@dataclass(frozen=True)
class Source:
    """One teacher: logits [..., Vt], facing int64 [R] flat rows (-1: none), share float [R], ids int64 [Vt]."""

    teacher: Tensor
    facing: Tensor
    share: Tensor
    ids: Tensor


@dataclass(frozen=True)
class TargetRule:
    """How a teacher row becomes a target: temperature, rule for several ids on one, largest k logits (0: all)."""

    temperature: float
    many_to_one: str
    top_k: int


def mined_objective(
    student_logits: Tensor, batch: AlignedBatch, rows: Rows, sources: Sequence[Source], target: TargetRule,
    ce_weight: float, fallback_weight: float, chunk_rows: int | None = None,
) -> LossOutput:  # fmt: skip
    """`mined_loss` for any number of teachers, whose shares of a row add up to 1.

    A row's target is the mean of its usable teachers' targets; the share of the others goes to the text's next token.
    """
    if target.many_to_one not in MANY_TO_ONE:
        raise unknown("value of 'many_to_one'", target.many_to_one, MANY_TO_ONE, LossInputError)
    usable = torch.zeros(len(rows), dtype=torch.float64, device=rows.flat.device)
    for source in sources:
        usable += torch.where(source.facing >= 0, source.share.double(), 0.0)
    total = units.whole("compared rows", (usable + fallback_weight * (1.0 - usable)).sum())
    scale = 1.0 / total if total > 0 else total
    kernel = _Kernel(tuple(sources), target, usable)
    share = 1.0 - ce_weight
    ce = cross_entropy_term(rows, ce_weight)
    fallback = replace(ce, names=("fallback",), coefficients=(share * fallback_weight,), norm=(1.0 - usable) * scale)
    terms = [ce, Term(("mined",), (share,), usable * scale, kernel), fallback]
    out = finish(student_logits, rows, terms, batch, teacher_logits=sources[0].teacher, chunk_rows=chunk_rows)
    facts = {"rows": Count(len(rows)), "usable_rows": Count((usable > 0).sum()), "usable_share": mean(usable)}
    return replace(out, diagnostics=facts | {name: mean(torch.cat(v)) for name, v in kernel.facts.items() if v})


@dataclass(frozen=True)
class _Kernel:
    """KL of the moved teacher rows from the student's; gradient (p - P) / temperature."""

    sources: tuple[Source, ...]
    target: TargetRule
    usable: Tensor
    facts: dict[str, list[Tensor]] = field(default_factory=lambda: {k: [] for k in FACTS})

    def __call__(self, chunk: Chunk, weight: Tensor) -> Tensor:
        usable = self.usable[chunk.rows]
        if not bool((usable > 0).any()):
            return torch.zeros_like(weight)
        p, normaliser = chunk.softmax(self.target.temperature)
        moved = chunk.buffers.take("moved", *p.shape).zero_()
        for source in self.sources:
            self._add(moved, source, chunk, usable)
        total = moved.sum(dim=1)  # 1, or 0 where the map leaves nothing of the row
        value = self._log_ratio(moved, chunk) + total * normaliser
        used = usable > 0
        self.facts["target_row_sum"].append(total[used])
        best = moved.argmax(dim=1, keepdim=True)
        self.facts["top1_agreement"].append((p.gather(1, best)[:, 0] >= p.amax(dim=1))[used].to(p.dtype))
        if chunk.gradient is not None:
            factor = weight / self.target.temperature
            chunk.gradient.addcmul_(p, factor * total[:, None]).addcmul_(moved, -factor)
        return value[:, None]

    def _log_ratio(self, moved: Tensor, chunk: Chunk) -> Tensor:
        """[c]: sum of P (log P - z / temperature)."""
        out = chunk.buffers.take("log ratio", *moved.shape)
        scale = 1.0 / self.target.temperature
        torch.clamp(moved, min=torch.finfo(moved.dtype).tiny, out=out).log_().sub_(chunk.logits, alpha=scale)
        value = out.mul_(moved).sum(dim=1)
        if bool(torch.isfinite(value).all()):
            return value
        # The student gives some token no probability at all: a fault only where the target asks for it.
        z = torch.where(moved > 0, chunk.logits, 0.0)
        return (torch.special.xlogy(moved, moved) - scale * z * moved).sum(dim=1)

    def _add(self, moved: Tensor, source: Source, chunk: Chunk, usable: Tensor) -> None:
        """Add the source's targets, weighted by their share among the usable ones, to `moved` [c, Vs]."""
        facing, share = source.facing[chunk.rows], source.share[chunk.rows]
        local = ((facing >= 0) & (share > 0)).nonzero().squeeze(1)
        if not len(local):
            return
        z = chunk.buffers.read("teacher", source.teacher, facing[local])
        share = (share[local] / usable[local]).to(moved.dtype)
        mass, tail = add_moved_rows(z, source.ids, self.target, chunk.buffers, moved, local, share)
        self.facts["matched_mass"].append(mass)
        if tail is not None:
            self.facts["tail_mass"].append(tail)


def add_moved_rows(
    z: Tensor, ids: Tensor, target: TargetRule, buffers: Buffers, out: Tensor, rows: Tensor, share: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Add teacher rows z [n, Vt] in the student's vocabulary, each scaled to sum `share` [n], to out[rows] [c, Vs].

    ids int64 [Vt]: student id of each teacher id, -1 for none. Returns the teacher's probability that has a place [n]
    (nothing is added where there is none) and, with top_k, the probability outside the k largest [n].
    """
    tiny = torch.finfo(z.dtype).tiny
    if 0 < target.top_k < z.shape[1]:
        everything = z.div(target.temperature).logsumexp(dim=1)
        largest, where = z.topk(target.top_k, dim=1)
        largest = largest.div_(target.temperature)
        place = ids[where]
        q = torch.where(place >= 0, largest.softmax(dim=1), 0.0)
        if target.many_to_one != "sum":
            q = _largest_of_each(q, place)
        mass = q.sum(dim=1)
        q.mul_((share / mass.clamp(min=tiny))[:, None])
        out.index_put_((rows[:, None], place.clamp(min=0)), q, accumulate=True)
        return mass, 1.0 - (largest.logsumexp(dim=1) - everything).exp()
    q, _ = softmax(z, target.temperature, buffers, "teacher softmax")
    entries = (ids >= 0).nonzero().squeeze(1)
    if target.many_to_one == "first":
        entries = _first_of_each(ids, entries, out.shape[1])
    only_largest = target.many_to_one == "max"
    if q.device.type == "cpu":
        from ctkd_core.losses.kernels import columns as kernels

        arrays = (x.numpy() for x in (q, entries, ids[entries], rows, share, out))
        return torch.from_numpy((kernels.add_largest if only_largest else kernels.add_moved)(*arrays)), None
    place = ids[entries].expand(len(q), -1)
    moved = q.new_zeros(len(q), out.shape[1])
    moved.scatter_reduce_(1, place, q.index_select(1, entries), "amax" if only_largest else "sum")
    mass = moved.sum(dim=1)
    out.index_add_(0, rows, moved.mul_((share / mass.clamp(min=tiny))[:, None]))
    return mass, None


def _largest_of_each(q: Tensor, place: Tensor) -> Tensor:
    """q [n, k], best first, with 0 wherever an earlier entry of the row has the same place (or the place is -1)."""
    order = place.sort(dim=1, stable=True)
    again = torch.zeros_like(place, dtype=torch.bool)
    again[:, 1:] = order.values[:, 1:] == order.values[:, :-1]
    repeated = torch.zeros_like(again).scatter_(1, order.indices, again)
    return torch.where(repeated, 0.0, q)


def _first_of_each(ids: Tensor, entries: Tensor, width: int) -> Tensor:
    """The lowest teacher id of every student id."""
    lowest = torch.full((width,), len(ids), dtype=torch.int64, device=ids.device)
    lowest.scatter_reduce_(0, ids[entries], entries, "amin")
    return lowest[lowest < len(ids)]


def student_ids_of_teacher(
    projection: Any, batch: AlignedBatch, widths: tuple[int, int], accept: str, device: Any
) -> Tensor:
    """int64 [Vt]: the student id that each teacher id goes to, -1 for none, for logits of these widths.

    See `mined_loss` for `projection`; ids beyond the widths go nowhere. Raises LossInputError without tokenizers.
    """
    if projection is not None:
        found = _given(SameObject(projection))
    elif batch.student is None or batch.teacher is None:
        raise LossInputError(
            "loss 'mined' moves tokens through a vocabulary map: pass both tokenizers to collate(samples, student, "
            "teacher), or give a projection."
        )
    else:
        found = default_ids(batch.student, batch.teacher, accept == "hard")
    out = np.full(widths[1], -1, dtype=np.int64)
    n = min(len(found), widths[1])
    out[:n] = np.where(found[:n] < widths[0], found[:n], -1)
    return torch.from_numpy(out).to(device)


@lru_cache(maxsize=8)
def default_ids(student: Tokenizer, teacher: Tokenizer, exact: bool) -> NDArray[np.int64]:
    """int64 [teacher ids]: FuseLLM's map (nearest student token, ties by id), or equal tokens only."""
    from ctkd_core.vocabulary.store import cached_project

    if exact:
        return heaviest_rows(cached_project(student, teacher, method="exact"))
    return heaviest_rows(cached_project(student, teacher, method="nearest", direction="teacher", ties="first"))


@lru_cache(maxsize=8)
def _given(projection: SameObject) -> NDArray[np.int64]:
    return heaviest_rows(projection.value)


def heaviest_rows(projection: Any) -> NDArray[np.int64]:
    """int64 [Vt]: the row of the heaviest entry in each column, the lowest of equal ones.

    projection  a Projection, without the student ids that only double another one's bytes, or a scipy matrix [Vs, Vt].
    """
    matrix = without_doubles(projection, teacher=False)
    coo = matrix.tocoo()
    kept = coo.data > 0
    row, column, data = coo.row[kept], coo.col[kept], coo.data[kept]
    order = np.lexsort((row, -data, column))
    out = np.full(matrix.shape[1], -1, dtype=np.int64)
    filled, first = np.unique(column[order], return_index=True)
    out[filled] = row[order[first]]
    return out
