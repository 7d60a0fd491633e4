"""Where a run stands: the status of background work, with steps, checkpoints and the figures that lists show."""

from __future__ import annotations

from pydantic import Field
from pydantic.dataclasses import dataclass

from ctkd_core.background.status import RECORD, Status
from ctkd_core.distill.headline import Headline


@dataclass(frozen=True, config=RECORD)
class RunStatus(Status):
    """One moment of a run; see `Status`.

    headline   None in runs of before it was kept
    warnings   sentences about the data and the models that people should know
    processes  that train it, whose batches are one step; None before one began, and in runs of before it was kept
    """

    step: int = 0
    total_steps: int = 0
    last_checkpoint: int | None = None
    headline: Headline | None = None
    warnings: tuple[str, ...] = ()
    processes: int | None = Field(default=None, ge=1)

    def doing(self, message: str) -> str:
        """What is being done before the first step, as a sentence; a later attempt says where it goes on, too."""
        if self.attempt < 2:
            return message
        where = "from the beginning" if self.last_checkpoint is None else f"from step {self.last_checkpoint}"
        return f"Going on {where}: {message[:1].lower()}{message[1:]}"

    @property
    def cancelled_message(self) -> str:
        """With the step at which it stopped, and from where it can go on."""
        return f"Cancelled {self._where}; {self.kept}."

    @property
    def killed_message(self) -> str:
        """It couldn't keep a checkpoint of that moment."""
        return f"Cancelled {self._where}, and its process was killed; {self.kept}."

    @property
    def _where(self) -> str:
        return f"at step {self.step} of {self.total_steps}" if self.step else "before its first step"

    @property
    def kept(self) -> str:
        """What a resume goes on from, as a part of a sentence."""
        if self.last_checkpoint is None:
            return "there is no checkpoint, so resume begins again"
        return f"the checkpoint of step {self.last_checkpoint} is kept, and resume goes on from there"

    @property
    def lost_message(self) -> str:
        """With the step it had come to."""
        said = f"The process {self.pid} ended without a word {self._where}"
        return f"{said}: killed, the machine went down, or its folder can't be written. Resume it."
