"""Bytes: at every byte of the text, each model's prediction of the next byte, read off the logits it has anyway.

Bytes are what two tokenizers share. A token's row says how probable each next byte is: all tokens that begin with the
bytes so far and this one. So no map between the vocabularies, no partition of them and no ranks are needed. Our own
method; related are byte-level distillation with a byte head (arXiv 2604.07466) and the exact byte probabilities of
token models (Phan et al. 2024; Vieira et al. 2024). X-Token's first-piece rule is the first byte of this, ALM's event
"this text or not" its coarsest form.

With M(u) the probability of all tokens that begin with bytes u and E(u) that of the tokens that are u, a side says
about the next byte c, behind the first k of a token's m bytes w:

    k = 0, nothing learnt before   M(c) / M()
    0 < k < m, u = w_1..w_k        M(u + c) / M(u); the rest, E(u) / M(u), is "a token ends here", which another
                                   row knows more about
    k = 0, behind a learnt token u [M'(u + c) + E'(u) M(c) / M()] / M'(u), M' and E' from the row that predicted u: a
                                   longer token would have gone on, or u has ended and the next one begins
The bytes of which both sides speak are outcomes of their own, everything else is one more outcome.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ctkd_core.errors import LossInputError
from ctkd_core.losses.base import LossOutput, Rows, check_inputs, cross_entropy_term, finish, need_teacher
from ctkd_core.losses.base import response_rows as learnt_rows
from ctkd_core.losses.batch import AlignedBatch
from ctkd_core.losses.engine import units
from ctkd_core.losses.engine.engine import Buffers, Chunk, Term, compute_dtype, probabilities, rows_per_chunk
from ctkd_core.losses.engine.fused import HeadLogits
from ctkd_core.losses.facts import Count, mean
from ctkd_core.losses.parts.byte_masses import Masses, Nodes, add_gradient, add_masses
from ctkd_core.losses.parts.byte_tree import ByteTree, byte_tree
from ctkd_core.losses.parts.divergences import LOWEST, DivergenceRule, divergence_rule
from ctkd_core.losses.parts.facing_bytes import FacingBytes, Readings, facing_bytes, readings
from ctkd_core.losses.parts.token_starts import TokenClasses, class_gradient, class_shares, token_classes
from ctkd_core.tokenizers.chat_prompts import TURN_ENDS

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

TINY, TINY_REST = 1e-12, 1e-9  # a share of a byte, or of all else, under a logarithm where a side gives it nothing
FLOOR = 1e-300  # of what is divided by


def bytes_loss(
    student_logits: Tensor,
    teacher_logits: Tensor | None,
    batch: AlignedBatch,
    *,
    ce_weight: float = 0.5,
    temperature: float = 1.0,
    teacher_temperature: float | None = None,
    divergence: str = "forward_kl",
    beta: float = 0.5,
    skew: float = 0.1,
    boundary: str = "mixture",
    positions: str = "all",
    byte_weights: str = "equal",
    lump: str = "outcome",
    starts: str = "byte",
    variant: str = "clean",  # noqa: ARG001
    chunk_rows: int | None = None,
) -> LossOutput:
    """ce_weight * CE + (1 - ce_weight) * (sum over byte positions of D(teacher, student)) / (learnt student tokens).

    divergence, beta, skew  as in `divergences.divergence`, over the next byte instead of the next token
    boundary      where a token begins behind a learnt one: "mixture", with what would have gone on with the token
                  before; "next": the token's own row alone
    positions     "all" bytes, or "common": those at which both sides begin a token
    byte_weights  "equal", or "tokens": one over the compared bytes of the student's token
    lump          everything that isn't a byte of which both sides speak: one more "outcome", or "left_out", both sides
                  scaled to sum to 1 without it
    starts        where both sides begin a token: the next "byte"; the first "two_bytes" or "three_bytes" of the token;
                  or the "tokens" that both have, each by itself, and the others by first byte. All but the first see
                  tokens off the text's own path, by each side's own row alone

    Compared are the groups of the batch whose two sides spell the same bytes, and their ends of answers, byte by byte
    wherever both tokens are learnt and predicted by a row. A byte at which a side gives its own prefix no probability
    that float32 can hold is left out.
    student_logits [B, Ts, Vs], teacher_logits [B, Tt, Vt]. Raises LossInputError, also where a batch has no tokenizers.
    """
    teacher = need_teacher("bytes", teacher_logits)
    check_inputs(student_logits, teacher, batch)
    both = placed(batch, (student_logits.shape[-1], teacher.shape[-1]), boundary, positions)
    rows, faced = both.rows[0], both.faced
    dtype = compute_dtype(student_logits, teacher)
    weight = torch.ones(len(faced), dtype=torch.float64, device=rows.flat.device)
    if byte_weights == "tokens":
        weight /= torch.bincount(faced.row[:, 0], minlength=len(rows))[faced.row[:, 0]]
    number = units.divisor("rows of bytes", len(rows))
    how = ByteComparison(temperature, divergence_rule(divergence, beta, skew), lump == "outcome")
    factor = (1.0 - ce_weight) / number
    terms: list[Term] = [cross_entropy_term(rows, ce_weight)]
    kernels: list[_Kernel | _StartKernel] = []
    if starts != "byte":
        begin = (faced.offset == 0).all(dim=1)
        begun, begun_weight = faced.chosen(begin), weight[begin]
        both, weight = _placed(faced.chosen(~begin), both.rows, both.trees, boundary), weight[~begin]
        classes = token_classes(*both.trees, starts)
        other = teacher, both.rows[1].flat, teacher_temperature or temperature
        kernels.append(_StartKernel(begun, classes, other, how, (begun_weight, factor)))
        terms.append(Term(("starts",), (1.0 - ce_weight,), _norm(begun, rows, number), kernels[0]))
    expected = next_bytes_of(teacher, both, 1, teacher_temperature or temperature, dtype)
    kernels.append(_Kernel(student_logits.detach(), both, expected, how, (weight, factor)))
    terms.append(Term(("bytes",), (1.0 - ce_weight,), _norm(both.faced, rows, number), kernels[-1]))
    out = finish(student_logits, rows, terms, batch, teacher_logits=teacher, chunk_rows=chunk_rows)
    others = [part for each in kernels for part in each.lump]
    textless = [part for each in kernels for part in each.textless]
    facts = {
        "bytes": Count(len(faced)),
        "bytes_left_out": Count(sum(each.unseen for each in kernels)),
        "compared_rows": Count(len(faced.row[:, 0].unique())),
        "lump_mass": mean(torch.cat(others)) if others else 0.0,
        "groups_of_other_bytes": Count(faced.unequal_groups),
        "mass_without_text": mean(torch.cat(textless)) if textless else 0.0,
    }
    return LossOutput(out.loss, out.terms, out.per_group, facts)


def _norm(faced: FacingBytes, rows: Rows, number: float) -> Tensor:
    """What each learnt row counts for: those that have a byte to compare."""
    norm = torch.zeros(len(rows), dtype=torch.float64, device=faced.row.device)
    return norm.index_fill_(0, faced.row[:, 0], 1.0 / number)


def both_next_bytes(
    student: Tensor, teacher: Tensor, batch: AlignedBatch, options: Mapping[str, Any]
) -> tuple[FacingBytes, NextBytes, NextBytes]:
    """The bytes that `bytes_loss` compares with these options, and what student and teacher say there.

    Where `starts` has it compare whole tokens, the next byte is the coarser say of the same place.
    """
    both = placed(batch, (student.shape[-1], teacher.shape[-1]), options["boundary"], options["positions"])
    temperatures = (options["temperature"], options["teacher_temperature"] or options["temperature"])
    own, other = (
        next_bytes_of(logits.detach(), both, k, temperatures[k], compute_dtype(logits))
        for k, logits in enumerate((student, teacher))
    )
    return both.faced, own, other


def compared(options: Mapping[str, Any]) -> ByteComparison:
    """How two sides are compared with these options."""
    rule = divergence_rule(options["divergence"], options["beta"], options["skew"])
    return ByteComparison(options["temperature"], rule, options["lump"] == "outcome")


def _trees(batch: AlignedBatch, widths: tuple[int, int]) -> tuple[ByteTree, ByteTree]:
    """Both vocabularies by bytes. Raises LossInputError where a batch has no tokenizers."""
    student, teacher = batch.student, batch.teacher
    if student is None or teacher is None:
        raise LossInputError(
            "loss 'bytes' reads the bytes of tokens: pass both tokenizers to collate(samples, student, teacher)."
        )
    return byte_tree(student, widths[0], answer_ends(student)), byte_tree(teacher, widths[1], answer_ends(teacher))


def answer_ends(tokenizer: Tokenizer) -> frozenset[int]:
    """What ends answers: EOS and the tokens with which chat templates end a turn. The same for every batch."""
    named = [tokenizer.eos_id, *(tokenizer.id_of(name) for name in TURN_ENDS)]
    return frozenset(i for i in named if i is not None and (i == tokenizer.eos_id or i in tokenizer.special_ids))


@dataclass(frozen=True)
class Placed:
    """The bytes that are compared, and of student and teacher the learnt rows, the vocabulary and where it is read."""

    faced: FacingBytes
    rows: tuple[Rows, Rows]
    trees: tuple[ByteTree, ByteTree]
    reads: tuple[Readings, Readings]


def placed(batch: AlignedBatch, widths: tuple[int, int], boundary: str, positions: str) -> Placed:
    """All that doesn't depend on logits; `widths` are theirs. Raises LossInputError where a batch has no tokenizers."""
    trees = _trees(batch, widths)
    rows = learnt_rows(batch.student_labels), learnt_rows(batch.teacher_labels)
    faced = facing_bytes(batch, rows, trees)
    if positions == "common":
        faced = faced.chosen((faced.offset == 0).all(dim=1))
    return _placed(faced, rows, trees, boundary)


