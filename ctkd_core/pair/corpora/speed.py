"""How fast texts are measured, beside what encoding them alone takes: `tokenizers.encode_batch` of both sides.

Both are timed by turns on the same texts: measuring with so many processes, from the file to the sums, and encoding
with so many threads of the library in a process of its own, from texts in memory; its results are thrown away.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from pydantic import NonNegativeInt
from typing_extensions import TypedDict

from ctkd_core.background.progress import Progress, silent
from ctkd_core.errors import CtkdError
from ctkd_core.files import documents
from ctkd_core.pair.corpora import engines
from ctkd_core.pair.corpora.counting import Counting
from ctkd_core.pair.corpora.counts import AT
from ctkd_core.pair.corpora.measuring import count_one
from ctkd_core.pair.corpora.sources import Corpus, Piece

ROUNDS = 5  # timed; one before them isn't
MOST = 16_000_000  # bytes of files that are timed


class Alone(TypedDict):
    """What encoding alone takes: seconds of the clock and of processors, a round, and bytes of files a second."""

    seconds: float
    cpu_seconds: float
    bytes_per_second: float


class Speed(Alone):
    """The same of measuring, and what of encoding's speed is left: the median over rounds of the paired ratios.

    share      of the clock; cpu_share: of processors' seconds
    """

    __pydantic_config__ = documents.PRINTED  # type: ignore[misc]

    workers: NonNegativeInt
    rounds: NonNegativeInt
    texts: NonNegativeInt
    bytes: NonNegativeInt
    encode_batch: Alone
    share: float
    cpu_share: float


def speed(
    counting: Counting, corpora: Mapping[str, Corpus], workers: int, progress: Progress = silent, rounds: int = ROUNDS
) -> Speed:
    """Time both on pieces from all over the corpora, MOST bytes at most. Raises CtkdError without any text."""
    pieces = _some([piece for corpus in corpora.values() for piece in corpus.pieces()])
    spawn = get_context("spawn")
    ours: list[tuple[float, float]] = []
    alone: list[tuple[float, float]] = []
    texts = 0
    with (
        ProcessPoolExecutor(workers, spawn, engines.begin, (counting, os.getpid())) as measuring,
        ProcessPoolExecutor(1, spawn, _begin, (counting, os.getpid(), pieces, workers)) as encoding,
    ):
        for number in range(rounds + 1):
            progress(number / (rounds + 1), "timing")
            began = time.perf_counter()
            counted = list(measuring.map(_count, pieces))
            seconds = time.perf_counter() - began
            texts = sum(found for found, _ in counted)
            if not texts:
                raise CtkdError("there is no text to time.")
            other = encoding.submit(_encode).result()
            if number:
                ours.append((seconds, sum(cpu for _, cpu in counted)))
                alone.append(other)
    size = sum(piece.weight for piece in pieces)
    return Speed(
        **_rates(ours, size),
        workers=workers,
        rounds=rounds,
        texts=texts,
        bytes=size,
        encode_batch=_rates(alone, size),
        share=statistics.median(b[0] / a[0] for a, b in zip(ours, alone)),
        cpu_share=statistics.median(b[1] / a[1] for a, b in zip(ours, alone)),
    )


def _some(pieces: list[Piece]) -> list[Piece]:
    """Pieces from all over, MOST bytes of them."""
    whole = sum(piece.weight for piece in pieces)
    step = max(1, -(-whole // MOST))
    return pieces[::step]


def _rates(timed: list[tuple[float, float]], size: int) -> Alone:
    seconds, cpu = (statistics.median(column) for column in zip(*timed))
    return Alone(seconds=seconds, cpu_seconds=cpu, bytes_per_second=size / seconds)


def _count(piece: Piece) -> tuple[int, float]:
    """Texts of a piece that were measured, and processor seconds."""
    began = time.process_time()
    counts = count_one(engines.there(), piece)
    return int(counts.table()[:, AT["texts"]].sum()), time.process_time() - began


_texts: list[list[str]] = []  # of the process that encodes only


def _begin(counting: Counting, parent: int, pieces: list[Piece], threads: int) -> None:
    engines.begin(counting, parent)
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    _texts.extend([str(d.text) for d in piece.documents() if isinstance(d.text, str)] for piece in pieces)


def _encode() -> tuple[float, float]:
    """Seconds and processor seconds that encoding takes."""
    counting = engines.there()
    began, cpu = time.perf_counter(), time.process_time()
    for texts in _texts:
        for side in (counting.student, counting.teacher):
            side.backend.encode_batch(texts, add_special_tokens=False)
    return time.perf_counter() - began, time.process_time() - cpu
