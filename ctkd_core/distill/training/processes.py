"""Several processes that train one run: who they are, and what they tell each other.

`torchrun` and `accelerate launch` start one process a device and name them in the environment. The first one owns the
run's folder; the others compute. Objects travel through torch.distributed, whose group the Trainer sets up.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any, TypeVar

from ctkd_core import files
from ctkd_core.errors import RunError

T = TypeVar("T")


def world_size() -> int:
    """Processes of this launch; 1 without torchrun or accelerate."""
    named = all(name in os.environ for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR"))
    return max(1, _number("WORLD_SIZE", 1)) if named else 1


def rank() -> int:
    """Number of this process, from 0."""
    return _number("RANK", 0) if world_size() > 1 else 0


def local_rank() -> int:
    """Number of this process on its computer, from 0: which of the devices is its own."""
    return _number("LOCAL_RANK", 0) if world_size() > 1 else 0


def local_size() -> int:
    """Processes of this launch on this computer."""
    return max(1, _number("LOCAL_WORLD_SIZE", world_size())) if world_size() > 1 else 1


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else default


def refuse_another_number(run_dir: Path, began: int | None, now: int) -> None:
    """Raise RunError, with the command to type, where a run that began in so many processes would go on in others.

    A step learns from the batches of all of them, so it would be another experiment. `began` None: nobody knows.
    """
    if began is None or began == now:
        return
    name = run_dir.name if run_dir.parent == (files.home() / "runs").resolve() else shlex.quote(str(run_dir))
    program = "ctkd" if began == 1 else f"torchrun --nproc-per-node {began} -m ctkd_core"
    raise RunError(
        f"run {run_dir.name!r} began in {_counted(began)}, whose batches make a step; in {_counted(now)} it would "
        f"learn from {'fewer' if now < began else 'more'} samples in each. Go on as it began: {program} runs resume "
        f"{name}"
    )


def _counted(number: int) -> str:
    return f"{number} processes" if number > 1 else "one process"


def gathered(value: T) -> list[T]:
    """`value` of every process, by rank; [value] where there is one process. All processes have to call it."""
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found