def _placed(faced: FacingBytes, rows: tuple[Rows, Rows], trees: tuple[ByteTree, ByteTree], boundary: str) -> Placed:
    mixed = boundary == "mixture"
    own, other = (readings(rows[k], trees[k], faced.row[:, k].contiguous(), faced.offset[:, k], mixed) for k in (0, 1))
    return Placed(faced, rows, trees, (own, other))


@dataclass(frozen=True)
class NextBytes:
    """What one side expects the next byte to be at P bytes, float64. Of other outcomes than bytes: [P, C] as well.

    share  [P, SYMBOLS] of each symbol; speaks bool [P, SYMBOLS]: those with which some token goes on; seen bool [P]:
           whether float32 could hold the prefix's probability
    rest   [P]: that a token ends here instead, where nothing at hand says what follows; may_end bool [P]: some could
    alone  [P, SYMBOLS]: the share by the own row alone, without the token before
    """

    share: Tensor
    speaks: Tensor
    rest: Tensor
    may_end: Tensor
    seen: Tensor
    alone: Tensor

    def cut(self, part: slice) -> NextBytes:
        """What is said at some of the bytes."""
        names = ("share", "speaks", "rest", "may_end", "seen", "alone")
        return NextBytes(*(getattr(self, name)[part] for name in names))


