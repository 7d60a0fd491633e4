"""What the run learns of its training: steps, metrics, checkpoints, and where it says stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from ctkd_core.background.progress import Cancelled
from ctkd_core.distill.training import processes

if TYPE_CHECKING:
    from ctkd_core.distill.trainer import DistillTrainer
    from ctkd_core.distill.training.energy import EnergyMeter


class RunCallback(TrainerCallback):
    """Tells the run what happens at each step: a metrics row, the step in the status, cancelling, evaluation."""

    def __init__(
        self,
        write: Callable[[dict[str, Any]], None],
        note: Callable[..., None],
        cancelled: Callable[[], bool],
        evaluate: Callable[[int], None],
        eval_every: int,
        energy: EnergyMeter | None = None,
    ) -> None:
        self._write = write
        self._note = note
        self._cancelled = cancelled
        self._evaluate = evaluate
        self._eval_every = eval_every
        self._energy = energy
        self._since, self._cpu_since = time.perf_counter(), time.process_time()
        self._seconds = self._cpu_seconds = 0.0
        self._joules: float | None = None
        self.trainer: DistillTrainer | None = None
        self.stopped = False

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock of this step, and the meter: what happens between steps isn't training."""
        self._wait_for_device()
        if self._energy:
            self._energy.spent()
        self._since, self._cpu_since = time.perf_counter(), time.process_time()

    def _wait_for_device(self) -> None:
        """A GPU works on behind the program: without this, a step's end would be counted to what follows."""
        device = self.trainer.args.device if self.trainer is not None else None
        if device is not None and device.type == "cuda":
            import torch

            torch.cuda.synchronize(device)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002
        """Append the metrics row of one step."""
        assert self.trainer is not None
        if not logs or "loss" not in logs:
            return
        parts = dict(self.trainer.recorded)
        seconds = self._seconds
        self._write(
            {
                "kind": "train",
                "step": state.global_step,
                "time": time.time(),
                "loss": parts.pop("loss"),
                "learning_rate": logs.get("learning_rate"),
                "gradient_norm": logs.get("grad_norm"),
                "tokens_per_second": parts.pop("tokens") / max(seconds, 1e-9),
                "seconds": seconds,
                "cpu_seconds": self._cpu_seconds,
                **({} if self._joules is None else {"joules": self._joules}),
                **parts,
            }
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:  # noqa: ARG002
        """Note the step; stop, with a checkpoint, when somebody asked for it; evaluate where that is due."""
        self._wait_for_device()
        self._seconds = time.perf_counter() - self._since
        self._cpu_seconds = time.process_time() - self._cpu_since
        self._joules = self._energy.spent() if self._energy else None
        self._note(step=state.global_step, message=f"Step {state.global_step} of {state.max_steps}.")
        stop = self._stop_asked()
        due = self._eval_every and state.global_step % self._eval_every == 0 and state.global_step < state.max_steps
        if due and not stop:
            with suppress(Cancelled):  # asked for while it evaluates: this step's checkpoint is kept first
                self._evaluate(state.global_step)
            stop = self._stop_asked()
        if stop:
            self.stopped = control.should_training_stop = control.should_save = True
        return control

    def _stop_asked(self) -> bool:
        return any(processes.gathered(self._cancelled()))  # all processes stop behind the same step

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Note the checkpoint."""
        self._note(last_checkpoint=state.global_step)
