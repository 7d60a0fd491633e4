"""`python -m ctkd_core` is `ctkd`."""

from __future__ import annotations

import sys

from ctkd_core.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
