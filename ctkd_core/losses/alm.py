"""ALM: both models should find each chunk of the text equally likely; the rest of the vocabulary isn't compared.

A chunk's log-probability is the sum over its tokens, on each side alone, so vocabularies need nothing in common. Two
corrections for tokenization bias: the probability that a new word begins after the chunk is added to both sides, and
chunks after which the teacher hardly expects a new word are joined with the next.
Source: Minixhofer et al. 2025, arXiv 2503.20083, and tokenkit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ctkd_core.errors import LossInputError, short, unknown
from ctkd_core.losses.base import (
    LossOutput,
    Rows,
    StateContext,
    States,
    check_inputs,
    cross_entropy_term,
    finish,
    need_teacher,
    response_rows,
)  # fmt: skip
from ctkd_core.losses.batch import AlignedBatch
from ctkd_core.losses.engine import units as step
from ctkd_core.losses.engine.engine import Term, compute_dtype
from ctkd_core.losses.facts import Count, mean
from ctkd_core.losses.parts.binarised import KINDS, compare
from ctkd_core.losses.parts.boundary import ReadKernel, boundary_mask, read_rows
from ctkd_core.losses.parts.chunks import Chunks, blocks_of, chunks_of, join, last_of, range_sums, released_counts
from ctkd_core.losses.parts.merged import engine_rows, with_rows

DEBIASING = ("none", "append", "merge", "merge_only")
COUNTS = ("chunk_count", "token_count", "log1p_token_count")


class HiddenProjector(nn.Module):
    """Linear map from the student's hidden width to the teacher's, for the hidden-state term."""

    def __init__(self, student_width: int, teacher_width: int):
        super().__init__()
        self.project = nn.Linear(student_width, teacher_width)


def make_state(
    student_vocab: int,  # noqa: ARG001
    *,
    hidden_weight: float = 0.0,
    context: StateContext | None = None,
    **_: object,
) -> HiddenProjector | None:
    """The projector of the hidden-state term, or None when `hidden_weight` is 0. Raises LossInputError."""
    if not hidden_weight:
        return None
    if context is None or not context.student_width or not context.teacher_width:
        raise LossInputError(
            "the hidden-state term of 'alm' needs a projector: make_state needs context=StateContext(...) with the "
            "hidden widths of both models."
        )
    return HiddenProjector(context.student_width, context.teacher_width)


def alm_loss(
    student_logits: Tensor,
    teacher_logits: Tensor | None,
    batch: AlignedBatch,
    *,
    ce_weight: float = 0.5,
    temperature: float = 5.0,
    divergence: str = "kl",
    debias: str = "merge",
    gamma: float = 0.1,
    renyi_alpha: float = 0.5,
    eos_as_space: bool = False,
    numerator: str = "chunk_count",
    denominator: str = "chunk_count",
    chunk_sizes: str = "1",
    hidden_weight: float = 0.0,
    state: HiddenProjector | None = None,
    student_states: States | None = None,
    teacher_states: States | None = None,
    variant: str = "clean",
    chunk_rows: int | None = None,
) -> LossOutput:
    """ce_weight * CE + (1 - ce_weight) * (ALM + hidden_weight * hidden).

    ALM     mean over chunks of D(l_T / temperature, l_S / temperature), l the log-probability of the chunk's text
    hidden  mean over chunks of |P h_S - h_T|^2 at the chunk's last token, each channel divided by the mean of h_T^2

    divergence  of the event "this text": "kl" (0 at equality), "reverse_kl", "tvd", "binary_ce" (gradient of "kl"),
                "reverse_binary_ce"; "renyi" of the order `renyi_alpha`; "kl_limit", "tvd_limit": the limits of a large
                temperature; "k2", "k3": estimators of the KL from the ratio of both (public code: joschu_k2 and
                joschu_k3). The limits and "renyi" don't look at the temperature
    debias      "none" | "append": add log P(a new word begins after the chunk) | "merge": also join a chunk with the
                next when the teacher gives a new word at most `gamma` | "merge_only": join and add nothing
    eos_as_space  what begins a new word is the end-of-text token alone, not every token that begins with a blank
    numerator   weight of a unit in the sum: 1 ("chunk_count"), n ("token_count") or log(1 + n) ("log1p_token_count"), n
                the teacher's tokens in it
    denominator what the sum is divided by: the number of units, or of their tokens ("token_count")
    chunk_sizes how many units that follow each other are compared as one, comma-separated: with "1,2" both each unit
                alone and each two, and the mean over all is divided by the number of sizes (public code:
                distill_chunk_sizes). The last units of a sample may be fewer
    variant     "released": a chunk counts when the teacher predicts one of its tokens, even where token 0 or a gap of
                the labels makes both sides cover different text, and joined chunks are divided by the public code's
                count

    Chunks with a token that isn't learnt, or that nothing predicts (no BOS before it), are left out; nothing is added
    behind the last.
    student_logits [B, Ts, Vs], teacher_logits [B, Tt, Vt]. Raises LossInputError.
    """
    teacher = need_teacher("alm", teacher_logits)
    check_inputs(student_logits, teacher, batch)
    _check(batch, divergence, debias, (numerator, denominator))
    dtype = compute_dtype(student_logits, teacher)
    chunks = chunks_of(batch, released=variant == "released")
    masks = _masks(batch, student_logits, teacher, dtype, eos_as_space) if debias != "none" else (None, None)
    rule = ChunkRule(
        divergence, temperature, debias, gamma, variant == "released", renyi_alpha, (numerator, denominator),
        _sizes(chunk_sizes),
    )  # fmt: skip
    out = alm_objective(student_logits, teacher, batch, chunks, rule, masks, ce_weight, chunk_rows)
    if not hidden_weight:
        return out
    hidden = _hidden(chunks, state, student_states, teacher_states)
    total = out.loss + (1.0 - ce_weight) * hidden_weight * hidden.to(out.loss.dtype)
    return LossOutput(total, out.terms | {"hidden": hidden.detach()}, out.per_group, out.diagnostics)


@dataclass(frozen=True)
class ChunkRule:
    """How chunks are compared (see `alm_loss`)."""

    divergence: str
    temperature: float
    debias: str
    gamma: float
    released: bool = False
    renyi_alpha: float = 0.5
    counts: tuple[str, str] = ("chunk_count", "chunk_count")  # numerator and denominator
    sizes: tuple[int, ...] = (1,)  # units that are compared as one

    @property
    def joins(self) -> bool:
        """Whether chunks are joined."""
        return self.debias in ("merge", "merge_only")

    @property
    def appends(self) -> bool:
        """Whether the chance of a new word behind a unit is added."""
        return self.debias in ("append", "merge")


def alm_objective(
    student_logits: Tensor,
    teacher: Tensor,
    batch: AlignedBatch,
    chunks: Chunks,
    rule: ChunkRule,
    masks: tuple[Tensor | None, Tensor | None],
    ce_weight: float,
    chunk_rows: int | None = None,
) -> LossOutput:
    """ALM and cross-entropy with the boundary masks [Vs], [Vt] in hand (None without debiasing)."""
    dtype = compute_dtype(student_logits, teacher)
    if rule.joins:
        step.needs_logits()
    rows, learnt, after = _rows(batch.student_labels, batch.student_ids, chunks.student_after)
    target = torch.where(learnt, rows.target, 0)
    token, boundary = read_rows(student_logits.detach(), rows.flat, target, masks[0], dtype, chunk_rows)
    theirs = _teacher_numbers(teacher, batch, chunks, masks[1], dtype, chunk_rows)
    with torch.enable_grad():
        leaves = token.requires_grad_(), boundary.requires_grad_()
        own = _numbers(leaves, after, rows.number, chunks.sample, chunks.student)
        units = join(theirs[1], chunks, rule.gamma if rule.joins else 0.0)
        values, norm, last = _values(own, theirs, units, chunks, rule)
        share = 1.0 - ce_weight
        total = share * (values * norm).sum()
        slopes = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
    # a chunk's value is put at the row of its last token; the public code counts chunks that have no such row
    at = after if rule.released else rows.number[chunks.sample, chunks.student[:, 1] - 1]
    place = _place(last, at, values.detach(), norm, chunks, len(rows))
    kernel = ReadKernel(place.values, target, slopes[0], slopes[1], boundary.detach(), masks[0])
    terms = [
        cross_entropy_term(rows, ce_weight, learnt),
        Term(("alm",), (share,), place.norm, kernel, owner=place.owner, scratch=0 if masks[0] is None else None),
    ]
    out = finish(student_logits, rows, terms, batch, teacher_logits=teacher, chunk_rows=chunk_rows)
    facts = {
        "chunks": Count(len(chunks.sample)),
        "units": Count(len(values)),
        "left_out_chunks": Count(len(batch.groups) - len(chunks.sample)),
        "student_log_probability": mean(own[0].detach()),
        "teacher_log_probability": mean(theirs[0]),
    }
    return LossOutput(out.loss, out.terms, out.per_group, facts)


def _check(batch: AlignedBatch, divergence: str, debias: str, counts: tuple[str, str]) -> None:
    if divergence not in KINDS:
        raise unknown("divergence", divergence, KINDS, LossInputError)
    if debias not in DEBIASING:
        raise unknown("debiasing", debias, DEBIASING, LossInputError)
    for name, count, known in zip(("numerator", "denominator"), counts, (COUNTS, COUNTS[:2])):
        if count not in known:
            raise unknown(name, count, known, LossInputError)
    if debias != "none" and (batch.student is None or batch.teacher is None):
        raise LossInputError(
            "debiasing needs to know which tokens begin a word: pass both tokenizers to collate(samples, student, "
            "teacher), or use debias='none'."
        )


def _masks(
    batch: AlignedBatch, student: Tensor, teacher: Tensor, dtype: torch.dtype, eos_as_space: bool
) -> tuple[Tensor, Tensor]:
    assert batch.student is not None
    assert batch.teacher is not None
    if eos_as_space:
        return (
            _only(batch.student.eos_id, batch.student.name, student, dtype),
            _only(batch.teacher.eos_id, batch.teacher.name, teacher, dtype),
        )
    return (
        boundary_mask(batch.student, student.shape[-1], student.device, dtype),
        boundary_mask(batch.teacher, teacher.shape[-1], teacher.device, dtype),
    )


def _only(token: int | None, name: str, logits: Tensor, dtype: torch.dtype) -> Tensor:
    """[V] 1 at the end-of-text token."""
    if token is None or token >= logits.shape[-1]:
        raise LossInputError(f"eos_as_space needs an end-of-text token, and tokenizer {name!r} has none; leave it off.")
    return torch.zeros(logits.shape[-1], dtype=dtype, device=logits.device).index_fill_(
        0, torch.tensor([token], device=logits.device), 1.0
    )


def _numbers(
    read: tuple[Tensor, Tensor], after: Tensor, number: Tensor, sample: Tensor, bounds: Tensor
) -> tuple[Tensor, Tensor]:
    """Log-probability [C] of each chunk and of a new word behind it, from the numbers [R] of the rows."""
    token, boundary = read
    if not len(token):
        return token, boundary
    table = torch.where(number >= 0, token[number.clamp(min=0)], 0.0)
    return range_sums(table, sample, bounds), torch.where(after >= 0, boundary[after.clamp(min=0)], 0.0)


def _rows(labels: Tensor, ids: Tensor, after: Tensor) -> tuple[Rows, Tensor, Tensor]:
    """Response rows and the rows behind chunks; bool [R] which of them are response rows; `after` as engine rows."""
    behind = after >= 0
    rows, learnt = with_rows(response_rows(labels), after[behind], ids)
    return rows, learnt, torch.where(behind, engine_rows(rows, after.clamp(min=0)), -1)


def _teacher_numbers(
    teacher: Tensor,
    batch: AlignedBatch,
    chunks: Chunks,
    mask: Tensor | None,
    dtype: torch.dtype,
    chunk_rows: int | None,
) -> tuple[Tensor, Tensor]:
    """The same of the teacher, no gradient."""
    rows, learnt, after = _rows(batch.teacher_labels, batch.teacher_ids, chunks.teacher_after)
    target = torch.where(learnt, rows.target, 0)
    token, boundary = read_rows(teacher, rows.flat, target, mask, dtype, chunk_rows)
    return _numbers((token, boundary), after, rows.number, chunks.sample, chunks.teacher)


def _values(
    own: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor], units: Tensor, chunks: Chunks, rule: ChunkRule
) -> tuple[Tensor, Tensor, Tensor]:
    """Value [N] of each block of units, its weight [N] in the mean, and int64 [N] the chunk at its end.

    Blocks of the first of `rule.sizes` come first, then those of the next.
    """
    count = int(units[-1]) + 1 if len(units) else 0
    if not count:
        return own[0].sum() * 0 + own[0].new_zeros(0), own[0].new_zeros(0), units[:0]
    last = last_of(units, chunks.real)
    sums = [x[0].new_zeros(count).index_add_(0, units, x[0] * chunks.real) for x in (own, theirs)]
    tokens = torch.zeros_like(units[:1]).expand(count).clone().index_add_(0, units, chunks.tokens)
    divided = released_counts(units, tokens, chunks) if rule.released and rule.joins else tokens
    found, weights, ends = [], [], []
    whole = tokens.new_zeros(())
    numerator, denominator = rule.counts
    for size in rule.sizes:
        block, end = blocks_of(units, chunks, tokens > 0, size)
        n = len(end)
        both = [total.new_zeros(n).index_add_(0, block, total) for total in sums]
        if rule.appends:
            both = [total + x[1][last[end]] for total, x in zip(both, (own, theirs))]
        counts, all_counts = (x.new_zeros(n).index_add_(0, block, x) for x in (tokens, divided))
        student, teacher = (x.clamp(max=0.0) for x in both)
        values = compare(rule.divergence, teacher, student, rule.temperature, rule.renyi_alpha)
        found.append(torch.where(counts > 0, values, 0.0))
        weights.append(_weights(counts, numerator, values.dtype))
        ends.append(last[end])
        whole = whole + (all_counts.sum() if denominator == "token_count" else (all_counts > 0).sum())
    norm = torch.cat(weights) / (step.divisor(denominator, whole) * len(rule.sizes))
    return torch.cat(found), norm, torch.cat(ends)


def _sizes(text: str) -> tuple[int, ...]:
    """ "1,2" as numbers. Raises LossInputError."""
    words = [word.strip() for word in str(text).split(",")]
    if not all(word.isascii() and word.isdigit() and 1 <= int(word[:9]) <= 4096 for word in words):
        raise LossInputError(
            f"chunk_sizes are whole numbers from 1 to 4,096, comma-separated, as in '1,2'; got {short(text, 100)}."
        )
    return tuple(map(int, words))


def _weights(tokens: Tensor, numerator: str, dtype: torch.dtype) -> Tensor:
    """[U]: weight of a unit with so many tokens (int64 [U]), 0 for units that don't count."""
    if numerator == "chunk_count":
        return (tokens > 0).to(dtype)
    return tokens.to(dtype) if numerator == "token_count" else tokens.to(dtype).log1p()


