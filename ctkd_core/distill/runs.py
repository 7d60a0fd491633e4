"""The store of runs: one folder each, and the folders are the truth.

    config.json  what was asked, never changed    env.json       versions, device, fingerprints of that moment
    status.json  where it stands (status.py)      metrics.jsonl, samples.jsonl  append-only (records.py)
    log.txt      what the worker printed          checkpoints/  control/cancel
    sweep.json   the sweep that made it, if one did               control/place  in the queue, if it has one

There is no index to go stale: listing reads two small files a run, status and config, a third (sweep.json) of one that
a sweep made, and looks whether the others are there. A run whose files hold something else than they should is
"damaged"; it hides no other run.
This module loads no torch, so pages may import it.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctkd_core import files
from ctkd_core.background.lifecycle import Work, log_tail, next_attempt
from ctkd_core.background.processes import process_alive
from ctkd_core.background.status import (
    CANCEL,
    LAUNCH,
    cancel_asked,
    damaged,
    elsewhere,
    plain_text,
    process_of,
    read_status,
    reason,
    write_status,
)
from ctkd_core.distill import checkpoints, kept_config, stopping, working_folder
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.config_file import flat
from ctkd_core.distill.consistency import check_name
from ctkd_core.distill.headline import NOTHING, Headline, HeadlineKeeper
from ctkd_core.distill.held_out_source import differing_in
from ctkd_core.distill.kept_student import kept_student
from ctkd_core.distill.lookup import name_of, named
from ctkd_core.distill.records import RowsRead, current_rows, metrics_frame, read_part
from ctkd_core.distill.status import RunStatus
from ctkd_core.distill.sweeps import membership
from ctkd_core.distill.training.processes import refuse_another_number, world_size
from ctkd_core.errors import CtkdError, RunError, short

if TYPE_CHECKING:
    import pandas as pd

WORKER = "ctkd_core.distill.worker"
CONFIG, STATUS, METRICS = "config.json", "status.json", "metrics.jsonl"
SAMPLES, ENVIRONMENT = "samples.jsonl", "env.json"
ARCHIVED = Path("control") / "archived"
MOST_BYTES = 10_000_000  # of a config or an environment; they have some kilobytes
WATCHED_SECONDS = 6.0  # for a heartbeat, before a run on another computer counts as lost
MOST_OF_A_PAIR = 40  # runs that a report on a pair compares, the newest ones
_ID = re.compile(r"\d{8}-\d{6}-\d{3}-[a-z0-9]{5}")
OPENED = Path("views") / "runs"  # under CTKD_HOME: what files of views brought, one folder a file


@dataclass(frozen=True)
class Run:
    """One run, as its folder has it now; reading never changes anything."""

    dir: Path

    def __repr__(self) -> str:
        from ctkd_core.distill.display import run_line

        return run_line(self)

    def _repr_html_(self) -> str:
        from ctkd_core.distill.display import run_card

        return run_card(self)

    @property
    def id(self) -> str:
        """The folder's name; ids sort by the time of creation."""
        return self.dir.name

    @property
    def is_opened(self) -> bool:
        """Whether a file from elsewhere brought it (`held_runs`), so that nothing may be changed in it."""
        # The folder itself may be a link that leads nowhere, or to itself.
        return self.dir.absolute().parent.parent.resolve() == (files.home() / OPENED).resolve()

    @cached_property
    def config(self) -> RunConfig:
        """What was asked. Raises RunError when config.json is missing, unreadable or was changed afterwards."""
        try:
            return kept_config.read(files.read_regular(self.dir / CONFIG, MOST_BYTES))
        except OSError as fault:
            problem = f"config.json can't be read ({reason(fault)}); the folder isn't a whole run."
        except RunError as fault:
            problem = str(fault)
        raise RunError(f"run {self.id!r}: {problem}")

    @property
    def work(self) -> Work[RunStatus]:
        """The life cycle of the process that trains it."""
        return Work(self.dir, RunStatus)

    @property
    def environment(self) -> dict[str, Any]:
        """env.json: versions, device and fingerprints when the worker started; {} before that.

        What isn't of its type (`environment.Environment`) is left out.
        """
        from ctkd_core.distill import environment

        try:
            return environment.read(files.read_regular(self.dir / ENVIRONMENT, MOST_BYTES))
        except OSError:
            return {}

    @property
    def processes(self) -> int | None:
        """How many processes train it together; None before it began, and where an older version left no trace."""
        known = self.status().processes or self.environment.get("processes")
        return known or checkpoints.processes(self.dir / "checkpoints")

    @property
    def archived(self) -> bool:
        """Whether somebody put the run out of sight; its folder stays where it is."""
        return os.path.lexists(self.dir / ARCHIVED)

    def status(self) -> RunStatus:
        """Where the run stands; "lost" when its process is gone without having told why, "damaged" when the file is."""
        if not os.path.lexists(self.dir / STATUS):
            return damaged(RunStatus, self.dir / STATUS, "it is missing")
        return self.work.status()

    def metrics(self) -> pd.DataFrame:
        """All rows of metrics.jsonl that count, one column a figure; see `records.metrics_frame`."""
        return metrics_frame(self.metric_rows())

    def metric_rows(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl that count, as they were written. Raises RunError for what isn't a file."""
        return current_rows(self.metrics_part().rows)

    def read_metrics(self, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
        """Rows of metrics.jsonl from byte `offset`, and the next offset: what a live view polls.

        A row of kind "resume" says that earlier rows after its step no longer count (`records.current_rows`). Rows that
        hold something else than figures are passed over. Raises RunError for what isn't a file.
        """
        part = self.metrics_part(offset)
        return part.rows, part.end

    def metrics_part(self, offset: int = 0) -> RowsRead:
        """As `read_metrics`, with the sentence about rows that aren't what they should be. Raises RunError."""
        part = self._part(METRICS, offset)
        return replace(part, damage=self._damaged(METRICS, part.damage)) if part.damage else part

    def samples(self) -> list[dict[str, Any]]:
        """Completions of held-out prompts: step, prompt, reference, student, teacher. Raises RunError."""
        rows = current_rows(self._part(SAMPLES).rows)
        words = ("prompt", "reference", "student", "teacher")
        return [row for row in rows if all(isinstance(row.get(key), str | None) for key in words)]

    def _part(self, file: str, offset: int = 0) -> RowsRead:
        try:
            return read_part(self.dir / file, offset)
        except OSError as fault:
            raise RunError(f"run {self.id!r} is damaged: {file} ({reason(fault)}) in {str(self.dir)!r}.") from None

    def _damaged(self, file: str, what: str) -> str:
        return plain_text(f"damaged: {file} ({what}) in {str(self.dir)!r}")

    def log_tail(self, lines: int = 40) -> str:
        """The last lines of log.txt."""
        return log_tail(self.dir / "log.txt", lines)

    def checkpoints(self) -> list[int]:
        """Steps from which the run could go on, oldest first."""
        return checkpoints.steps(self.dir / "checkpoints")

    def cancel(self, wait: bool = True, grace: float | None = None) -> RunStatus:
        """Stop the run: ask, wait `grace` seconds, SIGTERM, wait, SIGKILL. `wait=False` only asks.

        Without `grace` the wait is by what its steps take, so that it can keep a checkpoint (`stopping`).
        Raises RunError when the run has ended already, or the request can't be written.
        """
        self._refuse_opened()
        try:
            status = self.status()
            if status.ended_already:
                raise RunError(f"run {self.id!r} is {status.state}; there's nothing to cancel.")
            if process_of(self.dir, status) is None:
                with self.work.lock():  # somebody may be launching it just now
                    status = self.status()
                    if status.state == "queued" and process_of(self.dir, status) is None:
                        ended = replace(status, state="cancelled", message="Cancelled before it was started.")
                        write_status(self.dir, ended)
                        return ended
            self.work.request_cancel(status.attempt)
        except OSError as fault:
            raise self._unwritable("cancelled", fault) from fault
        if wait:
            self.work.stop(stopping.grace(self) if grace is None else grace)
        return self.status()

    def resume(self, environment: dict[str, str] | None = None) -> Run:
        """Go on from the last checkpoint (from the start without one) as a new attempt of the same run.

        Raises RunError when the run hasn't ended, is finished, began in several processes, or can't be written.
        """
        return self._again(lambda status: self.work.launch(WORKER, status, _worker_environment(environment)), 1)

    def queue_again(self) -> Run:
        """As `resume`, but whoever calls this trains it; no process is started."""

        def queue(status: RunStatus) -> None:
            (self.dir / CANCEL).unlink(missing_ok=True)
            (self.dir / LAUNCH).unlink(missing_ok=True)
            write_status(self.dir, status)

        return self._again(queue, world_size())

    def _refuse_opened(self) -> None:
        """Raise RunError for a run that a file brought."""
        if self.is_opened:
            raise RunError(f"run {self.id!r} came with a view from elsewhere; it can be read, and goes with its view.")

    def _again(self, start: Callable[[RunStatus], object], processes: int) -> Run:
        self._refuse_opened()
        config = self.config  # refuse a damaged folder here rather than in the worker
        if problem := config.problem():
            raise RunError(
                f"run {self.id!r} can't go on with this version: {problem} Start a new run; a copy of this one leaves "
                "out what has no effect."
            )
        refuse_another_number(self.dir, self.processes, processes)
        silent = self._silent_elsewhere()
        try:
            with self.work.lock():
                status = self.status()
                if self._alive(status) and status != silent:
                    raise RunError(f"run {self.id!r} is {status.state}; cancel it before resuming it.")
                if status.state == "finished":
                    raise RunError(
                        f"run {self.id!r} is finished after {status.step} steps; start a new run with more steps."
                    )
                (self.dir / ARCHIVED).unlink(missing_ok=True)  # what is out of the list isn't in the queue
                start(self.next_status(status))
        except OSError as fault:
            raise self._unwritable("resumed", fault) from fault
        return self

    def next_status(self, status: RunStatus) -> RunStatus:
        """The first status of the attempt after one that stood so: it goes on from the last checkpoint."""
        saved = self.checkpoints()
        return RunStatus(
            step=saved[-1] if saved else 0,
            total_steps=self.config.steps,
            message=f"Waiting to go on from step {saved[-1]}." if saved else "Waiting to begin again.",
            attempt=next_attempt(self.dir, status),
            created=status.created,
            last_checkpoint=saved[-1] if saved else None,
            headline=status.headline,
            processes=status.processes,
        )

    def summary(self, curve: bool = False, whole: bool = False) -> dict[str, Any]:
        """One row of `ctkd runs ls --json`; with `curve`, also `losses`, some points of the training loss.

        A damaged run has the status "damaged", a message that says what and where, and None for what isn't known. So
        has one that ended and has rows of metrics that are none, with the figures of all others, or no longer says
        which sweep made it; before it has ended, that is a warning. `whole` looks at the rows even where the status has
        their figures: the size of the file doesn't tell every change.
        """
        status, problem, config = self.status(), "", None
        try:
            config = self.config
            found = self._headline(status, whole)
        except RunError as fault:
            problem, found = str(fault), NOTHING
        if status.state == "damaged":
            problem = status.message
        warnings = list(status.warnings)
        sweep, wrong = membership.sweep_or_damage(self.dir)
        for damage in (found.damage, self._damaged(membership.SWEEP.name, wrong) if wrong else ""):
            if damage and status.ended_already:
                problem = problem or damage
            elif damage:
                warnings.append(damage)
        row = {
            "run_id": self.id,
            "run_dir": str(self.dir),
            "name": config.name if config else "",
            "status": "damaged" if problem else status.state,
            "message": _as_damage(problem) if problem else status.message,
            "warnings": warnings,
            "step": None if status.state == "damaged" else status.step,
            "steps": config.steps if config else None,
            **{key: getattr(config, key, None) for key in _OF_THE_CONFIG},
            "created": status.created or None,
            **{key: getattr(status, key) for key in ("seconds", "attempt", "processes", "last_checkpoint")},
            "asked_to_stop": not status.ended_already and cancel_asked(self.dir, status.attempt),
            "archived": self.archived,
            "sweep": sweep,
            "student_dir": str(folder) if (folder := kept_student(self.dir)) else None,
            "metrics": found.figures(),
        }
        return row | {"losses": list(found.curve)} if curve else row

    def _headline(self, status: RunStatus, whole: bool = False) -> Headline:
        """The figures that lists show: from the status, else derived from the metrics, once. Raises RunError."""
        path = self.dir / METRICS
        try:
            found = path.stat()
        except FileNotFoundError:
            return status.headline or NOTHING
        except OSError as fault:
            raise RunError(self._damaged(METRICS, reason(fault))) from None
        if not stat.S_ISREG(found.st_mode) or not os.access(path, os.R_OK):
            raise RunError(self._damaged(METRICS, "it isn't a file that can be read"))
        kept = status.headline
        # While the worker lives, its figures are at most a heartbeat old. A run that ended has all rows in them.
        fresh = kept is not None and (not status.ended_already or kept.size in (None, found.st_size))
        if kept is not None and fresh and not (whole or kept.damage):
            return kept
        derived = _derived(str(self.dir), found.st_mtime_ns, found.st_size)
        if status.ended_already and status.state != "damaged" and derived != kept:
            self._keep(derived)
        return derived

    def _keep(self, headline: Headline) -> None:
        """Put the figures of a run that has ended into its status; where that can't be written, nothing is lost."""
        with suppress(OSError, CtkdError), self.work.lock():
            written = read_status(self.dir, RunStatus)
            if written.ended_already and written.state != "damaged":
                write_status(self.dir, replace(written, headline=headline))

    def _alive(self, status: RunStatus) -> bool:
        """Whether something may still happen by itself; of a damaged status, whether the process lives."""
        process = process_of(self.dir, status)
        return (
            process is not None and process_alive(*process) if status.state == "damaged" else not status.ended_already
        )

    def _silent_elsewhere(self) -> RunStatus | None:
        """The status of a run on another computer whose heartbeat stood still while it was watched here."""
        status = self.status()
        there = not status.ended_already and status.pid is not None and elsewhere(status)
        return status if there and self.work.stands_still(WATCHED_SECONDS) else None

    def _unwritable(self, what: str, fault: OSError) -> RunError:
        return RunError(
            f"run {self.id!r} can't be {what}: something in {str(self.dir)!r} can't be written ({reason(fault)}). "
            "Nothing was lost; free some space or mend the folder's rights, then try again."
        )


_OF_THE_CONFIG = (
    *("method", "variant", "student", "teacher", "student_model", "student_path", "seed"),
    *("data", "eval_data", "eval_share"),
)


@lru_cache(maxsize=2048)
def _derived(run_dir: str, _changed: int, size: int) -> Headline:
    """The headline of a metrics.jsonl as it was at a time of change and a size."""
    part = Run(Path(run_dir)).metrics_part()
    return HeadlineKeeper(current_rows(part.rows), part.damage).headline(size)


def _as_damage(text: str) -> str:
    return text if text.startswith("damaged: ") else f"damaged: {text}"


def _worker_environment(given: Mapping[str, str] | None) -> dict[str, str]:
    """What the worker's libraries read from the environment; `given` is laid over it."""
    quiet = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return quiet | dict(given or {})


class RunStore:
    """All runs under one folder; the default is CTKD_HOME/runs."""

    def __init__(self, root: str | Path | None = None) -> None:
        if root is None:
            root = files.home() / "runs"
        self.root = files.expanded(root, RunError).resolve()

    def create(self, config: RunConfig, folder: str = "") -> Run:
        """A new run folder with its config, as if made in `folder` (the current one); nothing is started.

        Raises RunError when the folder can't be written, and for a name that a run can't have.
        """
        check_name(config.name)
        run_dir = self.root / new_run_id()
        try:
            (run_dir / "control").mkdir(parents=True)
            (run_dir / "checkpoints").mkdir()
            # The status first: a folder with a config and without a status is a damaged run.
            first = RunStatus(total_steps=config.steps, created=time.time(), message="Created, not started.")
            write_status(run_dir, first)
            working_folder.note(run_dir, folder or working_folder.current())
            files.write_atomic(run_dir / CONFIG, kept_config.written(config), sync=True)
            (run_dir / CONFIG).chmod(0o444)
        except OSError as fault:
            shutil.rmtree(run_dir, ignore_errors=True)
            raise RunError(
                f"can't write a run folder under {short(self.root)}: {reason(fault)}; choose another --runs-dir."
            ) from None
        return Run(run_dir)

    def launch(self, run: Run, environment: dict[str, str] | None = None) -> Run:
        """Start the detached worker of a run that was created and not started yet.

        Raises RunError when it was started before (use `resume`), or something can't be written.
        """
        try:
            with run.work.lock():
                status = run.status()
                if status.state != "queued" or process_of(run.dir, status) is not None:
                    raise RunError(
                        f"run {run.id!r} was started before and is {status.state}; resume it, or create a new one."
                    )
                run.work.launch(WORKER, replace(status, message="Waiting to start."), _worker_environment(environment))
        except OSError as fault:
            raise run._unwritable("started", fault) from fault
        return run

    def list(self, archived: bool = False) -> list[Run]:
        """Runs, newest first, archived ones only on request; damaged ones too, what isn't a run is passed over.

        Raises RunError when the folder of all runs can't be read.
        """
        try:
            with os.scandir(self.root) as entries:
                found = [Run(self.root / entry.name) for entry in entries if _is_run(Path(entry.path))]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as fault:
            raise RunError(f"the runs under {short(self.root)} can't be read: {reason(fault)}.") from None
        return sorted((r for r in found if archived or not r.archived), key=lambda run: run.id, reverse=True)

    def get(self, name: str) -> Run:
        """The run with this id, this unique beginning or end of one, or this name; see `lookup.named`.

        Raises RunError for none or several.
        """
        return self.get_all([name])[0]

    def get_all(self, names: Iterable[str]) -> tuple[Run, ...]:
        """As `get`, for several names: the folder of all runs is read once."""
        runs = {run.id: run for run in self.list(archived=True)}
        return tuple(self._named(name, runs) for name in names)

    def _named(self, name: str, runs: Mapping[str, Run]) -> Run:
        if not runs:
            raise RunError(
                f"there's no run {short(name)}: no runs under {short(self.root)} yet. Start one with `ctkd distill`."
            )
        return named("run", name, runs, name_of)

    def archive(self, name: str, archived: bool = True) -> Run:
        """Put a run out of sight, or back (`archived=False`); nothing of it is lost.

        Raises RunError for a run that hasn't ended.
        """
        run = self.get(name)
        run._refuse_opened()
        mark = run.dir / ARCHIVED
        try:
            if not archived:
                mark.unlink(missing_ok=True)
            else:
                with run.work.lock():  # somebody may be resuming it just now
                    status = run.status()
                    if not status.ended_already:
                        raise RunError(f"run {run.id!r} is {status.state}; cancel it before archiving it.")
                    mark.touch()
        except OSError as fault:
            raise run._unwritable("archived" if archived else "brought back", fault) from fault
        return run

    def remove(self, name: str) -> None:
        """Delete a run's folder. Raises RunError while the run is alive."""
        run = self.get(name)
        run._refuse_opened()
        silent = run._silent_elsewhere()
        status = run.status()
        if run._alive(status) and status != silent and process_of(run.dir, status) is not None:
            raise RunError(f"run {run.id!r} is {status.state}; cancel it before removing it.")
        try:
            if run.dir.is_dir() and not run.dir.is_symlink():
                shutil.rmtree(run.dir)
            else:
                run.dir.unlink()
        except OSError as fault:
            raise RunError(f"run {run.id!r} can't be removed whole: {fault}; mend the folder's rights.") from None

    def finished_of(self, student: str, teacher: str, most: int = MOST_OF_A_PAIR) -> tuple[Run, ...]:
        """The newest finished runs of a pair of tokenizers, at most so many; damaged ones are passed over.

        Raises RunError as `list` does.
        """
        found: list[Run] = []
        for run in self.list():
            try:
                asked = run.config.student, run.config.teacher
            except RunError:
                continue
            if asked == (student, teacher) and run.status().state == "finished":
                found.append(run)
                if len(found) == most:
                    break
        return tuple(found)

    def compare(self, names: Iterable[str]) -> dict[str, Any]:
        """Several runs side by side: their summaries, and the options in which they differ.

        {"runs": [summary, ...], "differences": {option: [value per run]}, "deltas": {run_id: bits per byte minus the
        first run's, None when either is missing or on other held-out text}}. Raises RunError for fewer than two runs.
        """
        return compare_runs(self.get_all(names))


def run_at(folder: str | Path) -> Run:
    """The run in this folder, wherever it lies. Raises RunError for a folder that isn't a run."""
    place = Path(os.path.abspath(files.expanded(folder, RunError)))  # noqa: PTH100 - a link keeps its own name
    if not os.path.isdir(place):  # noqa: PTH112 - a name that is too long is none
        raise RunError(f"there is no folder {short(str(folder))}; a run is a folder with {CONFIG} in it.")
    if not _is_run(place):
        raise RunError(f"{short(str(folder))} isn't a run; a run is a folder with {CONFIG} in it.")
    return Run(place)


def compare_runs(runs: Sequence[Run]) -> dict[str, Any]:
    """What `RunStore.compare` says, of runs of any folders. Raises RunError for fewer than two."""
    if len(runs) < 2:
        raise RunError(f"comparing takes at least two runs; got {len(runs)}.")
    tables = [flat(run.config.every_option()) | {"processes": run.processes or 1} for run in runs]
    values = {key: [table.get(key) for table in tables] for key in sorted({k for table in tables for k in table})}
    summaries = [run.summary() for run in runs]
    finals = [s["metrics"]["bits_per_byte_after"] for s in summaries]
    return {
        "runs": summaries,
        "differences": {key: row for key, row in values.items() if len({repr(v) for v in row}) > 1},
        "deltas": {
            run.id: None
            if final is None or finals[0] is None or differing_in([runs[0].config, run.config])
            else final - finals[0]
            for run, final in zip(runs, finals)
        },
    }


def new_run_id() -> str:
    """UTC date and time to the millisecond, then five random characters: "20261104-153012-418-k3x9q"."""
    now = time.time()
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    tail = "".join(secrets.choice("abcdefghjkmnpqrstvwxyz23456789") for _ in range(5))
    return f"{stamp}-{int(now * 1000) % 1000:03d}-{tail}"


def _is_run(folder: Path) -> bool:
    """Whether something in the folder of runs is a run, or was one before it was damaged."""
    return bool(_ID.fullmatch(folder.name)) or any(os.path.lexists(folder / name) for name in (CONFIG, STATUS))
