"""A sweep that was made: its file beside the runs says what was asked, and the runs themselves say where it stands.

    RUNS/sweeps/<id>.json    the definition, and finished runs of before that it takes over (`reuse`)
    RUNS/<run>/sweep.json    the sweep that made the run

There is nothing else to keep up to date. So a sweep survives whatever becomes of the program that started it: `resume`
makes the runs that are still missing, queues those that were lost, and starts the queue again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError
from pydantic.dataclasses import dataclass as record

from ctkd_core.background.status import RECORD, STATES, read_record, reason, write_record
from ctkd_core.distill import working_folder
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.consistency import LATEST
from ctkd_core.distill.lookup import named
from ctkd_core.distill.run_inputs import RunInput, changed_input
from ctkd_core.distill.runs import Run, RunStore, new_run_id
from ctkd_core.distill.sweeps import membership, queue
from ctkd_core.distill.sweeps.definition import SweepDefinition, plan, refuse_dropped, result_fingerprint
from ctkd_core.errors import CtkdError, RunError
from ctkd_core.markup.visible import one_line

FOLDER = "sweeps"
VERSION = 1


@record(frozen=True, config=RECORD)
class SweepFile:
    """The content of a sweep's file.

    reused  ids of finished runs of before that belong to its results
    folder  in which it was started; runs that are made later are made as if there
    """

    version: Annotated[int, Field(ge=1, le=VERSION)] = VERSION
    created: float = 0.0
    definition: dict[str, Any] = Field(default_factory=dict)
    reused: tuple[str, ...] = ()
    folder: str = ""


@dataclass(frozen=True)
class Sweep:
    """A handle for one sweep; reading never changes anything."""

    root: Path
    id: str

    @property
    def path(self) -> Path:
        """Its file."""
        return self.root / FOLDER / f"{self.id}.json"

    @cached_property
    def _file(self) -> SweepFile:
        try:
            return read_record(self.path, SweepFile)
        except (OSError, ValueError) as fault:
            raise RunError(f"sweep {self.id!r}: {str(self.path)!r} can't be read ({reason(fault)}).") from None

    @property
    def definition(self) -> SweepDefinition:
        """What was asked. Raises RunError when the file is missing or holds something else."""
        asked = self._file.definition
        try:
            return SweepDefinition(**asked)
        except (CtkdError, ValidationError, TypeError) as fault:
            said = one_line(str(fault)).rstrip(".")
            raise RunError(f"sweep {self.id!r}: {str(self.path)!r} holds no definition ({said}).") from None

    @property
    def damage(self) -> str:
        """What is wrong with its file, as a sentence; "" for a sound one."""
        try:
            self.definition  # noqa: B018
        except CtkdError as fault:
            return str(fault)
        return ""

    @property
    def reused(self) -> tuple[str, ...]:
        """Ids of finished runs of before that it takes over. Raises RunError."""
        return self._file.reused

    def runs(self) -> list[Run]:
        """Its runs, oldest first: those that it made, and those of before that it takes over."""
        reused = set(self.reused)
        store = RunStore(self.root).list(archived=True)
        return [run for run in reversed(store) if run.id in reused or membership.sweep_of(run.dir) == self.id]

    def missing(self) -> list[RunConfig]:
        """Runs that were asked for and have no folder: the program ended while it made them, or they were removed."""
        there = set()
        for run in self.runs():
            try:
                there.add(result_fingerprint(run.config))
            except CtkdError:
                continue
        return unmade(plan(self.definition), there)

    def summary(self) -> dict[str, Any]:
        """One row of `ctkd sweep ls --json`: what it is, how many runs are in which state, and their ids."""
        runs = self.runs()
        counts = Counter(run.status().state for run in runs)
        return {
            "sweep_id": self.id,
            "name": self.definition.name,
            "created": self._file.created,
            "baseline": self.definition.baseline,
            "runs": [run.id for run in runs],
            "reused": list(self.reused),
            "states": {state: counts[state] for state in STATES if counts[state]},
            "finished": counts["finished"],
            "total": len(runs),
        }

    def resume(self, failed: bool = False) -> list[Run]:
        """Go on: make missing runs, queue those that were lost or cancelled (and `failed` ones), start the queue.

        Returns the runs that were queued. Raises RunError when something can't be written; none is queued then.
        """
        again = {"lost", "cancelled", *(["failed"] if failed else [])}
        store, before = RunStore(self.root), self._not_ended()
        try:
            queued = [queue.enqueue(run) for run in self.runs() if run.status().state in again]
            queued += [_make(store, self.id, config, self._file.folder) for config in self.missing()]
        except BaseException:  # Ctrl-C, a full disk: whichever run ends next would start those that wait
            with suppress(CtkdError):
                self.cancel(besides=before)
            raise
        queue.start_waiting(self.root)
        return queued

    def _not_ended(self) -> frozenset[str]:
        """The ids of its runs that wait or train."""
        return frozenset(run.id for run in self.runs() if not run.status().ended_already and run.id not in self.reused)

    def cancel(self, besides: Collection[str] = ()) -> list[Run]:
        """Cancel every run of it that waits or trains, those that wait first; returns them.

        besides  ids of runs that go on
        """
        going_on = self._not_ended().difference(besides)
        found = [run for run in self.runs() if run.id in going_on]
        found.sort(key=lambda run: (run.status().state != "queued", queue.has_process(run)))
        for run in found:
            try:
                run.cancel(wait=False)
            except RunError:
                if not run.status().ended_already:  # it may have ended in this moment
                    raise
        return found

    def move(self, to: str) -> list[str]:
        """Put its waiting runs first, last, or before another run; see `queue.move`."""
        mine = {run.id for run in self.runs()}
        waiting = [run.id for run in queue.waiting(self.root) if run.id in mine]
        if not waiting:
            raise RunError(f"no run of sweep {self.id!r} waits; there's no order to change.")
        return queue.move(self.root, waiting, to)


def start(store: RunStore, definition: SweepDefinition) -> Sweep:
    """Make the runs of a definition, queue them and start the queue.

    With `reuse`, a finished run with the same config (its name aside), data, tokenizers and weights is taken over.
    Raises RunError.
    """
    refuse_dropped(definition)
    configs = plan(definition)
    found = finished(store, configs) if definition.reuse else {}
    sweep = Sweep(store.root, new_run_id())
    document = SweepFile(
        created=time.time(),
        definition=definition.to_dict(),
        reused=tuple(run.id for run in found.values()),
        folder=working_folder.current(),
    )
    try:
        sweep.path.parent.mkdir(parents=True, exist_ok=True)
        write_record(sweep.path, document)
    except OSError as fault:
        raise RunError(f"can't write {str(sweep.path)!r} ({reason(fault)}); choose another --runs-dir.") from fault
    try:
        for config in unmade(configs, found):
            _make(store, sweep.id, config, document.folder)
    except BaseException:  # Ctrl-C, a full disk: whichever run ends next would start those that wait
        with suppress(CtkdError):
            sweep.cancel()
        raise
    queue.start_waiting(store.root)
    return sweep


def finished(
    store: RunStore, configs: Sequence[RunConfig], changed: dict[str, list[Run]] | None = None
) -> dict[str, Run]:
    """The newest finished run of each config, by `result_fingerprint`; its name may be another.

    One that trained in several processes had larger batches than its config says, so it is none of them, and one that
    read files of another folder by the same names isn't, either. Nor is one whose data, tokenizers or weights aren't
    any more what it learnt from: where no other run is found for its config, it is put into `changed`, under a word for
    what changed.
    """
    wanted = {result_fingerprint(config) for config in configs}
    found: dict[str, Run] = {}
    others: dict[str, tuple[str, Run]] = {}
    now = cache(RunInput.now_here)
    for run in store.list(archived=True):
        if run.status().state != "finished":
            continue
        try:
            key = result_fingerprint(run.config)
        except CtkdError:
            continue
        if key not in wanted or key in found or (run.processes or 1) != 1:
            continue
        if working_folder.moved(run.config.to_dict(), run.dir):
            continue
        if other := changed_input(run.environment, run.config, now):
            others.setdefault(key, (other.named, run))
        else:
            found[key] = run
    if changed is not None:
        for key, (what, run) in others.items():
            if key not in found:
                changed.setdefault(what, []).append(run)
    return found


def about_changed(changed: Mapping[str, Sequence[Run]]) -> str:
    """Sentences about the runs that `finished` found to have learnt from something else; "" for none."""
    sentences = []
    for what, runs in changed.items():
        have = "have" if what.endswith("weights") else "has"
        they = "it isn't" if len(runs) == 1 else "they aren't"
        sentences.append(f"The {what} of {queue.named_runs(runs)} {have} changed since, so {they} taken over.")
    return " ".join(sentences)


def unmade(configs: Iterable[RunConfig], taken: Collection[str]) -> list[RunConfig]:
    """Those whose run has to be made; `taken`: fingerprints that are there, as `finished` finds them."""
    return [config for config in configs if result_fingerprint(config) not in taken]


def sweeps(store: RunStore) -> list[Sweep]:
    """All sweeps whose file can be read, newest first."""
    return [sweep for sweep in _all(store) if not sweep.damage]


def damaged(store: RunStore) -> list[str]:
    """A sentence for each sweep whose file can't be read, the newest first."""
    return [sweep.damage for sweep in _all(store) if sweep.damage]


def get(store: RunStore, name: str) -> Sweep:
    """The sweep with this id, a unique beginning or end of one, this name, or "latest"; see `lookup.named`.

    Raises RunError for none or several, and for one whose file can't be read.
    """
    every = {sweep.id: sweep for sweep in _all(store)}
    if not every:
        raise RunError("there are no sweeps yet; start one with `ctkd sweep`.")
    if name == LATEST:
        found = next((sweep for sweep in every.values() if not sweep.damage), next(iter(every.values())))
    else:
        found = named("sweep", name, every, lambda sweep: "" if sweep.damage else sweep.definition.name)
    if found.damage:
        raise RunError(f"{found.damage} Its runs are among those of `ctkd runs ls` and can be resumed one by one.")
    return found


def _all(store: RunStore) -> list[Sweep]:
    found = [Sweep(store.root, path.stem) for path in (store.root / FOLDER).glob("*.json")]
    return sorted(found, key=lambda sweep: sweep.id, reverse=True)


def _make(store: RunStore, sweep: str, config: RunConfig, folder: str) -> Run:
    run = store.create(config, folder)
    try:
        membership.join(run.dir, sweep)
    except OSError as fault:
        raise run._unwritable("made", fault) from fault
    return queue.enqueue(run)
