"""MultiLevelOT: compare a few columns, ranked over the whole answer, by token, by logarithm and by sequence.

One permutation serves the whole answer: the teacher's columns by their probability summed over the answer, the
student's matched to them. On the first k columns three distances are taken: the L1 of each pair of rows (HAD), a
cross-entropy of the teacher's probabilities (SL), and a Sinkhorn distance between the rows of both answers (SD).
Source: Cui et al. 2024 (arXiv 2412.14528). The released program differs in five places, see
`released/multilevel_ot.py`; here HAD and SL are means over tokens rather than the paper's sums, so that the weight does
not depend on the length of an answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ctkd_core.errors import LossInputError
from ctkd_core.losses.base import (
    LossOutput,
    Rows,
    check_inputs,
    cross_entropy_term,
    finish,
    need_teacher,
    response_rows,
)  # fmt: skip
from ctkd_core.losses.batch import IGNORE, AlignedBatch
from ctkd_core.losses.engine import units
from ctkd_core.losses.engine.engine import Buffers, Chunk, Term, compute_dtype, rows_per_chunk, softmax
from ctkd_core.losses.facts import Count, mean
from ctkd_core.losses.parts.pairing import kth_learnt
from ctkd_core.losses.parts.settings import MultiLevelOtSettings
from ctkd_core.losses.parts.transport import sinkhorn_plan

EXACT_COLUMNS = 4096  # beyond it an exact assignment takes hours


def multilevel_ot_loss(
    student_logits: Tensor,
    teacher_logits: Tensor | None,
    batch: AlignedBatch,
    *,
    ce_weight: float = 0.5,
    temperature: float = 1.0,
    teacher_temperature: float | None = None,
    top_k: int = 50,
    matching: str = "rank",
    sl_weight: float = 0.1,
    sd_weight: float = 0.1,
    sd_temperature: float = 2.0,
    sinkhorn_epsilon: float = 0.1,
    sinkhorn_iterations: int = 20,
    reduction: str = "mean",
    skip_student_eos: bool = False,
    skip_teacher_eos: bool = False,
    variant: str = "clean",
    chunk_rows: int | None = None,
) -> LossOutput:
    """ce_weight * CE + (1 - ce_weight) * (HAD + sl_weight * SL + sd_weight * SD), mean over samples with an answer.

    Rows face each other by index within the answer, the longer side cut. On the k columns:
      HAD  sum_i |t_i - s_i| of a pair of rows      SL  -sum_i t_i log s_i
      SD   sum of plan * cost, cost[i, j] = sum_l |t_l(i) - s_l(j)| at `sd_temperature` on columns ranked there;
           divided by the number of rows with reduction "mean"
    HAD and SL: mean over the rows, or their sum with reduction "sum" (the paper).

    temperature  of both sides in HAD and SL; of the teacher's: `teacher_temperature`, where it is given
    skip_student_eos, skip_teacher_eos  leave out the last answer token of that side, whatever it is (the released
                                        program the student's: the method's table has its defaults)
    matching  "rank": the i-th largest column of either side; "greedy": for each teacher column the free student column
              of least L1 distance; "exact": the best permutation (vocabularies up to 4,096)
    variant   "released": the released program, plain torch, logits of the whole batch at once; it knows neither
              matching "exact" nor `reduction`
    student_logits [B, Ts, Vs], teacher_logits [B, Tt, Vt]. Raises LossInputError.
    """
    teacher = need_teacher("multilevel_ot", teacher_logits)
    check_inputs(student_logits, teacher, batch)
    temperatures = temperature, teacher_temperature or temperature
    skipped = skip_student_eos, skip_teacher_eos
    settings = MultiLevelOtSettings(
        sl_weight, sd_weight, sd_temperature, sinkhorn_epsilon, sinkhorn_iterations, reduction, temperatures, skipped
    )
    if variant == "released":
        from ctkd_core.losses.released.multilevel_ot import released_loss

        return released_loss(student_logits, teacher, batch, settings, ce_weight, top_k, matching)
    dtype = compute_dtype(student_logits, teacher)
    rows = response_rows(batch.student_labels)
    facing = face(rows, batch, skipped)
    columns = [
        rank_columns(student_logits, teacher, facing, len(batch), top_k, matching, taus, dtype, chunk_rows)
        for taus in dict.fromkeys((temperatures, (sd_temperature, sd_temperature)))
    ]
    if facing.n:
        parts = _distances(student_logits, teacher, facing, columns, settings, dtype, chunk_rows, len(rows))
    else:
        parts = _nothing(len(rows), student_logits, dtype)
    share = 1.0 - ce_weight
    names, coefficients = ("had", "sl", "sd"), (share, share * sl_weight, share * sd_weight)
    slopes = [share * s for s in parts.slopes]
    terms = [
        cross_entropy_term(rows, ce_weight),
        gathered_term(names, coefficients, parts.norm, parts.values, parts.columns[0], slopes[0], temperature),
        # SD's gradient: it reads columns and a temperature of its own
        gathered_term((), (), parts.norm, parts.values[:, :0], parts.columns[1], slopes[1], sd_temperature),
    ]
    out = finish(student_logits, rows, terms, batch, teacher_logits=teacher, chunk_rows=chunk_rows)
    facts = {"rows": Count(len(rows)), "paired_rows": Count(facing.n), "kept_mass": parts.kept_mass}
    return LossOutput(out.loss, out.terms, out.per_group, facts)


@dataclass(frozen=True)
class Facing:
    """Rows that face each other, n in all, by sample: engine row, flat row of the student, of the teacher, sample."""

    engine: Tensor
    student: Tensor
    teacher: Tensor
    sample: Tensor

    @property
    def n(self) -> int:
        """Number of pairs."""
        return len(self.engine)


def face(rows: Rows, batch: AlignedBatch, skipped: tuple[bool, bool] = (False, False)) -> Facing:
    """Pair the k-th answer token of either side where a row predicts both; `skipped`: without the last one of student
    and teacher."""
    learnt = [labels != IGNORE for labels in (batch.student_labels, batch.teacher_labels)]
    index = learnt[0].cumsum(dim=1)[rows.sample, rows.position] - 1
    own, other = ((x.sum(dim=1) - int(skip))[rows.sample] for x, skip in zip(learnt, skipped))
    position = kth_learnt(learnt[1], rows.sample, index)
    engine = ((index < own) & (index < other) & (position >= 1)).nonzero().squeeze(1)
    sample = rows.sample[engine]
    teacher = sample * batch.teacher_labels.shape[1] + position[engine] - 1
    return Facing(engine, rows.flat[engine], teacher, sample)


def rank_columns(
    student_logits: Tensor, teacher: Tensor, facing: Facing, n_samples: int, top_k: int, matching: str,
    temperatures: tuple[float, float], dtype: torch.dtype, chunk_rows: int | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """int64 [B, k] student and teacher columns of each sample, k = min(top_k, Vs, Vt); no gradient.

    temperatures: of student and teacher.
    """
    student = student_logits.detach()
    k = min(top_k, student.shape[-1], teacher.shape[-1])
    t_sums = _column_sums(teacher, facing.teacher, facing.sample, n_samples, temperatures[1], dtype, chunk_rows)
    t_columns = t_sums.sort(dim=1, descending=True, stable=True).indices[:, :k]
    if matching == "rank":
        s_sums = _column_sums(student, facing.student, facing.sample, n_samples, temperatures[0], dtype, chunk_rows)
        return s_sums.sort(dim=1, descending=True, stable=True).indices[:, :k], t_columns
    if matching == "exact" and max(student.shape[-1], teacher.shape[-1]) > EXACT_COLUMNS:
        raise LossInputError(
            f"matching 'exact' solves an assignment of {student.shape[-1]} by {teacher.shape[-1]} columns; it is meant "
            f"for up to {EXACT_COLUMNS}. Use 'rank' or 'greedy'."
        )
    s_columns = torch.zeros_like(t_columns)
    for b in range(n_samples):
        mine = facing.sample == b
        if bool(mine.any()):
            p = _softmax_rows(student, facing.student[mine], temperatures[0], dtype)
            q = _softmax_rows(teacher, facing.teacher[mine], temperatures[1], dtype)
            s_columns[b] = (_exact if matching == "exact" else _greedy)(p, q, t_columns[b])
    return s_columns, t_columns


def _column_sums(
    logits: Tensor, rows: Tensor, sample: Tensor, n_samples: int, tau: float, dtype: torch.dtype, chunk_rows: int | None
) -> Tensor:
    """[B, V]: probability of each column summed over the rows of a sample."""
    buffers = Buffers(logits.device, dtype)
    out = torch.zeros(n_samples, logits.shape[-1], dtype=dtype, device=logits.device)
    step = rows_per_chunk(logits.shape[-1], logits.device, chunk_rows)
    for begin in range(0, len(rows), step):
        z = buffers.read("logits", logits, rows[begin : begin + step])
        out.index_add_(0, sample[begin : begin + step], softmax(z, tau, buffers, "softmax")[0])
    return out


def _softmax_rows(logits: Tensor, rows: Tensor, temperature: float, dtype: torch.dtype) -> Tensor:
    return (logits.reshape(-1, logits.shape[-1])[rows].to(dtype) / temperature).softmax(dim=-1)


def _greedy(p: Tensor, q: Tensor, t_columns: Tensor) -> Tensor:
    """For each teacher column, in order, the free column of p [T, Vs] at the least L1 distance to it."""
    free = torch.zeros(p.shape[1], dtype=p.dtype, device=p.device)
    chosen = []
    for column in t_columns.tolist():
        distance = (p - q[:, column, None]).abs().sum(dim=0) + free
        chosen.append(int(distance.argmin()))
        free[chosen[-1]] = torch.inf
    return torch.tensor(chosen, device=p.device)


def _exact(p: Tensor, q: Tensor, t_columns: Tensor) -> Tensor:
    """Student columns of p [T, Vs], one for each of the teacher's kept columns, of least total L1 distance."""
    from scipy.optimize import linear_sum_assignment

    cost = torch.cdist(q[:, t_columns].T.double(), p.T.double(), p=1).cpu().numpy()
    return torch.from_numpy(linear_sum_assignment(cost)[1].astype(np.int64)).to(p.device)


