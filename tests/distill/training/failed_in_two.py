"""The command line, whose first process fails while it measures what the last step made.

python -m tests.distill.training.failed_in_two distill config.json --runs-dir folder
"""

from __future__ import annotations

import sys

from ctkd_core.cli.main import main
from ctkd_core.distill import session
from ctkd_core.distill.session import Session
from ctkd_core.errors import RunError


def measure(own: Session, step: int, last: bool = False) -> None:
    """Nothing, and no room where the first process measures the last step."""
    if own.leads and last:
        raise RunError("no room")


if __name__ == "__main__":
    session.measure = measure  # type: ignore[assignment]
    sys.exit(main())
