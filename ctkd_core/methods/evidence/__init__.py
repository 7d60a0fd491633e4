"""What the experiments found, as one document that comes with the package: which method for which kind of pair."""

from __future__ import annotations

from ctkd_core.methods.evidence.records import (
    KINDS,
    REGIMES,
    Claim,
    Condition,
    Difference,
    Digest,
    Experiment,
    Interval,
    SettingName,
    SharedSetting,
    Spread,
    Table,
    Tried,
    TriedRun,
    Verdict,
    verdict_of,
)
from ctkd_core.methods.evidence.store import PATH, EvidenceError, load, read

__all__ = [
    "KINDS",
    "PATH",
    "REGIMES",
    "Claim",
    "Condition",
    "Difference",
    "Digest",
    "EvidenceError",
    "Experiment",
    "Interval",
    "SettingName",
    "SharedSetting",
    "Spread",
    "Table",
    "Tried",
    "TriedRun",
    "Verdict",
    "load",
    "read",
    "verdict_of",
]
