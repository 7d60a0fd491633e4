"""How long a run may take to stop: it ends behind the step under way, and keeps a checkpoint first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ctkd_core.background.processes import GRACE_SECONDS
from ctkd_core.distill.estimate import checkpoint_bytes
from ctkd_core.errors import RunError

if TYPE_CHECKING:
    from ctkd_core.distill.runs import Run

AT_ONCE = 1.0  # seconds of grace for a process that nobody wants to wait for
LONGEST = 600.0  # seconds that a run has at most, however long its steps take
LOOKED_AT = 5  # the newest steps
CHECKPOINT_BYTES_PER_SECOND = 2e7  # written, hashed and put on a slow disk; 9e7 were seen on a busy machine


def pace(run: Run) -> float | None:
    """Seconds that a step of a run's latest attempt takes; None before the first one, and for damaged metrics."""
    with suppress(RunError):
        return step_seconds(run.metrics_part().rows, run.status().attempt)
    return None


def step_seconds(rows: Iterable[Mapping[str, Any]], attempt: int) -> float | None:
    """Seconds that the slowest of the newest steps took, with what stood between them; None before the first one.

    rows     of metrics.jsonl, as they were written
    attempt  whose steps count: earlier ones tell nothing of what stands between. Which they are is told by the row with
             which it began, as clocks may be set
    """
    done: list[Mapping[str, Any]] = []
    begun = attempt == 1
    for row in rows:
        if row.get("kind") == "resume":
            done, begun = [], row.get("attempt", attempt) == attempt
        elif row.get("kind") == "train" and isinstance(row.get("time"), int | float):
            done.append(row)
    done = done[-LOOKED_AT - 1 :] if begun else []
    between = [later["time"] - sooner["time"] for sooner, later in pairwise(done) if later["time"] >= sooner["time"]]
    if between:
        return float(max(between))
    return float(done[-1].get("seconds") or 0.0) if done else None


def grace(run: Run) -> float:
    """Seconds that a run has to stop: once it has a step to keep, for two steps and for writing a checkpoint, too."""
    seconds = pace(run)
    if seconds is None:
        return GRACE_SECONDS
    written = checkpoint_bytes(run.config.replace(save_every=0, save_student=False)) / CHECKPOINT_BYTES_PER_SECOND
    return min(LONGEST, GRACE_SECONDS + 2 * seconds + written)
