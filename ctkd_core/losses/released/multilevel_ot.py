"""MultiLevelOT as its public program computes it: plain torch on whole tensors, for comparison and short runs.

What differs from the paper: logits are divided by their standard deviation over the vocabulary; columns are ranked over
the whole batch; HAD is a mean over rows; the cross-entropy term has student and teacher exchanged and takes a soft-max
of probabilities; padded rows of zeros take part in it and in the Sinkhorn term, which is scaled by 0.001; the greedy
matching looks at few columns (see `_greedy`). Source: 2018cx/Multi-Level-OT at 712cfb4.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ctkd_core.errors import LossInputError
from ctkd_core.losses.base import LossOutput
from ctkd_core.losses.batch import IGNORE, AlignedBatch
from ctkd_core.losses.engine import units
from ctkd_core.losses.parts.settings import MultiLevelOtSettings
from ctkd_core.losses.parts.transport import sinkhorn_plan

STD_EPSILON, SD_FACTOR = 1e-4, 0.001


@dataclass(frozen=True)
class Answers:
    """Kept columns of both sides, zero rows behind the shorter answers, and the distances."""

    student: Tensor  # [B, T, k]
    teacher: Tensor
    spans: tuple[list[tuple[int, int]], list[tuple[int, int]]]  # (start row, size) of each sample, student and teacher
    had: Tensor  # [B]
    sl: Tensor
    sd: Tensor  # SD_FACTOR in it

    def distillation(self, sl_weight: float = 0.1, sd_weight: float = 0.1) -> Tensor:
        """mean_b(HAD + sl_weight * SL) + sd_weight * SD."""
        return (self.had + sl_weight * self.sl).mean() + sd_weight * self.sd


def answer_rows(labels: Tensor, skip_eos: bool) -> list[tuple[int, int]]:
    """First row (the one that predicts the first label) and number of rows of each sample.

    The program takes row 0 for a label at position 0, which nothing predicts, and as many rows as there are labels,
    gaps or not.
    """
    found = []
    for row in labels:
        learnt = row != IGNORE
        size = int(learnt.sum()) - int(skip_eos)
        found.append((max(0, int(learnt.int().argmax()) - 1) if bool(learnt.any()) else 0, max(0, size)))
    return found


def answers(
    student: Tensor, teacher: Tensor, student_labels: Tensor, teacher_labels: Tensor, settings: MultiLevelOtSettings,
    top_k: int, matching: str,
) -> Answers:  # fmt: skip
    """The released computation on logits [B, T, V] and labels int64 [B, T] of both sides."""
    labels = student_labels, teacher_labels
    spans = answer_rows(labels[0], settings.skipped[0]), answer_rows(labels[1], settings.skipped[1])
    width = max((size for side in spans for _, size in side), default=0)
    s, t = (
        _spread(_softmax(z, tau), of, width) for z, tau, of in zip((student, teacher), settings.temperatures, spans)
    )
    s, t = _rank(s, t, top_k, matching)
    k = max(s.shape[-1], t.shape[-1])
    s, t = (torch.nn.functional.pad(x, (0, k - x.shape[-1])) for x in (s, t))
    had = []
    for b, ((_, n), (_, m)) in enumerate(zip(*spans)):
        size = min(n, m)
        had.append((s[b, :size] - t[b, :size]).abs().sum(dim=-1).mean() if size else s[b].sum() * 0)
    sl = -(s.softmax(dim=-1) * t.log_softmax(dim=-1)).sum(dim=-1).mean()
    soft_s, soft_t = ((x / settings.sd_temperature).softmax(dim=-1) for x in (s, t))
    cost = torch.cdist(soft_t, soft_s, p=1)
    plan = sinkhorn_plan(cost, settings.sinkhorn_epsilon, settings.sinkhorn_iterations)
    return Answers(s, t, spans, torch.stack(had), sl, SD_FACTOR * (plan * cost).sum())


def _softmax(z: Tensor, temperature: float) -> Tensor:
    return (z / (z.std(dim=-1, keepdim=True) + STD_EPSILON) / temperature).softmax(dim=-1)


def _spread(p: Tensor, spans: list[tuple[int, int]], width: int) -> Tensor:
    """Each answer's rows from index 0 on, zeros behind them, [B, width, V]."""
    rows = []
    for b, (start, size) in enumerate(spans):
        own = p[b, start : start + size]
        rows.append(torch.nn.functional.pad(own, (0, 0, 0, width - len(own))))
    return torch.stack(rows)


def _rank(s: Tensor, t: Tensor, top_k: int, matching: str) -> tuple[Tensor, Tensor]:
    """The first columns by probability summed over the batch; "greedy" matches the student's to the teacher's.

    Raises LossInputError for "exact", which the program doesn't have.
    """
    if matching == "exact":
        raise LossInputError(
            "the released program has no exact matching; choose 'rank' or 'greedy', or variant 'clean'."
        )
    with torch.no_grad():
        t_order = t.sum(dim=(0, 1)).argsort(descending=True)
        s_order = s.sum(dim=(0, 1)).argsort(descending=True)
    t = t[..., t_order[:top_k]]
    return (s[..., s_order[:top_k]] if matching == "rank" else _greedy(s, t)), t


def _greedy(s: Tensor, t: Tensor) -> Tensor:
    """Student columns for the ranked teacher columns t [B, T, k] of each sample, zeros where none is assigned.

    The program takes the number of positions for the number of columns: the first T teacher columns choose, and only
    among the student's first T ids. (It stops with an error where T is more than k; here k columns choose then.)
    """
    free = min(s.shape[1], s.shape[-1])
    count = min(free, t.shape[-1])
    matched = []
    for own, other in zip(s, t):
        with torch.no_grad():
            distance = torch.cdist(other[:, :count].T, own[:, :free].T, p=1)
            chosen: list[int] = []
            for row in distance:
                row[chosen] = torch.inf
                chosen.append(int(row.argmin()))
        matched.append(own[:, chosen])
    return torch.nn.functional.pad(torch.stack(matched), (0, t.shape[-1] - count))


def released_loss(
    student_logits: Tensor, teacher: Tensor, batch: AlignedBatch, settings: MultiLevelOtSettings, ce_weight: float,
    top_k: int, matching: str,
) -> LossOutput:  # fmt: skip
    """ce_weight * CE + (1 - ce_weight) * the released distillation; values per group are HAD's and CE's only."""
    from ctkd_core.losses.sft import sft_loss

    ce = sft_loss(student_logits, None, batch)
    if not bool((batch.student_labels != IGNORE).any()) or not bool((batch.teacher_labels != IGNORE).any()):
        return replace(ce, loss=ce_weight * ce.loss)
    found = answers(
        student_logits.float() if student_logits.dtype != torch.float64 else student_logits, teacher.to(student_logits),
        batch.student_labels, batch.teacher_labels, settings, top_k, matching,
    )  # fmt: skip
    distillation = found.distillation(settings.sl_weight, settings.sd_weight) * units.share("samples", len(batch))
    terms = {"ce": ce.terms["ce"], "had": found.had.mean().detach(), "sl": found.sl.detach(), "sd": found.sd.detach()}
    loss = ce_weight * ce.loss + (1.0 - ce_weight) * distillation
    return LossOutput(loss, terms, ce_weight * ce.per_group, {"rows": ce.diagnostics.get("rows", 0.0)})
