"""GOLD: groups that spell the same bytes are compared as one distribution each, matched tokens by identity.

Each side's rows of a group become one merged row (`parts/merged.py`). The hybrid loss compares the columns of tokens
that both vocabularies have by a generalised Jensen-Shannon divergence, and the sorted rest by their L1 distance; the
plain loss sorts everything (ULD on groups). Merged rows of several tokens sum to less than 1 and are not renormalised,
so the matched part can be negative. No factor of temperature squared.
Source: GOLD (General On-Policy Logit Distillation) in TRL 1.16, `trl.experimental.gold`; Boizard et al. 2024 for ULD.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ctkd_core.losses.base import (
    LossOutput,
    check_inputs,
    cross_entropy_term,
    finish,
    need_teacher,
    response_rows,
    two_sided,
)
from ctkd_core.losses.batch import IGNORE, AlignedBatch
from ctkd_core.losses.engine import units
from ctkd_core.losses.engine.deferred import DeferredChunk, readable
from ctkd_core.losses.engine.engine import Chunk, Term, compute_dtype, softmax
from ctkd_core.losses.facts import Count, mean
from ctkd_core.losses.parts.matched import Matched, matched_ids
from ctkd_core.losses.parts.merged import (
    MergedSide,
    engine_rows,
    group_cuts,
    log_factors,
    merged_side,
    token_log_probs,
    with_rows,
)
from ctkd_core.losses.parts.paired_rows import (
    ColumnRule,
    Columns,
    Groups,
    PairedSums,
    columns_of,
    groups_in_place,
    scratch_bytes,
    student_side,
    teacher_side,
)
from ctkd_core.losses.parts.unnormalised import l1_of_sorted, raw_jsd


@dataclass(frozen=True)
class Weights:
    """Coefficients of the named means in the loss."""

    ce: float
    distillation: float
    matched: float = 1.0
    unmatched: float = 1.0


def gold_loss(
    student_logits: Tensor,
    teacher_logits: Tensor | None,
    batch: AlignedBatch,
    *,
    ce_weight: float = 0.5,
    temperature: float = 1.0,
    teacher_temperature: float | None = None,
    merge: str = "bayesian",
    hybrid: bool = True,
    weights: str = "adaptive",
    matched_weight: float = 1.0,
    unmatched_weight: float = 1.0,
    beta: float = 0.5,
    with_eos: bool = False,
    empty_samples: str = "skip",
    projection: Any = None,
    variant: str = "clean",
    chunk_rows: int | None = None,
) -> LossOutput:
    """ce_weight * CE + (1 - ce_weight) * (w_m * matched + w_u * unmatched), or * ULD on groups without `hybrid`.

    matched    mean over groups of the generalised JSD(beta) on the columns of tokens that both vocabularies have
    unmatched  mean over groups of sum_i |p_(i) - q_(i)| over the other columns, sorted, the shorter padded with zeros
    Means run over the groups of a sample, then over samples. A group with a token that isn't learnt is left out: its
    merged row is made of all of them (the released program looks at the answers' ends alone).

    weights        "adaptive": w_m = matched ids / teacher logits' width, w_u = 1 - w_m; "fixed": `matched_weight` and
                   `unmatched_weight`
    merge          "bayesian": the row that predicts a group's last token times the probabilities of its earlier tokens;
                   "observed": the row at the first token, as the released trainer merges by default
    with_eos       compare the end of the answer too (released default: both masked)
    empty_samples  "skip": the mean runs over samples that have groups; "count": they count as 0 (released)
    projection     the matched tokens: a Projection or scipy matrix [Vs, Vt] whose one-to-one entries of weight 1 match;
                   default: equal bytes (clean) or equal vocabulary strings (released) of the batch's tokenizers
    student_logits [B, Ts, Vs], teacher_logits [B, Tt, Vt]. Raises LossInputError.
    """
    teacher = need_teacher("gold", teacher_logits)
    check_inputs(student_logits, teacher, batch)
    matched = None
    if hybrid:
        widths = (student_logits.shape[-1], teacher.shape[-1])
        matched = matched_ids(projection, batch, widths, raw=variant == "released").to(student_logits.device)
    if weights == "adaptive":
        share = len(matched.student) / teacher.shape[-1] if matched is not None else 1.0
        matched_weight, unmatched_weight = share, 1.0 - share
    parts = Weights(ce_weight, 1.0 - ce_weight, matched_weight, unmatched_weight)
    temperatures = (temperature, teacher_temperature or temperature)
    return gold_objective(
        student_logits, teacher, batch, parts, matched, merge, temperatures, beta, with_eos, empty_samples, chunk_rows,
        learnt_only=variant == "clean",
    )  # fmt: skip


def gold_objective(
    student_logits: Tensor,
    teacher: Tensor,
    batch: AlignedBatch,
    weights: Weights,
    matched: Matched | None,
    merge: str,
    temperatures: tuple[float, float],
    beta: float,
    with_eos: bool,
    empty_samples: str,
    chunk_rows: int | None = None,
    learnt_only: bool = False,
) -> LossOutput:
    """`gold_loss` with its parts in hand; `matched` None is the plain loss."""
    owner = usable_groups(batch, merge, with_eos, learnt_only)
    sample, s0, s1, t0, t1 = batch.groups[owner].T
    s_side = merged_side(sample, s0, s1, batch.student_ids, merge)
    t_side = merged_side(sample, t0, t1, batch.teacher_ids, merge)
    dtype = compute_dtype(student_logits, teacher)
    t_factors = token_log_probs(teacher, t_side.factor_row, t_side.factor_token, temperatures[1], dtype, chunk_rows)
    rows, learnt = with_rows(
        response_rows(batch.student_labels), torch.cat([s_side.row, s_side.factor_row]), batch.student_ids
    )
    at, factor_at = engine_rows(rows, s_side.row), engine_rows(rows, s_side.factor_row)
    place = _Places(at, factor_at, s_side, t_side.row, log_factors(t_side, t_factors).exp())
    columns = None
    if dtype == torch.float32 and readable(student_logits, teacher):
        columns = columns_of(matched, (student_logits.shape[-1], teacher.shape[-1]), student_logits.device)
    kernel = _Kernel(teacher, place, matched, temperatures, beta, columns)
    distil = Term(
        ("matched", "unmatched") if matched is not None else ("uld",),
        (weights.distillation * weights.matched, weights.distillation * weights.unmatched)
        if matched is not None
        else (weights.distillation,),
        _norm(len(rows), at, sample, len(batch), empty_samples),
        kernel,
        owner=torch.full_like(rows.flat, -1).index_copy_(0, at, owner),
        scratch=None if columns is None else scratch_bytes(columns),
    )
    terms = [cross_entropy_term(rows, weights.ce, learnt), distil]
    cuts = group_cuts(rows, at, factor_at, s_side.factor_group)
    out = finish(student_logits, rows, terms, batch, teacher_logits=teacher, chunk_rows=chunk_rows, cuts=cuts)
    return LossOutput(out.loss, out.terms, out.per_group, _diagnostics(kernel, weights, batch, len(owner)))


def wholly_learnt(batch: AlignedBatch) -> Tensor:
    """bool [G]: groups whose tokens are all learnt on both sides; a merged row is made of all of them."""
    sample, *bounds = batch.groups.T
    whole = torch.ones_like(sample, dtype=torch.bool)
    for labels, start, end in ((batch.student_labels, *bounds[:2]), (batch.teacher_labels, *bounds[2:])):
        count = torch.nn.functional.pad((labels != IGNORE).cumsum(dim=1), (1, 0))
        whole &= count[sample, end] - count[sample, start] == end - start
    return whole


def usable_groups(batch: AlignedBatch, merge: str, with_eos: bool, learnt_only: bool = False) -> Tensor:
    """int64 [G']: numbers of the groups of `batch` that a merged row exists for on both sides, by student position.

    learnt_only: without groups that have a token which isn't learnt.
    """
    groups = batch.groups
    first = 1 if merge == "bayesian" else 0
    used = two_sided(groups) & (groups[:, 1] >= first) & (groups[:, 3] >= first)
    if learnt_only:
        used &= wholly_learnt(batch)
    if not with_eos and len(groups):
        sample, s_last, t_last = groups[:, 0], groups[:, 2] - 1, groups[:, 4] - 1
        for ids, last, tokenizer in (
            (batch.student_ids, s_last, batch.student),
            (batch.teacher_ids, t_last, batch.teacher),
        ):
            if tokenizer is not None and tokenizer.eos_id is not None:
                used &= ids[sample, last] != tokenizer.eos_id
    order = (groups[:, 0] * (batch.student_ids.shape[1] + 1) + groups[:, 1]).argsort(stable=True)
    return order[used[order]]


def _norm(n_rows: int, at: Tensor, sample: Tensor, n_samples: int, empty_samples: str) -> Tensor:
    """float64 [R]: at each merged row, one over the sample's groups and over the samples."""
    counts = torch.bincount(sample, minlength=n_samples).double()
    samples = units.divisor("samples", n_samples if empty_samples == "count" else int((counts > 0).sum()))
    norm = torch.zeros(n_rows, dtype=torch.float64, device=at.device)
    return norm.index_copy_(0, at, 1.0 / (counts.clamp(min=1.0)[sample] * samples))


@dataclass(frozen=True)
class _Places:
    """Where the merged groups lie: engine rows `at` [G] (ascending) and `factor_at` [F] of the student."""

    at: Tensor
    factor_at: Tensor
    student: MergedSide
    teacher_row: Tensor  # int64 [G] flat
    teacher_factor: Tensor  # [G]


class _Kernel:
    """Matched and unmatched value of each merged row; gradients reach the row and, through the factor, its others."""

    def __init__(
        self, teacher: Tensor, place: _Places, matched: Matched | None, temperatures: tuple[float, float], beta: float,
        columns: Columns | None = None,
    ):  # fmt: skip
        self.teacher, self.place, self.matched = teacher, place, matched
        self.temperatures, self.beta = temperatures, beta
        self.columns = columns  # where kernels read the logits in their place
        self.facts: dict[str, list[Tensor]] = {}

    def __call__(self, chunk: Chunk, weight: Tensor) -> Tensor:
        values = torch.zeros_like(weight)
        start, stop = chunk.rows.start, chunk.rows.stop
        edges = torch.tensor([start, stop], device=weight.device)
        low, high = torch.searchsorted(self.place.at, edges).tolist()
        if low == high:
            return values
        local = self.place.at[low:high] - start
        if isinstance(chunk, DeferredChunk) and self.columns is not None:
            values[local] = self._in_place(chunk, weight[local], local, (low, high), self.columns)
            return values
        probabilities, _ = chunk.softmax(self.temperatures[0])
        factor, clamped = self._factors(probabilities, low, high, start)
        q = chunk.buffers.gather("teacher", self.teacher, self.place.teacher_row[low:high])
        q, _ = softmax(q, self.temperatures[1], chunk.buffers, "teacher softmax")
        merged = chunk.buffers.take("merged", len(local), chunk.logits.shape[1])
        p = torch.index_select(probabilities, 0, local, out=merged)
        p.mul_(factor[:, None])
        q.mul_(self.place.teacher_factor[low:high, None])
        compare = self._plain if self.matched is None else self._hybrid
        slope = chunk.buffers.take("slope", *p.shape)
        values[local] = compare(p, q, weight[local], slope, chunk)
        if chunk.gradient is not None:
            self._spread(chunk, probabilities, slope, local, (low, high), clamped)
        return values

    def _in_place(
        self, chunk: DeferredChunk, weight: Tensor, local: Tensor, groups: tuple[int, int], columns: Columns
    ) -> Tensor:
        """Values [g, n] from the logits as they lie; the rest of this class is the twin."""
        side, (low, high), tau = self.place.student, groups, self.temperatures[0]
        mine = (side.factor_group >= low) & (side.factor_group < high)
        rows, tokens = self.place.factor_at[mine] - chunk.rows.start, side.factor_token[mine]
        group = side.factor_group[mine] - low
        log_p = chunk.at(tokens, rows) / tau - chunk.normaliser(tau)[rows]
        factor = log_factors(MergedSide(side.row[low:high], rows, tokens, group), log_p)
        one = torch.ones_like(local)
        student = student_side(chunk, Groups(local, one, factor), tau)
        faced = Groups(self.place.teacher_row[low:high], one, self.place.teacher_factor[low:high].log())
        teacher = teacher_side(self.teacher, faced, self.temperatures[1])
        kind = {0.0: "raw_forward", 1.0: "raw_reverse"}.get(self.beta, "raw_jsd")
        plain = self.matched is None
        weights = (torch.zeros_like(weight[:, 0]) if plain else weight[:, 0], weight[:, -1])
        places = local, torch.arange(len(local), device=local.device)
        found = groups_in_place(
            chunk, student, teacher, columns, ColumnRule(kind, self.beta, either=plain), weights, places
        )
        self._note_found(found)
        if chunk.learns and len(rows):
            push = torch.where(log_p.exp() <= 1e-8, 0.0, found.total[group] / tau)
            chunk.add_softmax(-push, tau, rows)
            chunk.add_at(tokens, push, rows)
        return found.rest[:, None] if plain else torch.stack([found.paired, found.rest], dim=1)

    def _note_found(self, found: PairedSums) -> None:
        sums = [mass + rest for mass, rest in zip(found.masses, found.rests)]
        self._note(row_sum=sums[0], teacher_row_sum=sums[1])
        if self.matched is not None:
            self._note(
                student_matched_mass=found.masses[0] / sums[0],
                teacher_matched_mass=found.masses[1] / sums[1],
                negative_matched_share=(found.paired < 0).to(found.paired.dtype),
            )

    def _factors(self, probabilities: Tensor, low: int, high: int, start: int) -> tuple[Tensor, Tensor]:
        """Factor of groups low..high [g], and which scalar factors of theirs are clamped, bool [f]."""
        side = self.place.student
        mine = (side.factor_group >= low) & (side.factor_group < high)
        rows, tokens = self.place.factor_at[mine] - start, side.factor_token[mine]
        log_p = probabilities[rows, tokens].log()
        group = side.factor_group[mine] - low
        part = MergedSide(side.row[low:high], rows, tokens, group)
        return log_factors(part, log_p).exp(), log_p.exp() <= 1e-8

    def _plain(self, p: Tensor, q: Tensor, weight: Tensor, slope: Tensor, _: Chunk) -> Tensor:
        value = l1_of_sorted(p, q, slope)
        slope.mul_(p).mul_(weight)
        self._note(row_sum=p.sum(dim=1), teacher_row_sum=q.sum(dim=1))
        return value[:, None]

    def _hybrid(self, p: Tensor, q: Tensor, weight: Tensor, slope: Tensor, chunk: Chunk) -> Tensor:
        """Values [g, 2]; `slope` [g, V] receives weight * d value / d log p."""
        assert self.matched is not None
        ids, buffers, g = self.matched, chunk.buffers, len(p)
        take = lambda name, rows, columns: torch.index_select(  # noqa: E731
            rows, 1, columns, out=buffers.take(name, g, len(columns))
        )
        pm, qm = take("pm", p, ids.student), take("qm", q, ids.teacher)
        mass = pm.sum(dim=1), qm.sum(dim=1)
        matched, m_slope = raw_jsd(pm, qm, self.beta, buffers)
        slope.index_copy_(1, ids.student, m_slope.mul_(weight[:, :1]))
        unmatched = torch.zeros_like(matched)
        pu, qu = take("pu", p, ids.student_rest), take("qu", q, ids.teacher_rest)
        sign = buffers.take("signs", *pu.shape)
        if pu.shape[1] and qu.shape[1]:
            unmatched = l1_of_sorted(pu, qu, sign)
            slope.index_copy_(1, ids.student_rest, sign.mul_(pu).mul_(weight[:, 1:]))
        else:  # nothing faces the rest of the one side: it counts as nothing
            slope.index_copy_(1, ids.student_rest, sign.zero_())
        sums = p.sum(dim=1), q.sum(dim=1)
        self._note(student_matched_mass=mass[0] / sums[0], teacher_matched_mass=mass[1] / sums[1])
        self._note(row_sum=sums[0], teacher_row_sum=sums[1], negative_matched_share=(matched < 0).to(p.dtype))
        return torch.stack([matched, unmatched], dim=1)

    def _spread(
        self,
        chunk: Chunk,
        probabilities: Tensor,
        slope: Tensor,
        local: Tensor,
        groups: tuple[int, int],
        clamped: Tensor,
    ) -> None:
        """Add the gradient: slope = d loss / d log(merged row) reaches the row's soft-max and each factor."""
        assert chunk.gradient is not None
        side, (low, high) = self.place.student, groups
        total = slope.sum(dim=1)
        scale = 1.0 / self.temperatures[0]
        # slope is relative to factor * p; the soft-max takes its own p back in the second part.
        own = torch.index_select(probabilities, 0, local, out=chunk.buffers.take("merged", *slope.shape))
        slope.addcmul_(own, -total[:, None])
        chunk.gradient.index_add_(0, local, slope, alpha=scale)
        mine = (side.factor_group >= low) & (side.factor_group < high)
        if not bool(mine.any()):
            return
        rows, tokens = self.place.factor_at[mine] - chunk.rows.start, side.factor_token[mine]
        push = torch.where(clamped, 0.0, total[side.factor_group[mine] - low] * scale)
        chunk.gradient.index_add_(0, rows, probabilities.index_select(0, rows) * -push[:, None])
        chunk.gradient.index_put_((rows, tokens), push, accumulate=True)

    def _note(self, **facts: Tensor) -> None:
        for name, values in facts.items():
            self.facts.setdefault(name, []).append(values)


def _diagnostics(kernel: _Kernel, weights: Weights, batch: AlignedBatch, n_groups: int) -> dict[str, float]:
    groups = batch.groups
    several = ((groups[:, 2] - groups[:, 1]) > 1) | ((groups[:, 4] - groups[:, 3]) > 1)
    facts: dict[str, float] = {
        "groups": Count(n_groups),
        "dropped_groups": Count(len(groups) - n_groups),
        "several_tokens_share": mean(several),
    }
    if kernel.matched is not None:
        facts |= {"matched_ids": float(len(kernel.matched.student)), "matched_weight": weights.matched}
    names = {k: mean(torch.cat(v).double().cpu()) for k, v in kernel.facts.items()}
    return facts | names
