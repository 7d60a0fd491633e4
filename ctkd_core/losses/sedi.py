"""SeDi: the teacher's top candidates, re-encoded for the student, sharpened or flattened to the teacher's entropy.

For each student row inside a two-sided group the K largest teacher logits are written into the student's vocabulary
(`parts/migrate.py`); a learnable omega weighs the student's own logits on the slots that were hit. The KL term pulls
the student to this pseudo target, the entropy term pulls the target's entropy to the teacher's.
Source: Wang et al., AAAI-26, eqs. 5-9. Open points of the paper are decided as follows: row 0 uses the teacher's last
prompt row, EOS means EOS, colliding candidates keep the larger logit, slots without a candidate have no probability,
omega is one number per student token, tau is not squared. Differs: omega begins at 0, see `OMEGA`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ctkd_core.errors import LossInputError
from ctkd_core.losses.base import (
    LossOutput,
    check_inputs,
    cross_entropy_term,
    finish,
    need_teacher,
    response_rows,
    uniform,
)
from ctkd_core.losses.batch import AlignedBatch
from ctkd_core.losses.engine import units
from ctkd_core.losses.engine.engine import Chunk, Term, compute_dtype
from ctkd_core.losses.facts import Count, mean, portion
from ctkd_core.losses.parts.migrate import MigratedRows, migrate

# From omega = 1 the target is so sharp that the entropy term flattens the student: in 40 steps held-out bits per byte
# went from 2.65 to 2.73 where plain top-K distillation, omega = 0, came to 1.82; in longer short runs it ends behind
# cross-entropy alone (1.321 against 1.213).
OMEGA = 0.0


class SediState(nn.Module):
    """What SeDi trains beside the student: omega float32 [Vs], the weight of the student's own logits in the target."""

    part = "omega"  # the name by which a run gives it a learning rate

    def __init__(self, student_vocab: int, omega: float = OMEGA):
        super().__init__()
        self.omega = nn.Parameter(torch.full((student_vocab,), float(omega)))


def make_state(student_vocab: int, *, omega: float = OMEGA, **_: object) -> SediState:
    """The state for a student whose logits are `student_vocab` wide; other options of the loss are ignored."""
    return SediState(student_vocab, omega)


def sedi_loss(
    student_logits: Tensor,
    teacher_logits: Tensor | None,
    batch: AlignedBatch,
    *,
    top_k: int = 100,
    ce_weight: float = 0.5,
    temperature: float = 2.0,
    entropy_weight: float = 1.0,
    omega: float | Tensor = OMEGA,
    strict_prefix: bool = False,
    detach_target: bool = False,
    state: SediState | None = None,
    variant: str = "clean",  # noqa: ARG001
    chunk_rows: int | None = None,
) -> LossOutput:
    """ce_weight * CE + (1 - ce_weight) * (KL + entropy_weight * entropy).

    KL       mean over rows with a target of KL(softmax(z / tau) || softmax(z_S / tau)), z = teacher logits on the hit
             slots + omega * z_S
    entropy  mean over the same rows of (H(softmax z) - H(softmax z_T))^2, nats, temperature 1

    omega: a number, a scalar or a [Vs] tensor (learns if it wants a gradient); `state` takes precedence.
    student_logits [B, Ts, Vs], teacher_logits [B, Tt, Vt]; `batch` must hold both tokenizers. Rows outside groups, or
    whose candidates can't be written, learn from CE alone. Raises LossInputError.
    """
    teacher = need_teacher("sedi", teacher_logits)
    check_inputs(student_logits, teacher, batch)
    width = student_logits.shape[-1]
    if batch.student is None or batch.teacher is None:
        raise LossInputError(
            "loss 'sedi' re-encodes tokens: pass both tokenizers to collate(samples, student, teacher)."
        )
    units.needs_logits()
    dtype = compute_dtype(student_logits, teacher)
    rows = response_rows(batch.student_labels)
    target = migrate(teacher, rows, batch, width, top_k, strict_prefix, dtype)
    weights = _omega_vector(omega if state is None else state.omega, width, dtype, student_logits.device)
    learns = torch.is_grad_enabled() and weights.requires_grad
    gradient = torch.zeros_like(weights) if learns else None
    kernel = _Kernel(target, weights.detach(), temperature, detach_target, gradient)
    share = 1.0 - ce_weight
    distil = Term(
        ("kl", "entropy"),
        (share, share * entropy_weight),
        uniform(rows, target.used),
        kernel,
        (weights,) if learns else (),
        () if gradient is None else (gradient,),
        scratch=16 * 4 * target.slots.shape[1],  # some tables [rows, K] in float32
    )
    terms = [cross_entropy_term(rows, ce_weight), distil]
    out = finish(student_logits, rows, terms, batch, teacher_logits=teacher, chunk_rows=chunk_rows)
    return LossOutput(out.loss, out.terms, out.per_group, _diagnostics(target, weights))


