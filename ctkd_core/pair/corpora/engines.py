"""Who counts pieces: this process, or several processes on this machine."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

from ctkd_core.errors import CtkdError
from ctkd_core.pair.corpora.counting import Counting
from ctkd_core.pair.corpora.counts import Counts
from ctkd_core.pair.corpora.measuring import CountingTask, Engine, count_one

MAX_WORKERS = 256
ENGINES = ("processes", "ray")
PARENT_SECONDS = 2.0  # between two looks whether the process that began this one is there
WORKER_SECONDS = 5.0  # between two looks whether a process was killed, where the pool doesn't tell


def engine_of(name: str, workers: int) -> Engine:
    """The engine with this name; `workers` at once on this machine (with Ray, on all of them)."""
    if name == "ray":
        from ctkd_core.pair.corpora.on_ray import on_ray

        return on_ray
    return here if workers == 1 else processes(workers)


def here(counting: Counting, works: Iterator[CountingTask]) -> Generator[tuple[int, Counts], None, None]:
    """One after the other, in this process."""
    for number, piece in works:
        yield number, count_one(counting, piece)


def processes(workers: int) -> Engine:
    """In so many processes. When it is interrupted, what is under way is finished and kept, and nothing new begun."""

    def count(counting: Counting, works: Iterator[CountingTask]) -> Generator[tuple[int, Counts], None, None]:
        # "spawn": forking a process that runs threads (a browser app does) can lock it up.
        pool = ProcessPoolExecutor(workers, get_context("spawn"), begin, (counting, os.getpid()))
        pending: deque[tuple[int, Future[Counts]]] = deque()
        try:
            try:
                for number, piece in works:
                    pending.append((number, pool.submit(_count, piece)))
                    while len(pending) > workers:  # few, so that an interruption has little to wait for
                        yield _first(pending, pool)
                while pending:
                    yield _first(pending, pool)
            except KeyboardInterrupt:
                for number, future in pending:
                    if not future.cancel():
                        yield number, future.result()
                raise
        except BrokenProcessPool:
            raise CtkdError(
                f"a worker process ended before it was done (killed, or out of memory with {workers} workers); try "
                "fewer workers. In a script of your own, call this under `if __name__ == '__main__':`."
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    return count


def _first(pending: deque[tuple[int, Future[Counts]]], pool: ProcessPoolExecutor) -> tuple[int, Counts]:
    """What was begun first, once it is done; it is pending until then."""
    number, future = pending[0]
    while not future.done():
        wait([future], WORKER_SECONDS)
        if not future.done() and _lost(pool):
            wait([future], WORKER_SECONDS)  # the pool notices as a rule
            if not future.done():
                _break(pool)
    counts = future.result()
    pending.popleft()
    return number, counts


def _lost(pool: ProcessPoolExecutor) -> bool:
    """Whether a process of the pool has ended."""
    return any(process.exitcode is not None for process in list((pool._processes or {}).values()))


def _break(pool: ProcessPoolExecutor) -> None:
    """Have a pool notice that a process was killed while it sent its counts.

    The pool waits for the rest of them then, for as long as somebody could still write it: the other
    processes, which end here, and this one itself.
    """
    for process in list((pool._processes or {}).values()):
        process.kill()
    pool._result_queue._writer.close()  # type: ignore[attr-defined]


_there: dict[str, Any] = {}  # of a process of the pool only


def begin(counting: Counting, parent: int) -> None:
    """What a process of a pool does first; `parent`: the number of the one that began it."""
    _there["counting"] = counting
    # Every process has one core: threads of the library would only stand in each other's way.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # Ctrl-C at a terminal reaches all processes; the first one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process when the one that began it was killed: it would wait for work for ever."""
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os._exit(1)


def there() -> Counting:
    """What this process of a pool counts."""
    found: Counting = _there["counting"]
    return found


def _count(piece: Any) -> Counts:
    return count_one(there(), piece)