@dataclass(frozen=True)
class _Places:
    """Values [R, 1] at an engine row of each unit, its norm float64 [R] and owner int64 [R]."""

    values: Tensor
    norm: Tensor
    owner: Tensor


def _place(last: Tensor, rows: Tensor, values: Tensor, norm: Tensor, chunks: Chunks, n_rows: int) -> _Places:
    """`last` int64 [N]: the chunk at whose row a value stands."""
    device, counted = rows.device, (norm > 0).nonzero().squeeze(1)
    last = last[counted]
    at, values, norm = rows[last], values[counted], norm[counted]
    total = torch.zeros(n_rows, dtype=torch.float64, device=device).index_add_(0, at, norm.double())
    # several units may end at one row (the public code's masked chunks): it carries their mean
    share = norm.double() / total[at]
    mixed = torch.zeros(n_rows, 1, dtype=values.dtype, device=device)
    mixed.index_add_(0, at, (share * values.double()).to(values.dtype)[:, None])
    owner = torch.full((n_rows,), -1, device=device).index_copy_(0, at, chunks.owner[last])
    return _Places(mixed, total, owner)


def _hidden(
    chunks: Chunks, state: HiddenProjector | None, student_states: States | None, teacher_states: States | None
) -> Tensor:
    """The hidden-state term on the last layer."""
    if state is None or student_states is None or teacher_states is None:
        raise LossInputError(
            "hidden_weight is set: pass state=make_state('alm', ...), student_states and teacher_states to the loss."
        )
    own, other = student_states.hidden[-1], teacher_states.hidden[-1]
    if not len(chunks.sample):
        return own.sum() * 0
    dtype = torch.float64 if own.dtype == torch.float64 else torch.float32
    layer = state.project
    x = own[chunks.sample, chunks.student[:, 1] - 1].to(dtype)
    projected = nn.functional.linear(x, layer.weight.to(dtype), layer.bias.to(dtype))
    target = other[chunks.sample, chunks.teacher[:, 1] - 1].detach().to(dtype)
    count = step.divisor("chunks", len(target))
    scale = (step.whole("squares", target.square().sum(dim=0, keepdim=True)) / count).clamp(min=1e-12)
    return ((projected - target).square() / scale).sum() / (count * target.shape[1])