def next_bytes(masses: Masses, nodes: Nodes, node: Tensor, before: Tensor) -> NextBytes:
    """From the masses at `nodes` what is said at the bytes that read them (int64 [P] each, `before` -1 for none)."""
    total = masses.total
    seen = ~(total[node] <= 0)  # NaN is seen: the check of values names its row
    alone = masses.goes_on[node] / total[node].clamp(min=FLOOR)[:, None]
    rest = masses.equal[node] / total[node].clamp(min=FLOOR)
    speaks = nodes.goes_on[node]
    share = alone
    mixed = (before >= 0).nonzero().squeeze(1)
    if len(mixed):
        share, last = alone.clone(), before[mixed]
        whole = total[last]
        seen[mixed] &= ~(whole <= 0)
        ahead = masses.goes_on[last] + masses.equal[last, None] * alone[mixed]
        share[mixed] = ahead / whole.clamp(min=FLOOR)[:, None]
        speaks[mixed] |= nodes.goes_on[last]
    return NextBytes(share, speaks, rest, nodes.low[node] < nodes.edges[node, 0], seen, alone)


def next_bytes_of(
    logits: Tensor | HeadLogits, both: Placed, side: int, temperature: float, dtype: torch.dtype
) -> NextBytes:
    """What a side (0 student, 1 teacher) says at P bytes; its logits [B, T, V] are read once, in chunks."""
    return next_bytes_at(logits, both.rows[side].flat, both.trees[side], both.reads[side], temperature, dtype)


