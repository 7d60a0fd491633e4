"""Where a run keeps its trained student, and what to say where it keeps none. Loads no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ctkd_core.errors import CtkdError

if TYPE_CHECKING:
    from ctkd_core.distill.runs import Run

STUDENT = Path("checkpoints") / "student"  # in the folder of a run
HOW_TO_KEEP = "keep one with --save-student true"


def kept_student(run_dir: Path) -> Path | None:
    """The folder of the student that a run kept; None where there is none (yet)."""
    folder = run_dir / STUDENT
    return folder if (folder / "config.json").is_file() else None


def about_student(run: Run) -> str:
    """Where the run's student is, or why there is none and how to keep one; "" where it may still come."""
    if (folder := kept_student(run.dir)) is not None:
        return str(folder)
    try:
        why, mend = why_none(run)
    except CtkdError:  # a damaged run says so elsewhere
        return ""
    return f"no student kept ({why}); {mend}" if why else ""


def why_none(run: Run) -> tuple[str, str]:
    """Why a run without a kept student has none, and what to do; "" and "" where it may still come.

    Raises RunError for a damaged config.
    """
    if not run.config.save_student:
        return "save_student is false", HOW_TO_KEEP
    status = run.status()
    if status.state == "finished":
        return f"{STUDENT} isn't there any more", "run it again"
    return (f"the run is {status.state}", "it is kept after the last step") if status.ended_already else ("", "")
