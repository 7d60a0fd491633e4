"""The queue of runs for a device: who comes next, who is started, and how people change the order.

One run trains on a device at a time (`worker`). A run waits when its status is "queued" and it has a process that polls
for the device, or a place in the queue and no process yet. Only one process needs to wait: whoever gets the device
starts the process of the run that comes next, and so does whoever leaves it. So a hundred queued runs cost one idle
process, and a killed run doesn't stop the others.

The order is that of places (`membership`), by default the time at which a run was queued.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ctkd_core.background.lifecycle import next_attempt
from ctkd_core.background.status import elsewhere, process_of, write_status
from ctkd_core.distill.devices import slots
from ctkd_core.distill.runs import ARCHIVED, Run, RunStore
from ctkd_core.distill.sweeps import membership
from ctkd_core.errors import CtkdError, RunError

WAITING = "Waiting for its turn."
MOST_NAMED = 4  # runs in one sentence


def devices_of(run: Run) -> frozenset[str]:
    """The devices that the run takes. Raises RunError for a damaged config."""
    return frozenset(slots(run.config.device))


def waiting(root: Path, devices: Collection[str] | None = None) -> list[Run]:
    """The runs under a folder that wait, first the one that comes next; those that want one of `devices`, or all."""
    found = []
    for run in RunStore(root).list():
        status = run.status()
        if not membership.waits(run.dir, status):
            continue
        place = membership.place_of(run.dir)
        with suppress(CtkdError):
            own = devices_of(run)  # a damaged run waits for nothing, and stops no other
            if devices is None or not own.isdisjoint(devices):
                found.append((status.created if place is None else place, run.id, run))
    return [run for _, _, run in sorted(found, key=lambda entry: entry[:2])]


@dataclass(frozen=True)
class InLine:
    """Where a run that waits stands in the queue of its devices.

    waiting    the runs that come before it, the next one first
    under_way  those that have one of its devices on this computer now
    stalled    whether no process is there that would start one of them: the computer was switched off, say
    """

    devices: frozenset[str]
    waiting: tuple[Run, ...]
    under_way: tuple[Run, ...]
    stalled: bool = False

    def __str__(self) -> str:
        if self.stalled:
            return f"{self._place}; nothing is under way that would start it: `ctkd runs resume` does."
        return f"{self._place}."

    @property
    def _place(self) -> str:
        devices = " and ".join(sorted(self.devices))
        place = f"Next in the queue for {devices}"
        if self.waiting:
            place = f"Place {len(self.waiting) + 1} in the queue for {devices}, behind {named_runs(self.waiting)}"
        return f"{place}; under way there: {named_runs(self.under_way)}" if self.under_way else place


def in_line(run: Run) -> InLine | None:
    """Where a run stands in the queue; None for one that doesn't wait. Reads the status of all runs beside it."""
    root = run.dir.parent
    with suppress(CtkdError):
        devices = devices_of(run)
        queue = waiting(root, devices)
        ids = [other.id for other in queue]
        if run.id in ids:
            under_way = tuple(_under_way(root, devices))
            stalled = not any(map(has_process, queue)) and not any(_trains(root))
            return InLine(devices, tuple(queue[: ids.index(run.id)]), under_way, stalled)
    return None


def go_on(run: Run) -> None:
    """Resume a run, or start the queue where it waits there and no process does; see `Run.resume`.

    Raises RunError for a run that is under way or has finished.
    """
    if membership.waits(run.dir, run.status()) and not has_process(run):
        start_waiting(run.dir.parent)
    else:
        run.resume()


def _trains(root: Path) -> Iterator[bool]:
    """For each run whether it trains, here or on another computer: its end calls the next one."""
    return (run.status().state in ("starting", "running") for run in RunStore(root).list())


def _under_way(root: Path, devices: Collection[str]) -> Iterator[Run]:
    for run in RunStore(root).list():
        status = run.status()
        if status.state in ("starting", "running") and not elsewhere(status):
            with suppress(CtkdError):
                if not devices_of(run).isdisjoint(devices):
                    yield run


