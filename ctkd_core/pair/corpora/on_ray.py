"""Counting on a cluster: the function that this machine's processes call, mapped by Ray Data (extra `ray`).

Scheduling, retries and lost nodes are Ray's. Every node must reach the files under the same path; the tokenizers travel
with the tasks. What a lost node had done is done again, and each piece is added once.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from ctkd_core.errors import CtkdError
from ctkd_core.pair.corpora.counting import Counting
from ctkd_core.pair.corpora.counts import Counts
from ctkd_core.pair.corpora.measuring import CountingTask, count_one
from ctkd_core.pair.corpora.sources import FileRange, Piece

MISSING = "the engine ray needs the package ray; run `pip install 'ctkd-lab[ray]'` (or `pip install 'ray[data]'`)."


def on_ray(counting: Counting, works: Iterator[CountingTask]) -> Generator[tuple[int, Counts], None, None]:
    """On the cluster that Ray is connected to, or finds (RAY_ADDRESS), else on this machine. Order: as they are done.

    Raises CtkdError without Ray, and for texts that don't lie in files.
    """
    try:
        import ray
        import ray.data
    except ImportError:
        raise CtkdError(MISSING) from None
    rows = []
    for number, piece in works:
        if not isinstance(piece, Piece):
            raise CtkdError("the engine ray reads files; give them with --corpus (read_texts).")
        rows.append({"number": number, "piece": json.dumps(asdict(piece))})
    if not rows:
        return
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    pair = ray.put(counting)

    def count(batch: dict[str, Any]) -> dict[str, Any]:
        counted = [_count(pair, piece) for piece in batch["piece"]]
        return {"number": list(batch["number"]), "counts": counted}

    pieces = ray.data.from_items(rows, override_num_blocks=len(rows))
    for row in pieces.map_batches(count, batch_size=1).iter_rows():
        yield int(row["number"]), Counts.from_bytes(row["counts"])


def _count(pair: Any, piece: str) -> bytes:
    made = json.loads(piece)
    parts = tuple(FileRange(**part) for part in made["parts"])
    return count_one(_counting(pair), Piece(parts, made["weight"])).to_bytes()


@lru_cache(maxsize=2)
def _counting(pair: Any) -> Counting:
    """The counting behind a reference, once for each process: its tables take a second."""
    import os

    import ray

    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    return ray.get(pair)