def next_bytes_at(
    logits: Tensor | HeadLogits, flat: Tensor, tree: ByteTree, reads: Readings, temperature: float, dtype: torch.dtype
) -> NextBytes:
    """What is said at P bytes by logits [..., V]; row r of the nodes is flat[r] among them, int64 [R]."""
    nodes, device = reads.nodes, logits.device
    found = Masses.zeros(len(nodes), device)
    buffers, used = Buffers(device, dtype), nodes.row.unique_consecutive()
    step = rows_per_chunk(logits.shape[-1], device)
    for start in range(0, 0 if units.nothing_computed() else len(used), step):
        chosen = used[start : start + step]
        low, high = _range(nodes.row, int(chosen[0]), int(chosen[-1]) + 1)
        p = probabilities(buffers.read("logits", logits, flat[chosen]), temperature, buffers, "softmax")
        local = nodes.cut(low, high)
        local = Nodes(torch.searchsorted(chosen, local.row), local.root, local.low, local.edges)
        add_masses(p, local, tree, found.cut(low, high))
    return next_bytes(found, nodes, reads.node, reads.before)


def _range(values: Tensor, first: int, behind: int) -> tuple[int, int]:
    """Where `values`, ascending, hold first..behind."""
    edges = torch.tensor([first, behind], device=values.device, dtype=values.dtype)
    low, high = torch.searchsorted(values.contiguous(), edges).tolist()
    return low, high


@dataclass(frozen=True)
class ByteComparison:
    """How the two sides are compared: temperature of the student, divergence, with everything else as one outcome.

    Outcomes are bytes, or whatever else the shares [n, C] are of.
    """

    temperature: float
    rule: DivergenceRule
    lump: bool

    def values(self, own: NextBytes, teacher: NextBytes) -> tuple[Tensor, Tensor, Tensor]:
        """Value [n], d value / d own.share [n, SYMBOLS] up to a common multiple of the shares, and the teacher's
        probability of everything else [n]; a byte that a side can't see has the value 0."""
        both = own.speaks & teacher.speaks
        seen = (own.seen & teacher.seen)[:, None]
        p, q = (torch.where(both & seen, side.share, 0.0) for side in (own, teacher))
        p_rest, q_rest = ((~both * side.share).sum(dim=1) + side.rest for side in (own, teacher))
        factor = torch.ones_like(q_rest)
        if self.lump:
            # Something else that no logits of the student could say: the teacher's chance of what it can say weighs it.
            able = own.may_end | (own.speaks & ~teacher.speaks).any(dim=1)
            factor = torch.where(able, 1.0, 1.0 - q_rest)
            q, q_left = q / factor.clamp(min=TINY)[:, None], torch.where(able, q_rest, 0.0)
            p, q = (torch.cat([x, torch.where(seen, y[:, None], 0.0)], dim=1) for x, y in ((p, p_rest), (q, q_left)))
            scale = torch.ones_like(p_rest)
        else:
            scale = p.sum(dim=1).clamp(min=TINY)
            p, q = p / scale[:, None], q / q.sum(dim=1, keepdim=True).clamp(min=TINY)
        floor = p.new_full((p.shape[1],), TINY)
        floor[own.share.shape[1] :] = TINY_REST
        any_of_both = (p > 0) | (q > 0)
        log_p, log_q = (torch.where(any_of_both, torch.maximum(x, floor).log(), LOWEST) for x in (p, q))
        value, slope = self.rule.divergence(log_p, log_q, p, q.clone(), self.rule.weight)
        each = torch.where(p > floor, slope / torch.maximum(p, floor), 0.0) * factor[:, None]
        if self.lump:
            each = each[:, :-1] - each[:, -1:]
        else:
            each = (each - (each * p).sum(dim=1, keepdim=True)) / scale[:, None]
        return value * factor, torch.where(both & seen, each, 0.0), q_rest


