"""CoT2Align: optimal transport between the hidden states of both answers, also across their versions with reasoning.

No token is matched: the rows of the student's answer and the projected rows of the teacher's are two clouds of
points, and the loss is the cost of moving one onto the other. Every sample may come in versions ("std": the plain
answer, "cot": with reasoning); a list says which student version faces which teacher version. A base loss on the
logits joins in.
Source: CoT2Align, arXiv 2502.16806; a public research program whose structure matches (names and divisor differ).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ctkd_core.errors import LossInputError, unknown
from ctkd_core.losses.base import LossOutput, StateContext, States, need_teacher, states_of
from ctkd_core.losses.batch import IGNORE, AlignedBatch
from ctkd_core.losses.engine import units
from ctkd_core.losses.parts.transport import sinkhorn_plan, transport_cost

STANDARD = "std"
DEFAULT_PAIRS = "cot-cot,std-cot,cot-std"  # student version - teacher version


class CotProjector(nn.Module):
    """One linear map from the teacher's hidden width to the student's, shared by all layers and terms."""

    def __init__(self, teacher_width: int, student_width: int):
        super().__init__()
        self.project = nn.Linear(teacher_width, student_width)

    def forward(self, hidden: Tensor) -> Tensor:
        """[n, D] -> [n, d], in the data type of `hidden`."""
        dtype = hidden.dtype
        return nn.functional.linear(hidden, self.project.weight.to(dtype), self.project.bias.to(dtype))


def make_state(student_vocab: int, *, context: StateContext | None = None, **_: Any) -> CotProjector:  # noqa: ARG001
    """The projector for two models whose widths `context` tells. Raises LossInputError without them."""
    if context is None or not context.student_width or not context.teacher_width:
        raise LossInputError(
            "loss 'cot2align' projects the teacher's hidden states: make_state needs context=StateContext(...) with "
            "the hidden widths of both models."
        )
    return CotProjector(context.teacher_width, context.student_width)


@dataclass(frozen=True)
class Version:
    """One version of a batch: hidden states of both models and the masks bool [B, T] of the answers' rows."""

    student: States
    teacher: States
    student_mask: Tensor
    teacher_mask: Tensor


def cot2align_loss(
    student_logits: Tensor,
    teacher_logits: Tensor | None,
    batch: AlignedBatch,
    *,
    ce_weight: float = 0.5,
    base: str = "uld",
    temperature: float = 2.0,
    cost: str = "cosine",
    epsilon: float = 0.1,
    iterations: int = 50,
    ot_weight: float = 0.25,
    layers: str = "first,last",
    pairs: str = DEFAULT_PAIRS,
    state: CotProjector | None = None,
    student_states: States | None = None,
    teacher_states: States | None = None,
    versions: Mapping[str, Version] | None = None,
    variant: str = "clean",
    chunk_rows: int | None = None,
) -> LossOutput:
    """ce_weight * CE + (1 - ce_weight) * (base + ot_weight * sum of the transport terms).

    A term is the mean over samples of the transport cost between the student's answer rows and the teacher's projected
    ones, for one layer and one pair of versions; pairs whose versions aren't there are left out, and without a version
    "cot" the plain answers face each other.

    base      "uld" or "none": the loss on the logits, at `temperature`
    cost      "cosine" 1 - cos | "attention" 1 - softmax over the teacher's rows of x y / sqrt(d) | "euclidean"
    epsilon   of the entropic transport; the public program's alpha is 1 / epsilon (its default 0.1 makes the plan
              nearly uniform, and then the attention cost has almost no gradient)
    layers    of "first" (the embeddings' output) and "last"
    pairs     comma-separated student-teacher versions
    versions  further versions beside "std", which is `student_states` and `teacher_states`
    iterations  scalings of the plan
    variant   "released": scalings of the plain kernel (the method's table has the program's own cost, epsilon and
              iterations as defaults of this variant: attention, 10 and 100)
    Raises LossInputError.
    """
    teacher = need_teacher("cot2align", teacher_logits)
    student_states, teacher_states = states_of("cot2align", student_states, teacher_states, batch)
    if not isinstance(state, CotProjector):
        raise LossInputError("loss 'cot2align' learns a projector: pass state=make_state('cot2align', ...).")
    known = {STANDARD: _standard(student_states, teacher_states, batch), **(versions or {})}
    plan = released_transport if variant == "released" else transport
    rule = TransportRule(_choice("cost", cost, COSTS), epsilon, iterations, plan)
    out = _base(student_logits, teacher, batch, base, ce_weight, temperature, chunk_rows)
    terms = dict(out.terms)
    total = student_logits.new_zeros((), dtype=out.loss.dtype)
    moved = torch.zeros(batch.student_ids.shape, dtype=torch.float64, device=student_logits.device)
    for mine, other in _version_pairs(pairs, known):
        for layer in (name.strip() for name in layers.split(",")):
            index = {"first": 0, "last": -1}.get(layer)
            if index is None:
                raise unknown("layer", layer, ("first", "last"), LossInputError)
            value, places = ot_term(known[mine], known[other], index, state, rule)
            terms[f"ot {mine}-{other} {layer}"] = value.detach().to(out.loss.dtype)
            total = total + value.to(out.loss.dtype)
            if mine == STANDARD:
                moved = moved + torch.nn.functional.pad(places[:, :-1], (1, 0))  # to the token that is predicted
    weight = (1.0 - ce_weight) * ot_weight
    shares = weight * _group_sums(moved, batch.groups).to(out.per_group.dtype)
    return LossOutput(out.loss + weight * total, terms, out.per_group + shares, dict(out.diagnostics))