def _omega_vector(omega: float | Tensor, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    if not isinstance(omega, Tensor):
        return torch.tensor(float(omega), dtype=dtype, device=device).expand(width)
    if omega.ndim > 1 or omega.numel() not in (1, width):
        raise LossInputError(
            f"omega must be a number or one weight for each of the student's {width} logits; got a tensor of shape "
            f"{list(omega.shape)}. Make it with make_state('sedi', {width})."
        )
    return omega.to(dtype).expand(width)


def _diagnostics(target: MigratedRows, omega: Tensor) -> dict[str, float]:
    used = target.used
    candidates, slots = target.candidates[used].sum(), target.hit[used].sum()
    return {
        "rows": Count(len(used)),
        "target_rows": Count(used.sum()),
        "top1_accuracy": mean(target.top1_correct[used]),
        "migration_collision_rate": portion(candidates - slots, candidates),
        "top_k_mass": mean(target.top_k_mass[used]),
        "migrated_mass": mean(target.migrated_mass[used]),
        "one_hot_share": mean(target.hit[used].sum(dim=1) == 1),
        "omega_mean": mean(omega.detach()),
    }


@dataclass(frozen=True)
class _Kernel:
    """KL and entropy of each row on its hit slots, analytic gradients for the logits and omega."""

    target: MigratedRows
    omega: Tensor  # [Vs]
    temperature: float
    detach_target: bool
    omega_gradient: Tensor | None

    def __call__(self, chunk: Chunk, weight: Tensor) -> Tensor:
        slots, hit = self.target.slots[chunk.rows], self.target.hit[chunk.rows]
        if not slots.shape[1]:
            return torch.zeros_like(weight)
        tau = self.temperature
        normaliser = chunk.normaliser(tau)
        z = chunk.at(slots)
        omega = self.omega[slots]
        pseudo = (self.target.logits[chunk.rows] + omega * z).masked_fill(~hit, -torch.inf)
        log_p, log_h = (pseudo / tau).log_softmax(1), pseudo.log_softmax(1)
        p, h = log_p.exp(), log_h.exp()
        gap = (log_p - z / tau).masked_fill(~hit, 0.0)  # log p - log q, but for the normaliser of q
        log_h = log_h.masked_fill(~hit, 0.0)
        inner = (p * gap).sum(dim=1, keepdim=True)
        entropy = -(h * log_h).sum(dim=1, keepdim=True)
        excess = entropy - self.target.entropy[chunk.rows, None]
        if chunk.learns:
            w_kl, w_entropy = weight[:, :1] / tau, weight[:, 1:]
            through_target = w_kl * p * (gap - inner) - w_entropy * 2.0 * excess * h * (log_h + entropy)
            through_student = -w_kl * p
            if not self.detach_target:
                through_student = through_student + through_target * omega
            chunk.add_softmax(w_kl[:, 0], tau)
            chunk.add_at(slots, through_student)
            if self.omega_gradient is not None:
                self.omega_gradient.index_add_(0, slots.flatten(), (through_target * z).flatten())
        return torch.cat([inner + normaliser[:, None], excess.square()], dim=1)
