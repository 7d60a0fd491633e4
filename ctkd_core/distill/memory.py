"""Memory of a run before it starts: what would make it need less, and which runs hold memory. Loads no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.devices import slots
from ctkd_core.distill.estimate import estimate_bytes
from ctkd_core.distill.models.facts import layers_of
from ctkd_core.distill.teachers.access import Access
from ctkd_core.errors import CtkdError, RunError

LEAST_SHARE = 0.05  # of what a run needs: what saves less isn't worth naming
LORA_RANK = 16
SHORTEST = 32  # tokens: what is cut further teaches little


@dataclass(frozen=True)
class Saving:
    """A change of a run's options, in words, and the bytes of memory that it saves by itself."""

    words: str
    bytes: int


@dataclass(frozen=True)
class ActiveRun:
    """A run that loads or trains on this computer now: its id, and the bytes of memory that its process holds.

    shares_device  whether another run waits until it ends
    """

    run_id: str
    bytes: int
    shares_device: bool


def savings(
    config: RunConfig, student_vocab: int, teacher_vocab: int, available: float, elsewhere: Collection[str] = ()
) -> list[Saving]:
    """What would make a run need less by the estimate of its parts; what saves most comes first.

    available  bytes: batch and length are halved until the run fits, or as far as they can be
    elsewhere  parts of the estimate that need none of these bytes
    """

    def needed(changes: Mapping[str, Any]) -> int:
        parts = estimate_bytes(config.replace(**changes), student_vocab, teacher_vocab)
        return parts["total"] - sum(parts[name] for name in elsewhere)

    whole = needed({})
    found = []
    for words, changes in _changes(config, lambda changes: needed(changes) <= available):
        with suppress(RunError):  # the run's other options don't allow it
            less = whole - needed(changes)
            if less >= LEAST_SHARE * whole:
                found.append(Saving(words, less))
    return sorted(found, key=lambda saving: -saving.bytes)


def _changes(config: RunConfig, fits: Callable[[Mapping[str, Any]], bool]) -> Iterator[tuple[str, dict[str, Any]]]:
    def halved(name: str, least: int) -> int:
        value = getattr(config, name) // 2
        while value // 2 >= least and not fits({name: value}):
            value //= 2
        return value

    if config.batch_size > 1:
        size = halved("batch_size", 1)
        steps = config.accumulation * math.ceil(config.batch_size / size)
        yield f"batch_size {size} with accumulation {steps}", {"batch_size": size}
    if config.max_length >= 2 * SHORTEST:
        length = halved("max_length", SHORTEST)
        yield f"max_length {length}, which cuts longer samples", {"max_length": length}
    if not config.lora_rank:
        yield f"lora_rank {LORA_RANK}", {"lora_rank": LORA_RANK}
    yield from _smaller_students(config)
    access = Access.of(config)
    if not access.elsewhere:
        if access.precision == "fp32":
            yield "teacher_precision bf16", {"teacher_precision": "bf16"}
        yield "a teacher_cache, which `ctkd cache-teacher` fills", {"teacher_cache": "a cache"}


def _smaller_students(config: RunConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    if config.student_model == "scratch":
        half = config.hidden_size // 2
        yield f"a smaller student (hidden_size {half})", {"hidden_size": half}
        return
    layers = layers_of(config.begins_with)
    if config.student_model == "prune":
        layers = min(config.student_layers, layers or config.student_layers)
    if layers is not None and layers > 1:
        half = layers // 2
        words = f"a smaller student (student_model prune with student_layers {half})"
        yield words, {"student_model": "prune", "student_layers": half}


def active_runs(root: Path, config: RunConfig) -> list[ActiveRun]:
    """The runs under a folder whose processes hold memory now. A damaged run is passed over."""
    import psutil

    from ctkd_core.background.status import elsewhere
    from ctkd_core.distill.runs import RunStore

    found = []
    own = set(slots(config.device))
    for run in RunStore(root).list():
        status = run.status()
        if status.state not in ("starting", "running") or status.pid is None or elsewhere(status):
            continue
        with suppress(CtkdError, psutil.Error):
            held = psutil.Process(status.pid).memory_info().rss
            found.append(ActiveRun(run.id, held, not own.isdisjoint(slots(run.config.device))))
    return found