def _group_sums(places: Tensor, groups: Tensor) -> Tensor:
    """[G]: values [B, T] of the student tokens of each group, added up."""
    total = torch.nn.functional.pad(places.cumsum(dim=1), (1, 0))
    sample, start, end = groups[:, 0], groups[:, 1], groups[:, 2]
    return total[sample, end] - total[sample, start]


def _standard(student: States, teacher: States, batch: AlignedBatch) -> Version:
    return Version(student, teacher, answer_rows(batch.student_labels), answer_rows(batch.teacher_labels))


def answer_rows(labels: Tensor) -> Tensor:
    """bool [B, T]: positions whose hidden state predicts a learnt token (labels int64 [B, T], unshifted)."""
    return torch.nn.functional.pad(labels[:, 1:] != IGNORE, (0, 1))


def _base(
    student_logits: Tensor, teacher: Tensor, batch: AlignedBatch, base: str, ce_weight: float, temperature: float,
    chunk_rows: int | None,
) -> LossOutput:  # fmt: skip
    from ctkd_core.losses import loss

    if base not in ("uld", "none"):
        raise unknown("base loss", base, ("uld", "none"), LossInputError)
    if base == "uld":
        return loss(
            "uld", student_logits, teacher, batch, ce_weight=ce_weight, temperature=temperature, chunk_rows=chunk_rows
        )
    out = loss("sft", student_logits, None, batch, chunk_rows=chunk_rows)
    return LossOutput(ce_weight * out.loss, out.terms, ce_weight * out.per_group, out.diagnostics)


def _version_pairs(pairs: str, known: Mapping[str, Version]) -> list[tuple[str, str]]:
    """Pairs whose versions are known; the plain answers when there are none."""
    wanted = []
    for pair in filter(None, (p.strip() for p in pairs.split(","))):
        mine, dash, other = pair.partition("-")
        if not dash or not mine or not other:
            raise LossInputError(f"pairs are written student-teacher, e.g. {DEFAULT_PAIRS!r}; got {pair!r}.")
        wanted.append((mine, other))
    found = [pair for pair in wanted if pair[0] in known and pair[1] in known]
    return found or [(STANDARD, STANDARD)]


@dataclass(frozen=True)
class TransportRule:
    """How clouds are compared: cost name, entropic epsilon, scalings, and the function that finds the plan."""

    cost: str
    epsilon: float
    iterations: int
    transport: Any