def slopes(d_share: Tensor, own: NextBytes, masses: Masses, node: Tensor, before: Tensor) -> Masses:
    """d loss / d masses from d loss / d share [n, SYMBOLS]; every node is read by one byte in each of the two ways."""
    out = Masses.zeros(len(masses.equal), d_share.device)
    total = masses.total.clamp(min=FLOOR)
    d_alone = d_share
    mixed = (before >= 0).nonzero().squeeze(1)
    if len(mixed):
        last = before[mixed]
        d, whole = d_share[mixed], total[last, None]
        level = (d * own.share[mixed]).sum(dim=1)  # all masses of the row before, taken together
        out.goes_on[last] = (d - level[:, None]) / whole
        out.equal[last] = ((d * own.alone[mixed]).sum(dim=1) - level) / whole[:, 0]
        d_alone = d_share.clone()
        d_alone[mixed] = d * (masses.equal[last, None] / whole)
    level = (d_alone * own.alone).sum(dim=1)
    out.goes_on[node] = (d_alone - level[:, None]) / total[node, None]
    out.equal[node] = -level / total[node]
    return out


class _Kernel:
    """Value of each student row: that of the bytes of its token.

    A byte that begins a token reads two rows, so the rows beside a chunk are read again: the one before it for its
    values, the one behind it for the gradient of its last row.

    weight  float64 [P]: of each byte in its row's value; factor: of every row's value in the loss
    """

    def __init__(
        self,
        logits: Tensor | HeadLogits,
        both: Placed,
        teacher: NextBytes,
        how: ByteComparison,
        weights: tuple[Tensor, float],
    ):
        self.logits, self.teacher = logits, teacher
        self.rows, self.tree, self.reads = both.rows[0], both.trees[0], both.reads[0]
        self.how, (self.weight, self.factor) = how, weights
        self.unseen = 0
        self.lump: list[Tensor] = []
        self.textless: list[Tensor] = []  # the student's probability of tokens without text
        self._last: tuple[int, Masses] | None = None  # number and masses of the last node of the chunk before

    def __call__(self, chunk: Chunk, weight: Tensor) -> Tensor:
        """Values [c, 1]."""
        reads, start, stop = self.reads, chunk.rows.start, chunk.rows.stop
        values = torch.zeros(len(chunk), dtype=torch.float64, device=weight.device)
        first, last = _range(reads.row, start, stop)
        behind = int(last < len(reads.row) and int(reads.row[last]) == stop and int(reads.before[last]) >= 0)
        low, high = _range(reads.nodes.row, start, stop)
        if low == high:
            return values[:, None].to(weight.dtype)
        ahead = int(first < last and 0 <= int(reads.before[first]) < low)
        own = reads.nodes.cut(low, high, start)
        low, high = low - ahead, high + behind
        nodes = reads.nodes.cut(low, high)
        inner = slice(ahead, len(nodes) - behind)
        found = Masses.zeros(len(nodes), weight.device)
        p, _ = chunk.softmax(self.how.temperature)
        add_masses(p, own, self.tree, found.cut(inner.start, inner.stop))
        self.textless.append(1.0 - found.total[inner][own.root])
        known = self._last is not None and self._last[0] == low and bool(ahead)
        if self._last is not None and known:
            found.goes_on[0], found.equal[0] = self._last[1].goes_on[0], self._last[1].equal[0]
        self._add_masses_beside(nodes, [0] * (ahead and not known) + [len(nodes) - 1] * behind, found, chunk)
        self._last = low + inner.stop - 1, found.cut(inner.stop - 1, inner.stop)
        here = slice(first, last + behind)
        node, before = reads.node[here] - low, reads.before[here]
        before = torch.where(before >= 0, before - low, -1)
        expected = next_bytes(found, nodes, node, before)
        value, d_share, rest = self.how.values(expected, self.teacher.cut(here))
        count = last - first
        values.index_add_(0, reads.row[first:last] - start, (value * self.weight[here])[:count])
        self.unseen += int((~(expected.seen & self.teacher.seen[here]))[:count].sum())
        self.lump.append(rest[:count])
        if chunk.gradient is not None:
            d_share = d_share * (self.weight[here] * self.factor / self.how.temperature)[:, None]
            slope = slopes(d_share, expected, found, node, before)
            add_gradient(p, own, self.tree, slope.cut(inner.start, inner.stop), chunk.gradient)
        return values[:, None].to(weight.dtype)

    def _add_masses_beside(self, nodes: Nodes, places: list[int], found: Masses, chunk: Chunk) -> None:
        """The masses of single nodes, the first or the last one, whose rows lie outside the chunk."""
        for place in places:
            row = self.rows.flat[nodes.row[place : place + 1]]
            z = chunk.buffers.gather("beside", self.logits, row)
            p = probabilities(z, self.how.temperature, chunk.buffers, "beside softmax")
            one = nodes.cut(place, place + 1, int(nodes.row[place]))
            add_masses(p, one, self.tree, found.cut(place, place + 1))