@dataclass(frozen=True)
class _Parts:
    """Values [R, 3], norm [R], and of both temperatures the columns [R, k] and slopes [R, k]."""

    values: Tensor
    norm: Tensor
    columns: tuple[Tensor, ...]
    slopes: tuple[Tensor, ...]
    kept_mass: float


def _nothing(n: int, logits: Tensor, dtype: torch.dtype) -> _Parts:
    empty = torch.zeros(n, 1, dtype=dtype, device=logits.device)
    norm = torch.zeros(n, dtype=torch.float64, device=logits.device)
    return _Parts(empty.expand(n, 3), norm, (empty.long(),) * 2, (empty,) * 2, 0.0)


def _distances(
    student_logits: Tensor, teacher: Tensor, facing: Facing, columns: Sequence[tuple[Tensor, Tensor]],
    settings: MultiLevelOtSettings, dtype: torch.dtype, chunk_rows: int | None, n_rows: int,
) -> _Parts:  # fmt: skip
    """The three distances of each sample and their slopes, in plain torch on the kept columns."""
    student = student_logits.detach()
    own_taus, other_taus = ((tau, settings.sd_temperature) for tau in settings.temperatures)
    s_columns, t_columns = zip(
        *((own[facing.sample], other[facing.sample]) for own, other in (columns[0], columns[-1]))
    )
    own, own_sd = (
        gather_log_probs(student, facing.student, at, tau, dtype, chunk_rows) for at, tau in zip(s_columns, own_taus)
    )
    other, other_sd = (
        gather_log_probs(teacher, facing.teacher, at, tau, dtype, chunk_rows) for at, tau in zip(t_columns, other_taus)
    )
    samples, counts = facing.sample.unique_consecutive(return_counts=True)
    weights = torch.tensor([1.0, settings.sl_weight, settings.sd_weight], dtype=dtype, device=student.device)
    values, factors = [], []
    with torch.enable_grad():
        leaves = own.requires_grad_(), own_sd.requires_grad_()
        total = torch.zeros((), dtype=dtype, device=student.device)
        n_samples = units.divisor("samples", len(samples))
        for part in _slices(counts):
            value = _row_values(own[part], other[part], own_sd[part], other_sd[part], settings)
            length = part.stop - part.start if settings.reduction == "mean" else 1
            factors.append(torch.full((len(value),), 1.0 / (n_samples * length), dtype=torch.float64))
            total = total + (value * weights).sum() / (n_samples * length)
            values.append(value.detach())
        slopes = torch.autograd.grad(total, leaves)

    def placed(x: Tensor) -> Tensor:
        return x.new_zeros(n_rows, *x.shape[1:]).index_copy_(0, facing.engine, x)

    norm = torch.cat(factors).to(student.device)
    kept = mean(own.detach().exp().sum(dim=1))
    return _Parts(
        placed(torch.cat(values)), placed(norm), tuple(map(placed, s_columns)), tuple(map(placed, slopes)), kept
    )


