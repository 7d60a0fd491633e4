"""X-Token's P-KL: the student's distribution goes through a vocabulary projection W and is compared in teacher tokens.

No token is set apart as matched or not: W moves the mass of every student token onto teacher tokens that spell it, so
that a token without an exact partner still learns. The hybrid form is in `xtoken_hybrid.py`.
Source: X-Token, arXiv 2605.21699, and its public code (NeMo-RL); the sums below follow the code: the arithmetic mean of
student probabilities and the mean of teacher log-probabilities over a group's rows, on the teacher columns with the
largest logits, times temperature squared.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ctkd_core.errors import LossInputError
from ctkd_core.losses.base import (
    LossOutput,
    Rows,
    StateContext,
    check_inputs,
    cross_entropy_term,
    finish,
    need_teacher,
    response_rows,
)
from ctkd_core.losses.batch import AlignedBatch
from ctkd_core.losses.engine import units
from ctkd_core.losses.engine.deferred import DeferredChunk, RowView, readable
from ctkd_core.losses.engine.engine import Balance, Chunk, Term, compute_dtype
from ctkd_core.losses.facts import Count, mean
from ctkd_core.losses.parts.columns import ColumnEntries, EntryTensors, entries_of
from ctkd_core.losses.parts.divergences import LOWEST
from ctkd_core.losses.parts.group_rows import GroupRows, GroupsInChunk, group_rows, rows_with_groups, segment_mean
from ctkd_core.losses.parts.projected_rows import BothOrders, both_orders, groups_in_place, scratch_bytes

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer
    from ctkd_core.vocabulary.projection import Projection

# Largest scale of the distillation. Where it is nearly as good as the teacher's own, the ratio of both parts grows
# without limit (1,174 in a run) and a step is all distillation.
MAX_SCALE = 10.0
FLOOR = 1e-10  # public code: added before the student's renormalisation and before its logarithm


def make_state(
    student_vocab: int,  # noqa: ARG001
    *,
    learn_projection: bool = False,
    context: StateContext | None = None,
    **_: object,
) -> torch.nn.Module | None:
    """The map as a module that learns, or None unless `learn_projection`. Raises LossInputError without tokenizers."""
    if not learn_projection:
        return None
    if context is None or context.student is None or context.teacher is None:
        raise LossInputError(
            "learn_projection builds the vocabulary map: make_state needs context=StateContext(...) with both "
            "tokenizers."
        )
    from ctkd_core.vocabulary.learnable import LearnableProjection
    from ctkd_core.vocabulary.store import cached_project

    return LearnableProjection(cached_project(context.student, context.teacher, method="pieces"))


def pkl_loss(
    student_logits: Tensor,
    teacher_logits: Tensor | None,
    batch: AlignedBatch,
    *,
    scaling: str = "dynamic",
    ce_weight: float = 0.5,
    temperature: float = 1.0,
    top_k: int = 8192,
    merge: str = "mean",
    reverse: bool = False,
    exact_only: bool = False,
    max_scale: float = MAX_SCALE,
    learn_projection: bool = False,
    projection: Any = None,
    state: torch.nn.Module | None = None,
    variant: str = "clean",
    chunk_rows: int | None = None,
) -> LossOutput:
    """CE + s * P-KL (scaling "dynamic"), or ce_weight * CE + (1 - ce_weight) * P-KL.

    s = |CE| / |P-KL| as a constant, at most `max_scale`, and 1 where P-KL is negative (the mean of log-probabilities is
    no distribution); it is named among the terms, as "kd_scale".

    P-KL: mean over groups of tau^2 KL(v || u), or KL(u || v) with `reverse`, on the `top_k` teacher columns with the
    largest logits in the batch; u = W^T q renormalised, v the teacher's distribution renormalised on these columns.

    merge        "mean": u is made of the mean of the group's probabilities q, log v is the mean of the teacher's
                 log-probabilities (the public code); "chain": the rows that predict each side's last token, each scaled
                 by the probability of the group's earlier tokens (the chain rule of the paper)
    exact_only   only groups whose two sides spell the same bytes
    projection   W, a Projection or scipy matrix [Vs, Vt]; default: X-Token's rules for the batch's tokenizers
    state        a LearnableProjection made by make_state: W learns with the student
    variant      "released": padded positions take part in the choice of columns, groups are compared whatever the
                 labels say, and s has no limit, so that the loss of a negative P-KL is 0
    student_logits [B, Ts, Vs], teacher_logits [B, Tt, Vt]; teacher columns past W are cut off. Raises LossInputError.
    """
    teacher = need_teacher("xtoken-pkl", teacher_logits)
    check_inputs(student_logits, teacher, batch)
    dtype = compute_dtype(student_logits, teacher)
    if learn_projection and state is None:
        raise LossInputError(
            "learn_projection trains the map: pass state=make_state('xtoken-pkl', ..., learn_projection=True)."
        )
    entries, learnt = projected(student_logits, teacher, batch, projection, state if learn_projection else None, dtype)
    teacher = teacher[..., : entries.shape[1]]
    rows, learnt_rows = rows_of(batch, variant)
    groups = compared_groups(rows, batch, variant, exact_only)
    columns = top_columns(teacher, top_k, None if variant == "released" else batch)
    gradient = None if learnt is None else torch.zeros(len(entries.weight), dtype=dtype, device=teacher.device)
    kernel = _Kernel(teacher, groups, entries.columns(columns), columns, temperature, reverse, gradient)
    if dtype == torch.float32 and merge != "chain" and learnt is None and readable(student_logits, teacher):
        kernel = replace(kernel, orders=both_orders(kernel.chosen, student_logits.shape[-1]))
    if merge == "chain":
        target = batch.student_ids[rows.sample, rows.position][groups.student_row]
        kernel = replace(kernel, chain=_chain(groups, batch, teacher, target, temperature, dtype, chunk_rows))
    share = 1.0 if scaling == "dynamic" else 1.0 - ce_weight
    term = Term(
        ("pkl",),
        (share * temperature**2,),
        groups.group_mean(len(rows)),
        kernel,
        () if learnt is None else (learnt,),
        () if gradient is None else (gradient,),
        groups.owners(len(rows)),
        None if kernel.orders is None else scratch_bytes(len(columns)),
    )
    terms = [cross_entropy_term(rows, 1.0 if scaling == "dynamic" else ce_weight, learnt_rows), term]
    out = finish(
        student_logits, rows, terms, batch, teacher_logits=teacher, chunk_rows=chunk_rows,
        cuts=groups.cuts(len(rows)), balance=balance_of(scaling, max_scale, variant),
    )  # fmt: skip
    facts = {name: mean(torch.cat(values)) if values else 0.0 for name, values in kernel.facts.items()}
    facts |= {"groups": Count(len(groups)), "columns": float(len(columns))}
    return replace(out, diagnostics=out.diagnostics | facts)


def rows_of(batch: AlignedBatch, variant: str) -> tuple[Rows, Tensor | None]:
    """Rows that are compared, and which of them cross-entropy learns from (None: all)."""
    return rows_with_groups(batch) if variant == "released" else (response_rows(batch.student_labels), None)


def compared_groups(rows: Rows, batch: AlignedBatch, variant: str, exact_only: bool = False) -> GroupRows:
    """The groups that are compared, numbered as in `batch.groups`; `exact_only`: those that spell the same bytes."""
    learnt_only = variant != "released"
    if not exact_only:
        return group_rows(rows, batch, learnt_only)
    kept = spelled_alike(batch).nonzero().squeeze(1)
    groups = group_rows(rows, replace(batch, groups=batch.groups[kept]), learnt_only)
    return replace(groups, owner=kept[groups.owner])


def balance_of(scaling: str, max_scale: float, variant: str) -> Balance | None:
    """How the distillation is scaled to cross-entropy."""
    if scaling != "dynamic":
        return None
    units.needs_logits()
    return Balance(negative_too=True) if variant == "released" else Balance(max_scale)


def spelled_alike(batch: AlignedBatch) -> Tensor:
    """bool [G]: groups whose tokens spell the same bytes on both sides. Raises LossInputError without tokenizers."""
    if batch.student is None or batch.teacher is None:
        raise LossInputError(
            "exact_only compares what tokens spell: pass both tokenizers to collate(samples, student, teacher), or "
            "leave it off."
        )
    sides = []
    for tokenizer, ids, first in ((batch.student, batch.student_ids, 1), (batch.teacher, batch.teacher_ids, 3)):
        table, rows = tokenizer.all_token_bytes(), ids.tolist()
        sides.append([b"".join([table[i] for i in rows[g[0]][g[first] : g[first + 1]]]) for g in batch.groups.tolist()])
    alike = [own == other for own, other in zip(*sides)]
    return torch.tensor(alike, dtype=torch.bool, device=batch.groups.device)


def projected(
    student_logits: Tensor,
    teacher: Tensor,
    batch: AlignedBatch,
    projection: Any,
    state: torch.nn.Module | None,
    dtype: torch.dtype,
) -> tuple[EntryTensors, Tensor | None]:
    """The map's entries for these logits, and the weights that learn (None for a fixed map)."""
    widths = (student_logits.shape[-1], teacher.shape[-1])
    if state is not None:
        source: Any = state
        weights = source.weights().to(dtype)
        keep = (source.rows < widths[0]) & (source.columns < widths[1])
        shape = min(source.shape[0], widths[0]), min(source.shape[1], widths[1])
        entries = EntryTensors(source.rows[keep], source.columns[keep], weights[keep].detach(), shape)
        return entries, weights[keep]
    if projection is None:
        projection = default_projection(batch)
    rows, columns = getattr(projection, "matrix", projection).shape
    device = student_logits.device
    return entries_of(projection, (min(rows, widths[0]), min(columns, widths[1])), device, dtype), None