def ot_term(
    mine: Version, other: Version, layer: int, projector: nn.Module, rule: TransportRule
) -> tuple[Tensor, Tensor]:
    """Mean over samples of the transport cost between answer rows, and what each student row pays float64 [B, T].

    Samples without rows on a side are left out. A row's payment is its share of the plan times the number of rows.
    """
    values = []
    places = torch.zeros(mine.student_mask.shape, dtype=torch.float64, device=mine.student_mask.device)
    for b in range(len(mine.student_mask)):
        x = mine.student.hidden[layer][b, mine.student_mask[b]]
        y = other.teacher.hidden[layer][b, other.teacher_mask[b]].detach()
        if len(x) and len(y):
            x, y = (z if z.dtype == torch.float64 else z.float() for z in (x, y))
            value, matrix, plan = sample_cost(x, projector(y.to(x.dtype)), rule)
            if not bool(torch.isfinite(value)):
                raise LossInputError(
                    f"the transport between hidden states isn't finite in sample {b} at layer {layer}: the states of a "
                    "model hold NaN or infinity there. Compute the model in float32 or bfloat16."
                )
            values.append(value)
            places[b, mine.student_mask[b]] = (plan * matrix).sum(dim=1).detach().double() * len(x)
    if not values:
        return mine.student.hidden[layer].sum() * 0, places
    return torch.stack(values).sum() / units.divisor("compared samples", len(values)), places


def sample_cost(x: Tensor, y: Tensor, rule: TransportRule) -> tuple[Tensor, Tensor, Tensor]:
    """Transport cost, cost matrix [n, m] and plan [n, m] between rows x [n, d] and y [m, d], uniform marginals."""
    matrix = COSTS[rule.cost](x, y)
    plan = rule.transport(matrix, rule.epsilon, rule.iterations)
    return transport_cost(plan, matrix), matrix, plan


def transport(matrix: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Entropic plan [n, m] for a cost matrix [n, m], uniform marginals, in the log domain.

    As in the public loop the teacher's side is scaled first, so that the student's marginals are exact at the end.
    """
    n, m = matrix.shape
    log_a, log_b = matrix.new_full((n,), -math.log(n)), matrix.new_full((m,), -math.log(m))
    return sinkhorn_plan(matrix.T, epsilon, iterations, log_b, log_a).T


def released_transport(matrix: Tensor, epsilon: float, iterations: int) -> Tensor:
    """The public program's loop on the kernel itself, checked for convergence at scalings 1, 51, ..."""
    n, m = matrix.shape
    kernel = torch.exp(-matrix / epsilon)
    a, b = matrix.new_full((n,), 1.0 / n), matrix.new_full((m,), 1.0 / m)
    u, v = a, b
    for step in range(1, iterations + 1):
        v = b / (kernel.T @ u + 1e-9)
        u = a / (kernel @ v + 1e-9)
        if step % 50 == 1 and float((v * (kernel.T @ u) - b).detach().abs().sum()) <= 1e-9:
            break
    return u[:, None] * (kernel * v[None])


def _cosine(x: Tensor, y: Tensor) -> Tensor:
    return 1.0 - torch.nn.functional.normalize(x, dim=-1) @ torch.nn.functional.normalize(y, dim=-1).T


def _attention(x: Tensor, y: Tensor) -> Tensor:
    return 1.0 - (x @ y.T / math.sqrt(x.shape[-1])).softmax(dim=-1)


def _euclidean(x: Tensor, y: Tensor) -> Tensor:
    # not torch.cdist: its gradient at distance 0 isn't defined
    return ((x[:, None] - y[None]).square().sum(dim=-1) + 1e-24).sqrt()


COSTS = {"cosine": _cosine, "attention": _attention, "euclidean": _euclidean}


def _choice(what: str, name: str, names: Sequence[str] | Mapping[str, Any]) -> str:
    if name not in names:
        raise unknown(what, name, names, LossInputError)
    return name
