"""Progress on stderr: a bar with the time left in a terminal, one line per news elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ctkd_core.cli.common import CANCELLED, OK, RUN_FAILED, inform
from ctkd_core.cli.display import console_of, paragraph
from ctkd_core.errors import RunError
from ctkd_core.markup.terminal import guarded, safe

if TYPE_CHECKING:
    from rich.progress import Progress

    from ctkd_core.distill.runs import Run, RunStatus

CODES = {"finished": OK, "cancelled": CANCELLED, "failed": RUN_FAILED, "lost": RUN_FAILED, "damaged": RUN_FAILED}
POLL = 0.5  # seconds
ROUNDING = 1e-9  # of a share times the steps
LINE_EVERY = 2.0  # seconds between lines where stderr is no terminal
QUEUE_EVERY = 5.0  # seconds between looks at the queue, for which the status of every run is read


class Bar:
    """Progress over a known number of steps, or of `None` until it is known.

    tells_left  whether the time left is shown by the pace of the steps; False where the labels say it
    """

    def __init__(self, total: int | None, tells_left: bool = True) -> None:
        self.total = total
        self.done: float = 0
        self.started = time.monotonic()
        self.printed = float("-inf")
        self._last = ""
        self._drawn = _drawn(tells_left) if sys.stderr.isatty() else None
        self._task = None if self._drawn is None else self._drawn.add_task("", total=total)

    @property
    def terminal(self) -> bool:
        """Whether a bar is drawn; otherwise lines are printed."""
        return self._drawn is not None

    def __enter__(self) -> Bar:
        if self._drawn is not None:
            self._drawn.start()
            self._stderr = sys.stderr  # rich's own now, which prints above the bar
            sys.stderr = guarded(sys.stderr)
        return self

    def __exit__(self, *error: object) -> None:
        if self._drawn is not None:
            sys.stderr = self._stderr
            self._drawn.stop()

    def show(self, label: str, share: float = 0.0) -> None:
        """What is being done now; `share` of the current step is behind us."""
        if self._drawn is not None and self._task is not None:
            done = self.done + share
            self._drawn.update(self._task, completed=done, total=self.total, description=safe(label))
        else:
            total = "?" if self.total is None else self.total
            inform(f"{int(self.done + ROUNDING)}/{total} {time.monotonic() - self.started:4.0f} s  {label}")

    def update(self, share: float, label: str) -> None:
        """`share` of everything is behind us; of many such news, lines are printed now and then."""
        self.done = share * (self.total or 1)
        if self.terminal or time.monotonic() - self.printed >= LINE_EVERY:
            self.show(label)
            if share or label == self._last:  # what comes first is what there is to do, then what is done
                self.printed = time.monotonic()
            self._last = label

    def step(self) -> None:
        """One more step is done."""
        self.done += 1

    def inform(self, sentence: str) -> None:
        """A line that stays, above the bar where there is one."""
        if self._drawn is not None:
            self._drawn.console.print(paragraph(sentence), soft_wrap=True)
        else:
            inform(sentence)


def _drawn(tells_left: bool) -> Progress:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column
    from rich.text import Text

    class TimeLeft(TimeRemainingColumn):
        """The time left, as soon as it is known how much there is to do."""

        def render(self, task: Task) -> Text:
            return Text() if task.total is None else super().render(task).append(" left")

    return Progress(
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        *([TimeLeft()] if tells_left else []),
        # The label may be cut: it is in the log, and a bar is one line.
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
        console=console_of(sys.stderr),
        redirect_stdout=False,  # stdout is for the output
        speed_estimate_period=60,
    )


def follow(run: Run, offset: int = 0) -> RunStatus:
    """Show the news of a run on stderr until it has ended; returns its last status.

    offset  byte of its metrics where news begin, as `written` tells
    """
    from ctkd_core.distill.sweeps.queue import in_line

    told = place = ""
    looked = float("-inf")
    with Bar(None) as bar:
        while True:
            status = run.status()  # before the metrics: when it says "ended", every row is there
            rows, offset = run.read_metrics(offset)
            bar.total = status.total_steps or bar.total
            if status.state == "queued" and time.monotonic() - looked >= QUEUE_EVERY:
                place, looked = str(in_line(run) or ""), time.monotonic()
            said = f"{status.message} {place if status.state == 'queued' else ''}".strip()
            # of a run that waits every message is news: what it waits for, and behind whom
            news = f"queued {said}" if status.state == "queued" else status.state
            if news != told:
                bar.inform(f"{status.state}" + (f"  {said}" if said else ""))
                told = news
            for row in rows:
                if row.get("kind") == "eval":
                    bar.inform(f"step {row.get('step')}  {_number(row.get('bits_per_byte'))} bits per byte, held out")
            train = [row for row in rows if row.get("kind") == "train"]
            if train:
                _show_step(bar, train[-1], status)
            elif bar.terminal and not bar.done:
                bar.show(status.message)
            if status.ended_already:
                return status
            time.sleep(POLL)


def written(run: Run) -> int:
    """Bytes of a run's metrics so far; 0 where they can't be read."""
    with suppress(RunError):
        return run.read_metrics()[1]
    return 0


def _show_step(bar: Bar, row: dict[str, Any], status: RunStatus) -> None:
    if bar.terminal:
        bar.done = row.get("step") or bar.done
        bar.show(_terms(row))
    elif status.ended_already or time.monotonic() - bar.printed >= LINE_EVERY:
        inform(train_line(row, status.total_steps))
        bar.printed = time.monotonic()


def train_line(row: dict[str, Any], total: int | None) -> str:
    """One training row as a line: step, loss, its terms, speed."""
    return f"step {row.get('step')}/{total or '?'}  {_terms(row)}"


def _terms(row: dict[str, Any]) -> str:
    line = f"loss {_number(row.get('loss'))}"
    for name, value in (row.get("terms") or {}).items():
        line += f"  {name} {_number(value)}"
    if row.get("tokens_per_second"):
        line += f"  {row['tokens_per_second']:.0f} tokens/s"
    return line


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, (int, float)) else "-"