def default_projection(batch: AlignedBatch) -> Any:
    """X-Token's map of the batch's tokenizers, from the cache on disk when it is there."""
    if batch.student is None or batch.teacher is None:
        raise LossInputError(
            "this loss moves tokens through a vocabulary map: pass both tokenizers to collate(samples, student, "
            "teacher), or give a projection."
        )
    return _kept_projection(batch.student, batch.teacher)


@lru_cache(maxsize=4)  # reading it from the disk takes longer than a step of the loss on a GPU
def _kept_projection(student: Tokenizer, teacher: Tokenizer) -> Projection:
    from ctkd_core.vocabulary.store import cached_project

    return cached_project(student, teacher, method="pieces")


def top_columns(teacher: Tensor, top_k: int, batch: AlignedBatch | None) -> Tensor:
    """int64 [k] ascending: teacher ids with the largest logit anywhere in teacher [B, Tt, V].

    With `batch` only tokens count, not padding. NaN anywhere in these rows is left for the loss to report.
    """
    if readable(teacher):
        from ctkd_core.losses.kernels.gpu.maxima import column_maxima

        every = torch.ones_like(teacher[..., 0], dtype=torch.bool) if batch is None else batch.teacher_attention != 0
        flat = every.flatten().nonzero().squeeze(1)
        if len(flat):
            view = RowView(teacher)
            most = column_maxima(view.at(flat), view.width)
            return most.topk(min(top_k, len(most))).indices.sort().values
    largest: Tensor | None = None
    for b in range(len(teacher)):
        rows = teacher[b] if batch is None else teacher[b, batch.teacher_attention[b] != 0]
        if len(rows):
            here = rows.amax(dim=0)
            largest = here if largest is None else torch.maximum(largest, here)
    if largest is None:
        return torch.zeros(0, dtype=torch.int64, device=teacher.device)
    return largest.float().topk(min(top_k, len(largest))).indices.sort().values


