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
        asked = run.config.save_student
    except CtkdError:  # a damaged run says so elsewhere
        return ""
    if not asked:
        return f"no student kept (save_student is false); {HOW_TO_KEEP}"
    state = run.status().state
    if state == "finished":
        return f"no student kept ({STUDENT} isn't there any more); run it again"
    return f"no student kept (the run is {state}); it is kept after the last step" if run.status().ended_already else ""
