"""The store of runs: one folder each, and the folders are the truth.

    config.json  what was asked, never changed    env.json       versions, device, fingerprints of that moment
    status.json  where it stands (status.py)      metrics.jsonl, samples.jsonl  append-only (records.py)
    log.txt      what the worker printed          checkpoints/  control/cancel

There is no index to go stale: listing reads two small files a run, which is quick up to some thousand runs.
This module loads no torch, so pages may import it.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctkd_core.background.processes import GRACE_SECONDS, stop_process
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.launch import request_cancel, start_worker
from ctkd_core.distill.records import current_rows, metrics_frame, read_records
from ctkd_core.distill.status import RunStatus, read_launch, read_status, write_json, write_status
from ctkd_core.errors import RunError, unknown

if TYPE_CHECKING:
    import pandas as pd


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

    @cached_property
    def config(self) -> RunConfig:
        """What was asked. Raises RunError when config.json is missing, unreadable or was changed afterwards."""
        try:
            data = json.loads((self.dir / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as fault:
            raise RunError(
                f"run {self.id!r}: config.json can't be read ({fault}); the folder isn't a whole run."
            ) from None
        expected = data.pop("fingerprint", None)
        config = RunConfig.from_dict(data)
        if config.fingerprint != expected:
            raise RunError(
                f"run {self.id!r}: config.json was changed after the run was created (its fingerprint doesn't match); "
                "restore it, or start a new run with the changed options."
            )
        return config

    @property
    def environment(self) -> dict[str, Any]:
        """env.json: versions, device and fingerprints when the worker started; {} before that."""
        try:
            return json.loads((self.dir / "env.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    @property
    def archived(self) -> bool:
        """Whether somebody put the run out of sight; its folder stays where it is."""
        return (self.dir / "control" / "archived").exists()

    def status(self) -> RunStatus:
        """Where the run stands; "lost" when its process is gone without having said so."""
        return read_status(self.dir)

    def metrics(self) -> pd.DataFrame:
        """All rows of metrics.jsonl that count, one column a figure; see `records.metrics_frame`."""
        return metrics_frame(self.metric_rows())

    def metric_rows(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl that count, as they were written."""
        return current_rows(read_records(self.dir / "metrics.jsonl")[0])

    def read_metrics(self, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
        """Rows of metrics.jsonl from byte `offset`, and the next offset: what a live view polls.

        A row of kind "resume" says that earlier rows after its step no longer count (`records.current_rows`).
        """
        return read_records(self.dir / "metrics.jsonl", offset)

    def samples(self) -> list[dict[str, Any]]:
        """Completions of held-out prompts: step, prompt, reference, student, teacher."""
        return current_rows(read_records(self.dir / "samples.jsonl")[0])

    def log_tail(self, lines: int = 40) -> str:
        """The last lines of log.txt."""
        try:
            with (self.dir / "log.txt").open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 400 * lines))
                text = file.read().decode("utf-8", errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def checkpoints(self) -> list[int]:
        """Steps from which the run could go on, oldest first."""
        marks = (self.dir / "checkpoints").glob("checkpoint-*/trainer_state.json")  # written last
        return sorted(int(m.parent.name.partition("-")[2]) for m in marks if _whole(m))

    def cancel(self, wait: bool = True, grace: float = GRACE_SECONDS) -> RunStatus:
        """Stop the run: ask, wait `grace` seconds, SIGTERM, wait, SIGKILL. `wait=False` only asks.

        Raises RunError when the run has ended already.
        """
        status = self.status()
        if status.ended_already:
            raise RunError(f"run {self.id!r} is {status.state}; there's nothing to cancel.")
        request_cancel(self.dir)
        launched = read_launch(self.dir) or {}
        pid = status.pid or launched.get("pid")
        if pid is None:  # created, never launched
            write_status(self.dir, replace(status, state="cancelled", message="Cancelled before it was started."))
            return self.status()
        if wait and status.detached:
            stop_process(pid, status.pid_created or launched.get("pid_created"), grace)
            left = self.status()
            if left.state == "lost":  # it had to be killed and couldn't write this itself
                ended = replace(left, state="cancelled", message="Cancelled; the process had to be killed.")
                write_status(self.dir, replace(ended, ended=time.time()))
        return self.status()

    def resume(self, environment: dict[str, str] | None = None) -> Run:
        """Go on from the last checkpoint (from the start without one) as a new attempt of the same run.

        Raises RunError when the run hasn't ended or is finished.
        """
        status = self.status()
        if not status.ended_already:
            raise RunError(f"run {self.id!r} is {status.state}; cancel it before resuming it.")
        if status.state == "finished":
            raise RunError(f"run {self.id!r} is finished after {status.step} steps; start a new run with more steps.")
        _ = self.config  # refuse a damaged folder here rather than in the worker
        (self.dir / "control" / "cancel").unlink(missing_ok=True)
        (self.dir / "control" / "launch.json").unlink(missing_ok=True)
        saved = self.checkpoints()
        again = RunStatus(
            state="queued",
            step=saved[-1] if saved else 0,
            total_steps=status.total_steps,
            message="Waiting to go on.",
            attempt=status.attempt + 1,
            created=status.created,
            last_checkpoint=saved[-1] if saved else None,
        )
        write_status(self.dir, again)
        start_worker(self.dir, again.attempt, environment)
        return self

    def summary(self) -> dict[str, Any]:
        """One row of `ctkd runs ls --json`."""
        status, config = self.status(), self.config
        return {
            "run_id": self.id,
            "run_dir": str(self.dir),
            "name": config.name,
            "status": status.state,
            "message": status.message,
            "step": status.step,
            "steps": config.steps,
            "method": config.method,
            "variant": config.variant,
            "student": config.student,
            "teacher": config.teacher,
            "student_model": config.student_model,
            "seed": config.seed,
            "created": status.created,
            "seconds": status.seconds,
            "attempt": status.attempt,
            "archived": self.archived,
            "metrics": headline(self.metric_rows()),
        }


def headline(rows: Iterable[dict[str, Any]]) -> dict[str, float | None]:
    """First and last loss and bits per byte; None for what wasn't measured (yet)."""
    rows = list(rows)
    losses = [r["loss"] for r in rows if r.get("kind") == "train"]
    evals = [r for r in rows if r.get("kind") == "eval"]
    before = next((r["bits_per_byte"] for r in evals if r["step"] == 0), None)
    after = next((r["bits_per_byte"] for r in reversed(evals) if r["step"] > 0), None)
    teacher = next((r["teacher_bits_per_byte"] for r in evals if r.get("teacher_bits_per_byte") is not None), None)
    return {
        "loss_first": losses[0] if losses else None,
        "loss_last": losses[-1] if losses else None,
        "bits_per_byte_before": before,
        "bits_per_byte_after": after,
        "teacher_bits_per_byte": teacher,
    }


class RunStore:
    """All runs under one folder; the default is CTKD_HOME/runs."""

    def __init__(self, root: str | Path | None = None) -> None:
        if root is None:
            from ctkd_core.files import home

            root = home() / "runs"
        self.root = Path(root).expanduser().resolve()

    def create(self, config: RunConfig) -> Run:
        """A new run folder with its config; nothing is started.

        Raises RunError when the folder can't be written.
        """
        run_dir = self.root / new_run_id()
        try:
            (run_dir / "control").mkdir(parents=True)
            (run_dir / "checkpoints").mkdir()
            write_json(run_dir / "config.json", config.to_dict() | {"fingerprint": config.fingerprint})
            (run_dir / "config.json").chmod(0o444)
            write_status(
                run_dir,
                RunStatus(total_steps=config.steps, created=time.time(), message="Created, not started."),
            )
        except OSError as fault:
            raise RunError(
                f"can't write a run folder under {str(self.root)!r}: {fault}; choose another --runs-dir."
            ) from None
        return Run(run_dir)

    def launch(self, run: Run, environment: dict[str, str] | None = None) -> Run:
        """Start the detached worker of a run that was created and not started yet.

        Raises RunError when it was started before (use `resume`).
        """
        status = run.status()
        if status.state != "queued" or status.pid is not None or read_launch(run.dir) is not None:
            raise RunError(f"run {run.id!r} was started before and is {status.state}; resume it, or create a new one.")
        start_worker(run.dir, status.attempt, environment)
        return run

    def list(self, archived: bool = False) -> list[Run]:
        """Runs, newest first, archived ones only on request; folders without a config are passed over."""
        if not self.root.is_dir():
            return []
        found = [Run(path) for path in self.root.iterdir() if (path / "config.json").is_file()]
        return sorted((r for r in found if archived or not r.archived), key=lambda run: run.id, reverse=True)

    def get(self, name: str) -> Run:
        """The run with this id, this unique beginning of one, or this unique end of one.

        Raises RunError for none or several.
        """
        runs = {run.id: run for run in self.list(archived=True)}
        if name in runs:
            return runs[name]
        near = [run for key, run in runs.items() if name and (key.startswith(name) or key.endswith(name))]
        if len(near) == 1:
            return near[0]
        if near:
            raise RunError(
                f"{name!r} fits {len(near)} runs ({', '.join(r.id for r in near[:4])}); write more of the id."
            )
        if not runs:
            raise RunError(
                f"there's no run {name!r}: no runs under {str(self.root)!r} yet. Start one with `ctkd distill`."
            )
        raise unknown("run", name, runs, RunError)

    def archive(self, name: str, archived: bool = True) -> Run:
        """Put a run out of sight, or back (`archived=False`); nothing of it is lost.

        Raises RunError for a run that hasn't ended.
        """
        run = self.get(name)
        mark = run.dir / "control" / "archived"
        if not archived:
            mark.unlink(missing_ok=True)
        elif run.status().ended_already:
            mark.touch()
        else:
            raise RunError(f"run {run.id!r} is {run.status().state}; cancel it before archiving it.")
        return run

    def remove(self, name: str) -> None:
        """Delete a run's folder. Raises RunError while the run is alive."""
        run = self.get(name)
        status = run.status()
        if not status.ended_already and (status.pid is not None or read_launch(run.dir) is not None):
            raise RunError(f"run {run.id!r} is {status.state}; cancel it before removing it.")
        shutil.rmtree(run.dir)

    def compare(self, names: Iterable[str]) -> dict[str, Any]:
        """Several runs side by side: their summaries, and the options in which they differ.

        {"runs": [summary, ...], "differences": {option: [value per run]}, "deltas": {run_id: bits per byte minus the
        first run's, None when either is missing}}. Raises RunError for fewer than two runs.
        """
        runs = [self.get(name) for name in names]
        if len(runs) < 2:
            raise RunError(f"comparing takes at least two runs; got {len(runs)}.")
        flat = [_flat(run.config.to_dict()) for run in runs]
        values = {key: [table.get(key) for table in flat] for key in sorted({k for table in flat for k in table})}
        summaries = [run.summary() for run in runs]
        finals = [s["metrics"]["bits_per_byte_after"] for s in summaries]
        return {
            "runs": summaries,
            "differences": {key: row for key, row in values.items() if len({repr(v) for v in row}) > 1},
            "deltas": {
                run.id: (final - finals[0] if final is not None and finals[0] is not None else None)
                for run, final in zip(runs, finals)
            },
        }


def new_run_id() -> str:
    """UTC date and time to the millisecond, then five random characters: "20261104-153012-418-k3x9q"."""
    now = time.time()
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    tail = "".join(secrets.choice("abcdefghjkmnpqrstvwxyz23456789") for _ in range(5))
    return f"{stamp}-{int(now * 1000) % 1000:03d}-{tail}"


def _whole(state: Path) -> bool:
    try:
        return "global_step" in json.loads(state.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
