"""The command line, stopped while a run measures what its last step made: a process of tests/distill/training.

python -m tests.distill.training.stopped_in_two distill config.json --runs-dir folder
"""

from __future__ import annotations

import sys

from ctkd_core.cli.main import main
from ctkd_core.distill import worker
from ctkd_core.distill.runs import Run

execute = worker.execute


def stopped(run: Run) -> int:
    """Execute it until then."""
    return execute(run, lambda: "Measuring the trained" in run.status().message)


if __name__ == "__main__":
    worker.execute = stopped  # type: ignore[assignment]
    sys.exit(main())
