"""Counting corpora: pieces that aren't counted yet go to an engine, and what it gives back is added up.

The sums don't depend on who counted what, in which order, and how often it was stopped: each piece is added once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sized
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

from ctkd_core.background.progress import Progress
from ctkd_core.errors import CtkdError
from ctkd_core.pair.corpora.counting import BATCH_CHARACTERS, BATCH_TEXTS, CorpusDocument, Counting
from ctkd_core.pair.corpora.counts import AT, Counts
from ctkd_core.pair.corpora.pace import Pace, amount, estimate_before, estimate_left, seconds_before
from ctkd_core.pair.corpora.records import Records
from ctkd_core.pair.corpora.sources import Corpus, Piece

TOLD_FROM = 1_000_000  # bytes of files; less is done as soon as somebody has read how much there is
PAYS_FROM = 8_000_000  # bytes of files; processes that count them together need seconds to begin


class CountingTask(NamedTuple):
    """What an engine gets: a piece of files, or some documents; `number` names it."""

    number: int
    piece: Piece | list[CorpusDocument]


Engine = Callable[[Counting, Iterator[CountingTask]], Generator[tuple[int, Counts], None, None]]


@dataclass
class _Domain:
    """One domain under way."""

    texts: Iterable[Any]
    total: float = 0.0  # bytes of its pieces, where they are known
    done: float = 0.0
    counts: Counts = field(default_factory=Counts)

    @property
    def is_sized(self) -> bool:
        """Whether it is known how much there is."""
        return isinstance(self.texts, Corpus | Sized)

    @property
    def share(self) -> float:
        """Of it that is done."""
        if isinstance(self.texts, Corpus):
            return min(1.0, self.done / self.total) if self.total else 1.0
        known = len(self.texts) if isinstance(self.texts, Sized) else 0
        return min(1.0, self.counts.seen / known) if known else 0.0


def count_corpora(
    counting: Counting,
    corpora: Mapping[str, Iterable[Any]],
    engine: Engine,
    records: Records | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
) -> dict[str, Counts]:
    """The sums of each domain. Files (`sources.Corpus`) are planned as pieces, other texts are streamed in batches.

    records   where pieces are looked up before they are counted, and kept as soon as they are
    progress  gets the share done and a sentence, and may raise to stop: what is done is kept. Of files the first ones
              say how much there is and how long it will take, all others how long the rest will, where that is known
    workers   how many processes the engine has; None: not known

    KeyboardInterrupt: what the engine has under way is finished and kept, whatever was done when it came.
    Raises CtkdError for a corpus without any text, and what reading and counting raise.
    """
    domains: dict[str, _Domain] = {}
    for name, texts in corpora.items():
        if isinstance(texts, str):
            raise CtkdError(f"domain {name!r} is one string; give a list of texts.")
        domains[name] = _Domain(texts)
    files_only = all(isinstance(domain.texts, Corpus) for domain in domains.values())
    sized = all(domain.is_sized for domain in domains.values())

    def share() -> float:
        weights = [domain.total if files_only else 1.0 for domain in domains.values()]
        return sum(w * domain.share for w, domain in zip(weights, domains.values())) / (sum(weights) or 1.0)

    planned = {name: _not_done(domain, records) for name, domain in domains.items() if isinstance(domain.texts, Corpus)}
    pace = Pace(None)

    def report(name: str, is_new: bool = True) -> None:
        if progress:
            seen = domains[name].counts.seen
            told = (
                (estimate_left(pace.done(share())) if is_new else "") if sized else "; how many there are isn't known"
            )
            progress(share(), f"{name}: {seen:,} text{'' if seen == 1 else 's'}{told}")

    for name, domain in domains.items():
        if domain.done:
            report(name, is_new=False)
    before: float | None = None
    left = [piece for pieces in planned.values() for piece in pieces]
    size = sum(piece.weight for piece in left)
    if progress and files_only and size >= TOLD_FROM:
        there = amount(size, round(sum(domain.total for domain in domains.values())), len(left))
        progress(share(), there)
        before = None if workers is None else seconds_before(counting, left, workers)
        if told := estimate_before(before, len(left), workers):
            progress(share(), there + told)
    pace = Pace(before, share(), 2 * (workers or 2) if workers != 1 else 1)

    under_way: dict[int, tuple[str, Piece | None]] = {}

    def works() -> Iterator[CountingTask]:
        number = 0
        for name, domain in domains.items():
            for piece in planned[name] if name in planned else _batches(domain.texts):
                under_way[number] = name, piece if isinstance(piece, Piece) else None
                yield CountingTask(number, piece)
                number += 1

    def keep(number: int, counts: Counts) -> None:
        piece = under_way[number][1] if number in under_way else None
        if piece is not None and records is not None:
            records.write(piece, counts)

    with closing(engine(counting, works())) as counted:
        last: list[tuple[int, Counts]] = []
        try:
            for number, counts in counted:
                last = [(number, counts)]
                keep(number, counts)
                found = under_way.pop(number, None)
                if found is None:  # an engine may do a piece again that it lost sight of
                    continue
                name, piece = found
                domain = domains[name]
                domain.counts.add(counts)
                domain.done += piece.weight if piece is not None else 0.0
                report(name)
        except KeyboardInterrupt as stop:
            for number, counts in chain(last, _rest(counted, stop)):
                keep(number, counts)
            raise
    for domain in domains.values():
        skipped = domain.counts.skipped
        if isinstance(domain.texts, Corpus) and not domain.counts.table()[:, AT["texts"]].any():
            raise domain.texts.without_text(dict(skipped))
    if progress:
        progress(1.0, "measured")
    return {name: domain.counts for name, domain in domains.items()}


def _rest(counted: Generator[tuple[int, Counts], None, None], stop: KeyboardInterrupt) -> Iterator[tuple[int, Counts]]:
    """What an engine still gives when it is told of an interruption that came outside of it."""
    with suppress(KeyboardInterrupt, StopIteration):
        yield counted.throw(stop)
        yield from counted


def _not_done(domain: _Domain, records: Records | None) -> list[Piece]:
    """The pieces without a record; what the others hold is added."""
    assert isinstance(domain.texts, Corpus)
    left = []
    for piece in domain.texts.pieces():
        domain.total += piece.weight
        known = records.read(piece) if records is not None else None
        if known is None:
            left.append(piece)
        else:
            domain.counts.add(known)
            domain.done += piece.weight
    return left


def _batches(texts: Iterable[Any]) -> Iterator[list[CorpusDocument]]:
    batch: list[CorpusDocument] = []
    size = 0
    for text in texts:
        batch.append(CorpusDocument(text))
        size += len(text) if isinstance(text, str) else 0
        if size >= BATCH_CHARACTERS or len(batch) >= BATCH_TEXTS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def count_one(counting: Counting, piece: Piece | list[CorpusDocument]) -> Counts:
    """The sums of one piece: what every engine calls."""
    return counting.count(piece.documents(counting.by) if isinstance(piece, Piece) else piece)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
