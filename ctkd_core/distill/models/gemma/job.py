"""Preparing Gemma as a job (`ctkd_core.background.lifecycle`), so that a page shows progress and can cancel.

The process is `python -m ctkd_core.distill.models.gemma.job FOLDER`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic.dataclasses import dataclass as record

from ctkd_core import files
from ctkd_core.background.attempt import work
from ctkd_core.background.lifecycle import Job
from ctkd_core.background.progress import Progress
from ctkd_core.background.status import RECORD
from ctkd_core.distill.models.gemma.prepare import prepare
from ctkd_core.errors import CtkdError

WORKER = "ctkd_core.distill.models.gemma.job"


@record(frozen=True, config=RECORD)
class Order:
    """What the process is told: that the terms were accepted."""

    accepted: bool


def job() -> Job:
    """The one job there is."""
    return Job(files.cache_dir() / "gemma")


def start(accepted: bool) -> Job:
    """Prepare Gemma in the background, or join who does. Raises CtkdError unless the terms were accepted."""
    if not accepted:
        raise CtkdError("Accept the terms first.")
    found = job()
    found.start(WORKER, Order(accepted=True))
    return found


def _prepare(order: Order, folder: Path, report: Progress) -> str:  # noqa: ARG001
    prepare(order.accepted, report=report)
    return "Gemma is ready."


if __name__ == "__main__":
    sys.exit(work(sys.argv[1:], _prepare, Order))