class _StartKernel:
    """Value of each student row whose token begins where one of the teacher's does: that of the classes of tokens.

    begun   which rows face which of the teacher
    other   the teacher's logits, where its learnt rows lie in them, and its temperature
    weights float64 [P] of each row in its value, and of every row's value in the loss
    """

    def __init__(
        self,
        begun: FacingBytes,
        classes: TokenClasses,
        other: tuple[Tensor | HeadLogits, Tensor, float],
        how: ByteComparison,
        weights: tuple[Tensor, float],
    ):
        self.row, self.facing = begun.row[:, 0].contiguous(), begun.row[:, 1]
        self.classes, self.how, (self.weight, self.factor) = classes, how, weights
        self.teacher, self.flat, self.temperature = other
        self.unseen = 0
        self.lump: list[Tensor] = []
        self.textless: list[Tensor] = []  # the student's probability of tokens without text

    def __call__(self, chunk: Chunk, weight: Tensor) -> Tensor:
        """Values [c, 1]."""
        values = torch.zeros(len(chunk), dtype=torch.float64, device=weight.device)
        first, last = _range(self.row, chunk.rows.start, chunk.rows.stop)
        if first == last:
            return values[:, None].to(weight.dtype)
        here, own = self.row[first:last] - chunk.rows.start, self.classes.student
        p = chunk.softmax(self.how.temperature)[0].index_select(0, here)
        own_shares, total = self._by_class(p, own, self.classes.else_in_student)
        rows = self.flat[self.facing[first:last]]
        z = chunk.buffers.gather("facing", self.teacher, rows)
        q = probabilities(z, self.temperature, chunk.buffers, "facing softmax")
        expected, _ = self._by_class(q, self.classes.teacher, True)
        value, d_share, rest = self.how.values(own_shares, expected)
        self.lump.append(rest)
        self.textless.append(1.0 - total)
        self.unseen += int((~(own_shares.seen & expected.seen)).sum())
        values.index_add_(0, here, value * self.weight[first:last])
        if chunk.gradient is not None:
            d_share = d_share * (self.weight[first:last] * self.factor / self.how.temperature)[:, None]
            gradient = class_gradient(p, own, d_share, own_shares.share, total)
            chunk.gradient.index_add_(0, here, gradient.to(chunk.gradient.dtype))
        return values[:, None].to(weight.dtype)

    def _by_class(self, p: Tensor, of: Tensor, may_end: bool) -> tuple[NextBytes, Tensor]:
        """What one side says by its probabilities [n, V], and that of all tokens with text [n]."""
        share, rest, total = class_shares(p, of, self.classes.count)
        speaks = torch.ones_like(share, dtype=torch.bool)
        seen = ~(total <= 0)
        return NextBytes(share, speaks, rest, torch.full_like(seen, may_end), seen, share), total
