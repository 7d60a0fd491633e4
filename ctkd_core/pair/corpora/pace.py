"""How long a measurement takes: before it starts by a few texts that are timed, later by what is done.

Nothing is guessed where it isn't known how much there is (a stream of texts), or who measures (a cluster).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ctkd_core.errors import CtkdError
from ctkd_core.markup.quantities import about, between, in_bytes

if TYPE_CHECKING:
    from ctkd_core.pair.corpora.counting import Counting
    from ctkd_core.pair.corpora.sources import Piece

TIMED_FROM = 2_000_000  # bytes of files; of smaller ones the first piece is there as soon
SAMPLE, PLACES = 60_000, 3  # bytes of files that are timed at so many places
LEAST, MOST = 0.7, 1.6  # of what the timed texts say: others may be harder, the machine busier
START_SECONDS = 3.0  # until processes of their own have loaded two tokenizers
TOLD_FROM = 3.0  # seconds; of less nothing is said

Clock = Callable[[], float]


def seconds_before(counting: Counting, pieces: Sequence[Piece], workers: int) -> float | None:
    """Seconds that counting these pieces takes `workers` processes, by some of their texts, which are counted here.

    None for little text, where no small part of a piece can be read (Parquet, JSON that isn't by lines), and where one
    can't be counted: the measurement itself says what is wrong.
    """
    total = sum(piece.weight for piece in pieces)
    if total < TIMED_FROM:
        return None
    places = sorted({round(n * (len(pieces) - 1) / (PLACES - 1)) for n in range(PLACES)})
    samples = [piece.beginning(SAMPLE) for piece in (pieces[place] for place in places)]
    known = [sample for sample in samples if sample is not None]
    if len(known) < len(samples):
        return None
    # A process of its own has one core; this one encodes with threads, whose seconds of processors count then.
    clock: Clock = time.perf_counter if workers == 1 else time.process_time
    try:
        counting.count(known[0].documents(counting.by))  # tables are made, code is loaded
        began = clock()
        for sample in known:
            counting.count(sample.documents(counting.by))
        seconds = (clock() - began) * total / sum(sample.weight for sample in known)
    except CtkdError:
        return None
    return seconds if workers == 1 else seconds / min(workers, len(pieces)) + START_SECONDS


class Pace:
    """How long the rest takes. It is told each time when something is done, with the share of all that is.

    before  seconds that it was said to take, None where that isn't known
    steps   after so many pieces only their own speed counts; before that, `before` counts in proportion, as the first
            pieces of several processes come all at once, and late
    """

    def __init__(self, before: float | None, share: float = 0.0, steps: int = 1, clock: Clock = time.monotonic) -> None:
        self._before, self._from, self._steps, self._clock = before, share, max(1, steps), clock
        self._began, self._done = clock(), 0

    def done(self, share: float) -> float | None:
        """One more piece is done, and this share of all: the seconds left, None where they can't be known."""
        self._done += 1
        if share <= self._from:
            return None
        passed = self._clock() - self._began
        measured = passed * (1.0 - share) / (share - self._from)
        sure = min(1.0, self._done / self._steps)
        if self._before is None:
            return measured if sure == 1.0 else None
        return sure * measured + (1.0 - sure) * max(0.0, self._before - passed)


def amount(left: int, total: int, pieces: int) -> str:
    """What there is to do, in bytes of files and pieces."""
    size = in_bytes(left) if left == total else f"{in_bytes(left)} of {in_bytes(total)}"
    return f"{size} in {pieces:,} piece{'' if pieces == 1 else 's'}"


def estimate_before(seconds: float | None, pieces: int, workers: int | None) -> str:
    """What follows the amount: how long it will take, or when that will be known."""
    if seconds is None:
        return "; the first ones will say how long it takes" if pieces > 1 else ""
    who = f"{workers} processes" if workers and workers > 1 else "one process"
    return f", about {between(LEAST * seconds, MOST * seconds)} with {who}"


def estimate_left(seconds: float | None) -> str:
    """What follows the sentence of a piece that is done; "" for next to nothing, and where it isn't known."""
    return "" if seconds is None or seconds < TOLD_FROM else f", about {about(seconds)} left"
