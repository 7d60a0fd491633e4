"""How fast texts are measured, beside what encoding them alone takes: `tokenizers.encode_batch` of both sides.

Both are timed by turns on the same texts: measuring with so many processes, from the file to the sums, and encoding
with so many threads of the library in a process of its own, from texts in memory; its results are thrown away.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import NonNegativeInt
from typing_extensions import TypedDict

from ctkd_core.background.progress import Progress, silent
from ctkd_core.errors import CtkdError
from ctkd_core.pair.corpora import engines
from ctkd_core.pair.corpora.counting import Counting, why_unread
from ctkd_core.pair.corpora.measuring import count_one
from ctkd_core.pair.corpora.sources import Corpus, Piece, read_texts

ROUNDS = 5  # timed; one before them isn't
MOST = 4_000_000  # bytes of text that are timed
PLACES = 64  # of the corpora that they are taken from, at most
SHARES = 8  # files a worker, so that none waits long for the others


class Alone(TypedDict):
    """What encoding alone takes: seconds of the clock and of processors, a round, and bytes of text a second."""

    seconds: float
    cpu_seconds: float
    bytes_per_second: float


class Speed(Alone):
    """The same of measuring, and what of encoding's speed is left: the median over rounds of the paired ratios.

    share      of the clock; cpu_share: of processors' seconds
    """

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
    """Time both on texts from all over the corpora, at most MOST bytes. Raises CtkdError without any text."""
    texts = _some([piece for corpus in corpora.values() for piece in corpus.pieces()])
    if not texts:
        raise CtkdError("there is no text to time.")
    spawn = get_context("spawn")
    ours: list[tuple[float, float]] = []
    alone: list[tuple[float, float]] = []
    with TemporaryDirectory() as folder:
        pieces = _files(texts, Path(folder), min(len(texts), workers * SHARES))
        with (
            ProcessPoolExecutor(workers, spawn, engines.begin, (counting, os.getpid())) as measuring,
            ProcessPoolExecutor(1, spawn, _begin, (counting, os.getpid(), texts, workers)) as encoding,
        ):
            for number in range(rounds + 1):
                progress(number / (rounds + 1), "timing")
                began = time.perf_counter()
                cpu = sum(measuring.map(_count, pieces))
                seconds = time.perf_counter() - began
                other = encoding.submit(_encode).result()
                if number:
                    ours.append((seconds, cpu))
                    alone.append(other)
    size = sum(len(text.encode()) for text in texts)
    return Speed(
        **_rates(ours, size),
        workers=workers,
        rounds=rounds,
        texts=len(texts),
        bytes=size,
        encode_batch=_rates(alone, size),
        share=statistics.median(b[0] / a[0] for a, b in zip(ours, alone)),
        cpu_share=statistics.median(b[1] / a[1] for a, b in zip(ours, alone)),
    )


def _some(pieces: list[Piece]) -> list[str]:
    """Texts from all over, at most MOST bytes of them: the first ones of every n-th piece, the last one cut."""
    chosen = pieces[:: max(1, -(-len(pieces) // PLACES))]
    found = list(_first(chosen, MOST // max(1, len(chosen))))
    return found or list(islice(_first(pieces, MOST), 1))  # the chosen pieces may hold no text


def _first(pieces: list[Piece], share: int) -> Iterator[str]:
    """The first texts of each piece, `share` bytes of it."""
    for piece in pieces:
        left = share
        for text, _ in piece.documents():
            if why_unread(text):
                continue
            data = str(text).encode()[:left]
            if not why_unread(cut := data.decode(errors="ignore")):
                yield cut
            left -= len(data)
            if left <= 0:
                break


def _files(texts: list[str], folder: Path, count: int) -> list[Piece]:
    """The texts as records of so many files, a piece each."""
    found = []
    for number in range(count):
        path = folder / f"{number}.jsonl"
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[number::count]), encoding="utf-8")
        found += read_texts(path).pieces()
    return found


def _rates(timed: list[tuple[float, float]], size: int) -> Alone:
    seconds, cpu = (statistics.median(column) for column in zip(*timed))
    return Alone(seconds=seconds, cpu_seconds=cpu, bytes_per_second=size / seconds)


def _count(piece: Piece) -> float:
    """Count a piece; processor seconds."""
    began = time.process_time()
    count_one(engines.there(), piece)
    return time.process_time() - began


_texts: list[str] = []  # of the process that encodes only


def _begin(counting: Counting, parent: int, texts: list[str], threads: int) -> None:
    engines.begin(counting, parent)
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    _texts.extend(texts)


def _encode() -> tuple[float, float]:
    """Seconds and processor seconds that encoding takes."""
    counting = engines.there()
    began, cpu = time.perf_counter(), time.process_time()
    for side in (counting.student, counting.teacher):
        side.backend.encode_batch(_texts, add_special_tokens=False)
    return time.perf_counter() - began, time.process_time() - cpu