@dataclass(frozen=True)
class Chain:
    """Chain-rule merging: log factor of each group [G] on the teacher's side, target tokens of the student rows [S]."""

    teacher_log_factor: Tensor
    student_token: Tensor


def _chain(
    groups: GroupRows, batch: AlignedBatch, teacher: Tensor, target: Tensor, tau: float, dtype: torch.dtype,
    chunk_rows: int | None,
) -> Chain:  # fmt: skip
    from ctkd_core.losses.parts.merged import token_log_probs

    last = torch.ones_like(groups.teacher_group, dtype=torch.bool)
    last[:-1] = groups.teacher_group[1:] != groups.teacher_group[:-1]
    width = teacher.shape[1]
    row, group = groups.teacher_row[~last], groups.teacher_group[~last]
    tokens = batch.teacher_ids[row // width, row % width + 1]
    log_p = token_log_probs(teacher, row, tokens, tau, dtype, chunk_rows)
    factor = torch.zeros(len(groups), dtype=dtype, device=teacher.device).index_add_(0, group, log_p)
    return Chain(factor, target)


@dataclass(frozen=True)
class _Kernel:
    """KL of each group in teacher columns, gradient to the student's rows and to W."""

    teacher: Tensor
    groups: GroupRows
    chosen: ColumnEntries
    columns: Tensor
    temperature: float
    reverse: bool
    weight_gradient: Tensor | None = None
    chain: Chain | None = None
    orders: BothOrders | None = None  # where kernels read the logits in their place
    facts: dict[str, list[Tensor]] = field(default_factory=lambda: {"projected_mass": [], "top1_agreement": []})

    def __call__(self, chunk: Chunk, weight: Tensor) -> Tensor:
        values = torch.zeros_like(weight)
        inside = self.groups.within(chunk.rows)
        if not len(inside):
            return values
        if isinstance(chunk, DeferredChunk) and self.orders is not None:
            found = groups_in_place(
                chunk, inside, self.teacher, self.columns, self.orders, self.temperature, weight[inside.at, 0],
                self.reverse,
            )  # fmt: skip
            values[inside.at, 0] = boundless(found.value)
            self.facts["projected_mass"].append(found.mass)
            self.facts["top1_agreement"].append(found.agree)
            return values
        p, _ = chunk.softmax(self.temperature)
        q, log_factor = self._merged(chunk, inside, p)
        mass = self.chosen.project(q)
        log_v = self._teacher_rows(chunk, inside)
        total = mass.sum(dim=1, keepdim=True) + FLOOR
        u = mass / total
        log_u = (u + FLOOR).log()
        if log_factor is not None:
            log_u = log_u + log_factor[:, None]
        value, slope = _kl(u, log_u, log_v, self.reverse)
        values[inside.at, 0] = boundless(value)
        self.facts["projected_mass"].append(mass.sum(dim=1))
        self.facts["top1_agreement"].append((u.argmax(dim=1) == log_v.argmax(dim=1)).to(p.dtype))
        if chunk.gradient is not None:
            self._spread(chunk, weight[inside.at], inside, p, q, u, total, slope, log_factor is not None)
        return values

    def _merged(self, chunk: Chunk, inside: GroupsInChunk, p: Tensor) -> tuple[Tensor, Tensor | None]:
        """The group's student distribution [g, Vs] and, with the chain rule, the log of its factor [g]."""
        out = chunk.buffers.take("merged", len(inside), p.shape[1])
        if self.chain is None:
            own = p if len(inside.local) == len(p) else p.index_select(0, inside.local)
            return segment_mean(own, inside.segment, inside.count, out), None
        torch.index_select(p, 0, inside.at, out=out)
        rows, tokens, group = self._factors(chunk, inside)
        log_p = p[rows, tokens].log()
        return out, torch.zeros(len(inside), dtype=p.dtype, device=p.device).index_add_(0, group, log_p)

    def _factors(self, chunk: Chunk, inside: GroupsInChunk) -> tuple[Tensor, Tensor, Tensor]:
        """Row, token and group of the scalar factors: all rows of a group but its last."""
        assert self.chain is not None
        first = torch.isin(inside.local, inside.at, invert=True)
        start = int(torch.searchsorted(self.groups.student_row, chunk.rows.start))
        tokens = self.chain.student_token[start : start + len(inside.local)]
        return inside.local[first], tokens[first], inside.segment[first]

    def _teacher_rows(self, chunk: Chunk, inside: GroupsInChunk) -> Tensor:
        """log v [g, k]: the teacher's group distribution on the chosen columns."""
        rows = inside.teacher
        if self.chain is not None:  # the row of the last token of each group
            last = torch.ones_like(inside.teacher_segment, dtype=torch.bool)
            last[:-1] = inside.teacher_segment[1:] != inside.teacher_segment[:-1]
            rows = rows[last]
        sample, position = rows // self.teacher.shape[1], rows % self.teacher.shape[1]
        z = self.teacher[sample[:, None], position[:, None], self.columns].to(chunk.logits.dtype)
        log_v = z.div_(self.temperature).log_softmax(dim=1).clamp_(min=LOWEST)
        if self.chain is not None:
            return log_v + self.chain.teacher_log_factor[inside.groups][:, None]
        out = log_v.new_empty(len(inside), log_v.shape[1])
        return segment_mean(log_v, inside.teacher_segment, inside.teacher_count, out)

    def _spread(
        self, chunk: Chunk, weight: Tensor, inside: GroupsInChunk, p: Tensor, q: Tensor, u: Tensor, total: Tensor,
        slope: Tensor, chained: bool,
    ) -> None:  # fmt: skip
        """slope = d value / d u [g, k]; add the gradient of the rows, of the factors and of W."""
        assert chunk.gradient is not None
        slope = slope * weight
        moved = (slope - (slope * u).sum(dim=1, keepdim=True)) / total  # through the renormalisation
        if self.weight_gradient is not None:
            self.chosen.weight_gradient(moved, q, self.weight_gradient)
        scale = 1.0 / self.temperature
        if chained:
            own = torch.zeros_like(q)
            sums = self.chosen.back(moved * scale, q, own)
            chunk.gradient.index_add_(0, inside.at, own.addcmul_(q, -sums[:, None]))
            rows, tokens, group = self._factors(chunk, inside)
            push = (slope * (u + FLOOR)).sum(dim=1)[group] * scale
            chunk.gradient.index_add_(0, rows, p.index_select(0, rows) * -push[:, None])
            chunk.gradient.index_put_((rows, tokens), push, accumulate=True)
            return
        per_row = (moved * (scale / inside.count[:, None].to(moved.dtype))).index_select(0, inside.segment)
        if len(inside.local) == len(p):
            sums = self.chosen.back(per_row, p, chunk.gradient)
            chunk.gradient.addcmul_(p, -sums[:, None])
            return
        own = torch.zeros(len(inside.local), p.shape[1], dtype=p.dtype, device=p.device)
        rows_p = p.index_select(0, inside.local)
        sums = self.chosen.back(per_row, rows_p, own)
        chunk.gradient.index_add_(0, inside.local, own.addcmul_(rows_p, -sums[:, None]))


def boundless(value: Tensor) -> Tensor:
    """Values with infinity, which a loss refuses, where the logarithm of nothing (`LOWEST`) has a weight in them."""
    return torch.where(value > -LOWEST * 1e-12, torch.inf, value)


def _kl(u: Tensor, log_u: Tensor, log_v: Tensor, reverse: bool) -> tuple[Tensor, Tensor]:
    """Value [g] and d value / d u [g, k]; log_u may hold a factor that u lacks."""
    if not reverse:
        v = log_v.exp()
        return (v * (log_v - log_u)).sum(dim=1), -v / (u + FLOOR)
    mass = log_u.exp()
    gap = log_u - log_v
    return (mass * gap).sum(dim=1), (gap + 1.0) * mass / (u + FLOOR)