def _slices(counts: Tensor) -> Iterator[slice]:
    start = 0
    for count in counts.tolist():
        yield slice(start, start + count)
        start += count


def _row_values(
    log_s: Tensor, log_t: Tensor, log_s_sd: Tensor, log_t_sd: Tensor, settings: MultiLevelOtSettings
) -> Tensor:
    """[T, 3]: HAD, SL and the share of SD of each student row, from log-probabilities [T, k] of one sample."""
    s, t = log_s.exp(), log_t.exp()
    had = (t - s).abs().sum(dim=1)
    sl = -(t * log_s).sum(dim=1)
    cost = torch.cdist(log_t_sd.exp(), log_s_sd.exp(), p=1)
    plan = sinkhorn_plan(cost, settings.sinkhorn_epsilon, settings.sinkhorn_iterations)
    return torch.stack([had, sl, (plan * cost).sum(dim=0)], dim=1)


def gather_log_probs(
    logits: Tensor,
    rows: Tensor,
    columns: Tensor,
    temperature: float,
    dtype: torch.dtype,
    chunk_rows: int | None = None,
) -> Tensor:
    """[n, k]: log softmax(logits[row] / temperature) at columns int64 [n, k], for rows int64 [n] of [..., V]."""
    buffers = Buffers(logits.device, dtype)
    out = torch.empty(columns.shape, dtype=dtype, device=logits.device)
    step = rows_per_chunk(logits.shape[-1], logits.device, chunk_rows)
    for begin in range(0, len(rows), step):
        span = slice(begin, begin + step)
        z = buffers.read("logits", logits, rows[span])
        _, normaliser = softmax(z, temperature, buffers, "softmax")
        torch.sub(z.gather(1, columns[span]) / temperature, normaliser[:, None], out=out[span])
    return out


@dataclass(frozen=True)
class _GatheredKernel:
    """Known values [R, n]; the gradient reaches the rows through log-probabilities at columns [R, k]."""

    values: Tensor
    columns: Tensor
    slope: Tensor
    temperature: float

    def __call__(self, chunk: Chunk, weight: Tensor) -> Tensor:  # noqa: ARG002 - the slope is weighted already
        span = chunk.rows
        if chunk.gradient is not None:
            p, _ = chunk.softmax(self.temperature)
            slope = self.slope[span] / self.temperature
            chunk.gradient.scatter_add_(1, self.columns[span], slope)
            chunk.gradient.addcmul_(p, -slope.sum(dim=1, keepdim=True))
        return self.values[span]


def gathered_term(
    names: tuple[str, ...],
    coefficients: tuple[float, ...],
    norm: Tensor,
    values: Tensor,
    columns: Tensor,
    slope: Tensor,
    temperature: float,
    owner: Tensor | None = None,
) -> Term:
    """A term of known values [R, n] whose gradient reaches the rows through log-probabilities at columns [R, k].

    slope: [R, k], d loss / d log p with all factors in it (0 where a row says nothing).
    """
    return Term(names, coefficients, norm, _GatheredKernel(values, columns, slope, temperature), owner=owner)
