"""The child process: `python -m ctkd_core.tokenizers.child_main TASK PATHS`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ctkd_core.tokenizers import checks


def main(arguments: Sequence[str]) -> None:
    """The child: convert one file, try one file, or compare AutoTokenizer with a tokenizer.json."""
    what, *paths = arguments
    if what in checks.CHILD_TASKS:
        sys.stdout.write(json.dumps(checks.CHILD_TASKS[what](Path(paths[0]))))
        return
    from ctkd_core.tokenizers.conversion import CONVERTERS

    CONVERTERS[what](Path(paths[0]), Path(paths[1]))


if __name__ == "__main__":
    main(sys.argv[1:])
