"""What a run's folder says of others: the sweep that made it (sweep.json) and its place in the queue (control/place).

Both files are optional: a run without them was started alone and waits by the time at which it was made.
"""

from __future__ import annotations

from pathlib import Path

from pydantic.dataclasses import dataclass

from ctkd_core.background.status import RECORD, Status, process_of, read_record, reason, write_record

SWEEP, PLACE = Path("sweep.json"), Path("control") / "place"


@dataclass(frozen=True, config=RECORD)
class Membership:
    """The sweep that made the run."""

    sweep: str


@dataclass(frozen=True, config=RECORD)
class Place:
    """Where the run stands in the queue: lower comes first. By default the time at which it was queued, in seconds."""

    place: float


def sweep_of(run_dir: Path) -> str | None:
    """The id of the sweep that made the run; None for a run of its own, or a file that can't be read."""
    return sweep_or_damage(run_dir)[0]


def sweep_or_damage(run_dir: Path) -> tuple[str | None, str]:
    """As `sweep_of`, and what is wrong with the file, in a few words; "" for a sound one and where there is none."""
    path = run_dir / SWEEP
    try:
        return read_record(path, Membership).sweep, ""
    except FileNotFoundError as fault:
        return None, reason(fault) if path.is_symlink() else ""  # a link that leads nowhere
    except (OSError, ValueError) as fault:
        return None, reason(fault)


def join(run_dir: Path, sweep: str) -> None:
    """Note that the run belongs to a sweep. Raises OSError."""
    write_record(run_dir / SWEEP, Membership(sweep))


def place_of(run_dir: Path) -> float | None:
    """The place that somebody gave the run in the queue; None where nobody did."""
    try:
        return read_record(run_dir / PLACE, Place).place
    except (OSError, ValueError):
        return None


def waits(run_dir: Path, status: Status) -> bool:
    """Whether a run that stands so is in the queue; one that was made and never started isn't."""
    return status.state == "queued" and (place_of(run_dir) is not None or process_of(run_dir, status) is not None)


def put(run_dir: Path, place: float) -> None:
    """Give the run a place in the queue. Raises OSError."""
    write_record(run_dir / PLACE, Place(place))
