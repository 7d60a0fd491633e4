"""Options of the families that have a released twin, read by the clean and by the released form alike."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CdmSettings:
    """The options of `cdm_loss`."""

    ce_weight: float
    temperature: float
    top_k: int
    threshold: float
    merge: str
    normaliser: str


@dataclass(frozen=True)
class MultiLevelOtSettings:
    """Weights and constants of the three distances; defaults of the paper."""

    sl_weight: float = 0.1
    sd_weight: float = 0.1
    sd_temperature: float = 2.0
    sinkhorn_epsilon: float = 0.1
    sinkhorn_iterations: int = 20
    reduction: str = "mean"
    temperatures: tuple[float, float] = (1.0, 1.0)  # of student and teacher, in the first two distances
    skipped: tuple[bool, bool] = (False, False)  # whether the last answer token of student and teacher is left out
