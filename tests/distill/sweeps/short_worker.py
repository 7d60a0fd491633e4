"""A worker that does all that the real one does, but trains nothing: `python -m tests.distill.sweeps.short_worker`."""

from __future__ import annotations

import sys
from types import ModuleType

from ctkd_core.distill import runs, worker

NAME = "tests.distill.sweeps.short_worker"

if __name__ == "__main__":
    runs.WORKER = NAME  # what this process starts is of its kind
    session = ModuleType("ctkd_core.distill.session")
    session.train = lambda run, attempt: run.config.steps  # type: ignore[attr-defined]
    sys.modules[session.__name__] = session
    sys.exit(worker.main())