def named_runs(runs: Sequence[Run]) -> str:
    """Their ids in a sentence, with "run" or "runs" before them; at most MOST_NAMED of them."""
    more = f" and {len(runs) - MOST_NAMED} more" if len(runs) > MOST_NAMED else ""
    return f"{'run' if len(runs) == 1 else 'runs'} {', '.join(run.id for run in runs[:MOST_NAMED])}{more}"


def has_process(run: Run) -> bool:
    """Whether somebody started the run's process (of a run that waits: it polls for the device)."""
    return process_of(run.dir, run.status()) is not None


def enqueue(run: Run, place: float | None = None) -> Run:
    """Put a run into the queue, without a process: a new one, or one that was cancelled, failed or lost.

    `start_waiting` starts it when its turn comes; such a run goes on from its last checkpoint.
    Raises RunError when it is finished, under way, or can't be written.
    """
    run.config  # noqa: B018 - a damaged folder is refused here rather than in the worker
    try:
        with run.work.lock():
            status = run.status()
            if process_of(run.dir, status) is not None and not status.ended_already:
                raise RunError(f"run {run.id!r} is {status.state} already; there's nothing to queue.")
            if status.state == "finished":
                raise RunError(f"run {run.id!r} is finished; start a new run with more steps.")
            attempt = next_attempt(run.dir, status) if status.ended_already else status.attempt
            (run.dir / ARCHIVED).unlink(missing_ok=True)  # what is out of the list isn't in the queue
            membership.put(run.dir, time.time() if place is None else place)
            write_status(run.dir, replace(run.next_status(status), attempt=attempt, message=WAITING))
    except OSError as fault:
        raise run._unwritable("queued", fault) from fault
    return run


def start_waiting(root: Path, besides: Run | None = None) -> list[Run]:
    """Start the process of the run that comes next on each device where no run that waits has one; those started.

    `besides`: a run that has its device already, though its status doesn't say so yet. A run that can't be started is
    passed over.
    """
    queue = [run for run in waiting(root) if besides is None or run.id != besides.id]
    taken = {device for run in queue if has_process(run) for device in devices_of(run)}
    started = []
    for run in queue:
        devices = devices_of(run)
        if devices.isdisjoint(taken) and _start(run):
            started.append(run)
            taken |= devices
    return started


def others_first(run: Run) -> bool:
    """Whether another run comes before this one on one of its devices; its process is started where it has none."""
    for other in waiting(run.dir.parent, devices_of(run)):
        if other.id == run.id:
            return False
        if has_process(other) or _start(other):
            return True
    return False


def move(root: Path, names: Iterable[str], to: str) -> list[str]:
    """Change the order: put these waiting runs to "first", "last", or before the run with the id `to`.

    They keep their order among themselves. Returns the ids of the queue in its new order. Raises RunError for a run
    that doesn't wait.
    """
    queue = waiting(root)
    known = {run.id: run for run in queue}
    moved = [RunStore(root).get(name).id for name in names]
    target = to if to in ("first", "last") else RunStore(root).get(to).id
    for name in [*moved, *([] if target in ("first", "last") else [target])]:
        if name not in known:
            state = RunStore(root).get(name).status().state
            said = "was made and not started" if state == "queued" else f"is {state}"
            raise RunError(f"run {name!r} {said}; only runs that wait have an order.")
    chosen = [run.id for run in queue if run.id in set(moved)]
    if target in chosen:
        raise RunError(f"run {target!r} can't be put before itself; name another run, first or last.")
    rest = [run.id for run in queue if run.id not in set(moved)]
    at = {"first": 0, "last": len(rest)}.get(target)
    at = rest.index(target) if at is None else at
    order = [*rest[:at], *chosen, *rest[at:]]
    # Everybody's place is written anew: no number lies between two equal ones. The times stay those of the queue.
    places = sorted(_place(run) for run in queue)
    try:
        for k, name in enumerate(order):
            membership.put(known[name].dir, places[k] + 1e-3 * k)
    except OSError as fault:
        raise RunError(
            f"the order of the queue can't be written ({fault}); free some space, then try again."
        ) from fault
    return order


def _place(run: Run) -> float:
    place = membership.place_of(run.dir)
    return run.status().created if place is None else place


def _start(run: Run) -> bool:
    with suppress(CtkdError):
        RunStore(run.dir.parent).launch(run)
        return True
    return has_process(run)  # somebody else was faster, or it can't be started
