"""Progress on stderr: a bar for preparations, one line per news for runs."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from ctkd_core.cli.common import CANCELLED, OK, RUN_FAILED, say

if TYPE_CHECKING:
    from ctkd_core.distill.runs import Run, RunStatus

CODES = {"finished": OK, "cancelled": CANCELLED, "failed": RUN_FAILED, "lost": RUN_FAILED, "damaged": RUN_FAILED}
POLL = 0.5  # seconds
LINE_EVERY = 2.0  # seconds between progress lines of a run


class Bar:
    """A progress bar over a known number of steps; one line per step where stderr is no terminal."""

    def __init__(self, total: int, columns: int = 24) -> None:
        self.total = total
        self.done = 0
        self.columns = columns
        self.terminal = sys.stderr.isatty()
        self.started = time.monotonic()

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: object) -> None:
        if self.terminal:
            sys.stderr.write("\n")
            sys.stderr.flush()

    def show(self, label: str, share: float = 0.0) -> None:
        """Draw the bar with what is being done now; `share` of the current step is behind us."""
        filled = int(self.columns * min(1.0, (self.done + share) / max(1, self.total)))
        bar = "#" * filled + "." * (self.columns - filled)
        line = f"[{bar}] {self.done}/{self.total} {time.monotonic() - self.started:4.0f} s  {label}"
        sys.stderr.write(f"\r\x1b[2K{line}" if self.terminal else line + "\n")
        sys.stderr.flush()

    def step(self) -> None:
        """One more step is done."""
        self.done += 1


def follow(run: Run) -> RunStatus:
    """Print the news of a run on stderr until it has ended; returns its last status."""
    offset, printed, last_state = 0, 0.0, ""
    while True:
        status = run.status()  # before the metrics: when it says "ended", every row is there
        rows, offset = run.read_metrics(offset)
        if status.state != last_state:
            say(f"{status.state}" + (f"  {status.message}" if status.message else ""))
            last_state = status.state
        for row in rows:
            if row.get("kind") == "eval":
                say(f"step {row.get('step')}  {_number(row.get('bits_per_byte'))} bits per byte, held out")
        train = [row for row in rows if row.get("kind") == "train"]
        if train and (status.ended_already or time.monotonic() - printed >= LINE_EVERY):
            say(f"{train_line(train[-1], status.total_steps)}")
            printed = time.monotonic()
        if status.ended_already:
            return status
        time.sleep(POLL)


def train_line(row: dict[str, Any], total: int | None) -> str:
    """One training row as a line: step, loss, its terms, speed."""
    line = f"step {row.get('step')}/{total or '?'}  loss {_number(row.get('loss'))}"
    for name, value in (row.get("terms") or {}).items():
        line += f"  {name} {_number(value)}"
    if row.get("tokens_per_second"):
        line += f"  {row['tokens_per_second']:.0f} tokens/s"
    return line


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, (int, float)) else "-"
