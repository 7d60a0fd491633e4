"""Several teachers at once: each with its own method, alignment and tokenizer, mixed by weights.

L = sum over teachers m of alpha_m * L_m, L_m the whole loss of teacher m's method on its own batch. The weights are
fixed, follow from how well each teacher reads the text, or pick one teacher. A teacher with the student's own tokenizer
(method "kd") may stand beside teachers with others. All losses add to one gradient tensor; none has its own.
Source: X-Token (NVIDIA 2025), the part on several teachers, and its public code for the scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ctkd_core import methods
from ctkd_core.errors import LossInputError, unknown
from ctkd_core.losses import loss as method_loss
from ctkd_core.losses.base import LossOutput, check_inputs, response_rows
from ctkd_core.losses.batch import AlignedBatch
from ctkd_core.losses.engine import units
from ctkd_core.losses.engine.engine import Buffers, compute_dtype, rows_per_chunk, softmax
from ctkd_core.losses.engine.sinks import Collector, collecting
from ctkd_core.losses.facts import Mean

MODES = ("static", "adaptive", "select")
SCORES = ("ce", "entropy", "confidence")


@dataclass(frozen=True)
class WeightedTeacher:
    """One teacher of several.

    method   name of the row of the table whose loss it uses; variant, options: of that method
    logits   [B, Tt, Vt] of this teacher, None for methods that ask no teacher
    batch    the samples, aligned with this teacher; the student's side must be the same for all of them
    extras   what the loss takes besides: state, student_states, teacher_states, projection
    weight   alpha_m with "static" weights
    """

    method: str
    logits: Tensor | None
    batch: AlignedBatch
    variant: str = "clean"
    options: Mapping[str, Any] = field(default_factory=dict)
    extras: Mapping[str, Any] = field(default_factory=dict)
    weight: float = 1.0
    name: str = ""


def several(
    teachers: Sequence[WeightedTeacher],
    student_logits: Tensor,
    *,
    weights: str = "static",
    score: str = "ce",
    alpha: float = 1.0,
    vocabulary_factor: bool = False,
    chunk_rows: int | None = None,
) -> LossOutput:
    """sum_m alpha_m L_m over the teachers.

    weights  "static": alpha_m = teacher.weight as given; when they sum to 1 and all methods have one ce_weight, the
             cross-entropy counts as with one teacher. "adaptive": alpha = softmax(alpha * score). "select": 1 for the
             teacher with the lowest cross-entropy, whose loss alone is computed; where the batches of one step select
             different ones, each one's mean counts by its share of the student's response tokens
    score    of a teacher on its own response tokens of this batch: "ce" minus the mean cross-entropy, "entropy" minus
             the mean entropy (nats a token), "confidence" the mean largest probability
    vocabulary_factor  multiply each adaptive weight by ln |V_m| / ln min |V|, and scale them to sum to 1 again: a
             teacher of a larger vocabulary has larger cross-entropies by nature (where the factor goes is our reading)

    Cross-entropies are per token of each teacher; they carry no gradient. student_logits [B, Ts, Vs].
    LossOutput: terms and diagnostics are named "<teacher>.<name>"; `per_group` holds the groups of all teachers one
    after another, weighted. Raises LossInputError.
    """
    _check(teachers, student_logits, weights, score)
    scores = [_reading(g, chunk_rows) for g in teachers] if weights != "static" else []
    weighed = _alphas(teachers, scores, weights, score, alpha, vocabulary_factor)
    names = _names(teachers)
    teachers = [replace(teacher, name=name) for teacher, name in zip(teachers, names)]  # whose units are counted apart
    alphas = _of_the_step(weighed, names, teachers[0].batch) if weights == "select" else weighed
    outputs: dict[int, LossOutput] = {}
    loss = _mixed(teachers, student_logits, alphas, outputs, chunk_rows)
    groups = [
        outputs[m].per_group * alphas[m] if m in outputs else loss.detach().new_zeros(len(g.batch.groups))
        for m, g in enumerate(teachers)
    ]
    terms = {f"{names[m]}.{key}": value for m, out in outputs.items() for key, value in out.terms.items()}
    facts = {f"{names[m]}.{key}": value for m, out in outputs.items() for key, value in out.diagnostics.items()}
    facts |= {f"{name}.weight": value for name, value in zip(names, weighed)}
    facts |= {f"{name}.{key}": value for name, found in zip(names, scores) for key, value in found.items()}
    return LossOutput(loss, terms, torch.cat(groups), facts)


def _check(teachers: Sequence[WeightedTeacher], student_logits: Tensor, weights: str, score: str) -> None:
    if not teachers:
        raise LossInputError("several teachers: got none; pass at least one WeightedTeacher.")
    if weights not in MODES:
        raise unknown("way to weigh teachers", weights, MODES, LossInputError)
    if score not in SCORES:
        raise unknown("score of teachers", score, SCORES, LossInputError)
    for m, teacher in enumerate(teachers):
        if not math.isfinite(teacher.weight) or teacher.weight < 0.0:
            raise LossInputError(f"teacher {m + 1} has weight {teacher.weight}; weights are at least 0.")
        same = teacher.batch.student_ids.shape == teachers[0].batch.student_ids.shape and bool(
            (teacher.batch.student_ids == teachers[0].batch.student_ids).all()
            and (teacher.batch.student_labels == teachers[0].batch.student_labels).all()
        )
        if not same:
            raise LossInputError(
                f"the batch of teacher {m + 1} holds other student tokens than that of teacher 1: align the same "
                "samples, with the same max_length and padding, with every teacher."
            )
        if weights != "static" and teacher.logits is None:
            raise LossInputError(f"weights {weights!r} need the logits of every teacher; teacher {m + 1} has none.")
    if weights == "static" and not any(g.weight for g in teachers):
        raise LossInputError("all teachers have weight 0; give at least one a positive weight.")
    for teacher in teachers:
        check_inputs(student_logits, teacher.logits, teacher.batch)


def _names(teachers: Sequence[WeightedTeacher]) -> list[str]:
    """Distinct names: the given ones, else teacher1, teacher2, ..."""
    names = [g.name or f"teacher{m + 1}" for m, g in enumerate(teachers)]
    if len(set(names)) < len(names):
        raise LossInputError(f"teachers need different names; got {', '.join(names)}.")
    return names


def _reading(teacher: WeightedTeacher, chunk_rows: int | None) -> dict[str, float]:
    """How a teacher reads its own response tokens: means of cross-entropy and entropy in nats, largest probability."""
    assert teacher.logits is not None
    logits, batch = teacher.logits.detach(), teacher.batch
    rows = response_rows(batch.teacher_labels)
    buffers = Buffers(logits.device, compute_dtype(logits))
    total = torch.zeros(3, dtype=torch.float64, device=logits.device)
    step = rows_per_chunk(logits.shape[-1], logits.device, chunk_rows)
    for begin in range(0, len(rows), step):
        span = slice(begin, begin + step)
        z = buffers.read("logits", logits, rows.flat[span])
        p, normaliser = softmax(z, 1.0, buffers, "softmax")
        ce = normaliser - z.gather(1, rows.target[span, None]).squeeze(1)
        entropy = torch.special.entr(p).sum(dim=1)
        total += torch.stack([x.double().sum() for x in (ce, entropy, p.amax(dim=1))])
    ce, entropy, confidence = (total / max(1, len(rows))).tolist()
    if not math.isfinite(ce + entropy + confidence):
        raise LossInputError("a teacher's logits hold NaN or infinity in its response rows; it can't be weighed.")
    found = {"reads_ce": ce, "reads_entropy": entropy, "reads_confidence": confidence}
    return {name: Mean(value, len(rows)) for name, value in found.items()}


def _alphas(
    teachers: Sequence[WeightedTeacher],
    readings: Sequence[Mapping[str, float]],
    weights: str,
    score: str,
    alpha: float,
    vocabulary_factor: bool,
) -> list[float]:
    if weights == "static":
        return [float(g.weight) for g in teachers]
    if weights == "select":
        best = min(range(len(teachers)), key=lambda m: readings[m]["reads_ce"])
        return [float(m == best) for m in range(len(teachers))]
    sign = 1.0 if score == "confidence" else -1.0
    alphas = torch.tensor([sign * alpha * r[f"reads_{score}"] for r in readings], dtype=torch.float64).softmax(0)
    if vocabulary_factor:
        sizes = [g.batch.teacher.vocab_size if g.batch.teacher else _width(g) for g in teachers]
        alphas = alphas * torch.tensor([math.log(size) / math.log(min(sizes)) for size in sizes], dtype=torch.float64)
        alphas = alphas / alphas.sum()
    return alphas.tolist()


def _of_the_step(chosen: Sequence[float], names: Sequence[str], batch: AlignedBatch) -> list[float]:
    """Weights where a step has several batches. A loss divides by what all batches of its teacher have, so the parts of
    each teacher add up to one mean; this share keeps the means of several from counting as several."""
    best, own = chosen.index(1.0), float(len(response_rows(batch.student_labels)))
    with units.scope(names[best]):
        mine = units.whole("rows that select it", own)
    everyone = units.whole("rows that select", own)
    return [float(m == best) * (mine / everyone if everyone else 1.0) for m in range(len(chosen))]


def _width(teacher: WeightedTeacher) -> int:
    assert teacher.logits is not None
    return int(teacher.logits.shape[-1])


def _mixed(
    teachers: Sequence[WeightedTeacher],
    logits: Tensor,
    alphas: Sequence[float],
    outputs: dict[int, LossOutput],
    chunk_rows: int | None,
) -> Tensor:
    """The mixed loss; `outputs` receives what each teacher with a weight gave.

    A method that hands the engine's loss on as it is writes its gradient into the shared tensor. One that builds upon
    it (losses on hidden states) takes autograd's way, with a gradient tensor of its own.
    """
    own_way = {
        m
        for m, g in enumerate(teachers)
        if methods.get(g.method, LossInputError).reads_hidden_states(g.options, LossInputError)
    }
    wanted = torch.is_grad_enabled() and isinstance(logits, Tensor) and logits.requires_grad
    while True:
        shared = _zeros(logits) if wanted else None
        total: Tensor | None = None
        surprise = False
        for m, teacher in enumerate(teachers):
            if not alphas[m]:
                continue
            collector = None if shared is None or m in own_way else Collector(logits, shared, alphas[m])
            outputs[m] = _call(teacher, logits, collector, chunk_rows)
            if collector is not None and (collector.calls != 1 or collector.loss is not outputs[m].loss):
                own_way.add(m)  # what it wrote can't be told from the others: begin again
                surprise = True
                break
            part = outputs[m].loss * alphas[m]
            total = part if total is None else total + part
        if not surprise:
            break
    assert total is not None
    if shared is None:
        return total

    def again() -> Tensor:
        return _gradient(teachers, logits, alphas, own_way, chunk_rows)

    return total + _Carrier.apply(logits, shared, again)


def _call(teacher: WeightedTeacher, logits: Tensor, collector: Collector | None, chunk_rows: int | None) -> LossOutput:
    def run() -> LossOutput:
        return method_loss(
            teacher.method,
            logits,
            teacher.logits,
            teacher.batch,
            teacher.variant,
            chunk_rows=chunk_rows,
            **teacher.extras,
            **teacher.options,
        )

    with units.scope(teacher.name):
        if collector is None:
            return run()
        with collecting(collector):
            return run()


def _gradient(
    teachers: Sequence[WeightedTeacher],
    logits: Tensor,
    alphas: Sequence[float],
    own_way: set[int],
    chunk_rows: int | None,
) -> Tensor:
    """The shared gradient once more, for a second backward pass."""
    shared = _zeros(logits)
    with torch.enable_grad():
        for m, teacher in enumerate(teachers):
            if alphas[m] and m not in own_way:
                _call(teacher, logits, Collector(logits, shared, alphas[m]), chunk_rows)
    return shared


def _zeros(logits: Tensor) -> Tensor:
    return torch.zeros(logits.shape, dtype=logits.dtype, device=logits.device)


class _Carrier(torch.autograd.Function):
    """Zero, whose gradient for the logits is the tensor that the losses wrote."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, shared: Tensor, again: Callable[[], Tensor]) -> Tensor:
        ctx.shared, ctx.again = shared, again
        return torch.zeros((), dtype=compute_dtype(logits), device=logits.device)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        shared, ctx.shared = ctx.shared, None
        if shared is None:  # the first backward pass gave it away
            shared = ctx.again()
        if grad_output.device.type != "cpu" or float(grad_output) != 1.0:
            shared = shared.mul_(grad_output.to(shared.dtype))
        return shared, None, None
