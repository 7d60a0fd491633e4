"""`python -m ctkd_core` is `ctkd`, whose process begins here, too."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

CANCELLED = 130


def main() -> int:
    """The command line as a whole process: Ctrl-C ends it in a sentence, or quietly, and never in a traceback.

    While modules are loaded, and when the answer is out, there is nothing to undo or to say. In between the command
    line answers; a second Ctrl-C ends that.
    """
    # Where the caller has it ignored (a job in the background of a script), it stays so.
    heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    try:
        if heeded:
            signal.signal(signal.SIGINT, _leave)
        from ctkd_core.cli.main import main as command_line

        if heeded:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        code = command_line()
    except KeyboardInterrupt:
        code = CANCELLED
    if heeded:
        signal.signal(signal.SIGINT, _leave)
    # Where Ctrl-C came while a library ran Python that it keeps as text (named tuples, enums), `python -m` ends by the
    # signal, whatever caught it, unless another text was run since: its exit code would be -2.
    eval("0")  # noqa: S307
    return code


def _leave(*_: object) -> NoReturn:
    os._exit(CANCELLED)


if __name__ == "__main__":
    sys.exit(main())
