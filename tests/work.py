"""What an action costs without a clock: how many lines of the product's Python it runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

CORE = str(Path(__file__).resolve().parents[1] / "ctkd_core")


def lines_run(action: Callable[[], object]) -> int:
    """Lines of ctkd_core that run in this thread while `action` does; a loop's line counts once a turn.

    The same on every machine, so two sizes can be compared. What compiled code does in one line isn't seen.
    """
    lines = 0

    def line(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return line

    def enter(frame: FrameType, event: str, _: Any) -> Any:
        return line if frame.f_code.co_filename.startswith(CORE) else None

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        action()
    finally:
        sys.settrace(before)
    return lines
