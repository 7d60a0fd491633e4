"""The training loop is transformers.Trainer's; this file tells it the loss, and the run what happens.

Checkpoints, resuming, accumulation, mixed precision and several devices through `accelerate launch` come from there.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import Trainer, TrainerCallback, TrainingArguments

from ctkd_core import methods
from ctkd_core.alignment.base import KINDS
from ctkd_core.distill.config import RunConfig
from ctkd_core.errors import LossInputError, RunError
from ctkd_core.losses import loss as method_loss
from ctkd_core.losses import make_state
from ctkd_core.losses.base import StateContext, States
from ctkd_core.losses.batch import AlignedBatch, AlignedSample, collate

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ctkd_core.encoding import Tokenizer

FREE_BYTES = 500_000_000  # what a checkpoint must leave on the disk
STATE = "loss_state"  # name of the submodule that holds what a loss learns


class DistillTrainer(Trainer):
    """Trainer whose loss is a method of the table.

    `teacher` None: the method asks no teacher. What the loss itself learns (SeDi's omega) becomes a submodule of the
    model, so that it is in the optimiser, in checkpoints and moves with the model.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        config: RunConfig,
        samples: Sequence[AlignedSample],
        tokenizers: tuple[Tokenizer, Tokenizer],
        teacher: PreTrainedModel | None,
        output_dir: Path,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        self._config = config
        self._teacher = teacher
        self._options = dict(config.method_options)
        self.recorded: dict[str, Any] = {}  # what the last optimiser step's losses were made of
        self._parts: list[dict[str, Any]] = []
        self._row = methods.get(config.method)
        width = model.get_output_embeddings().weight.shape[0]
        state = make_state(config.method, width, context=_context(model, teacher, tokenizers), **self._options)
        if state is not None:
            model.add_module(STATE, state)
        self._parameters = sum(int(p.numel()) for p in model.parameters())
        super().__init__(
            model=model,
            args=training_arguments(config, output_dir, str(model.device)),
            train_dataset=_Samples(samples),
            data_collator=lambda batch: {"batch": collate(batch, *tokenizers)},
            callbacks=list(callbacks),
        )
        self.loss_is_scaled_for_ga = False  # a mean over one batch
        self.can_return_loss = True

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,  # noqa: ARG002 - losses average over response rows themselves
    ) -> Any:
        """The method's loss of one batch: logits [B, Ts, Vs] against the frozen teacher's [B, Tt, Vt]."""
        batch: AlignedBatch = inputs["batch"].to(self.args.device)
        plain = self.accelerator.unwrap_model(model)
        logits, states = self._forward(model, plain, batch.student_ids, batch.student_attention)
        teacher_logits, teacher_states = self._ask_teacher(batch)
        try:
            out = method_loss(
                self._config.method,
                logits,
                teacher_logits,
                batch,
                variant=self._config.variant,
                state=getattr(plain, STATE, None),
                student_states=states,
                teacher_states=teacher_states,
                **self._options,
            )
        except LossInputError as fault:
            raise self._broken(batch, str(fault)) from fault
        value = float(out.loss.detach())
        if not math.isfinite(value):
            raise self._broken(batch, f"the loss became {value}.")
        self._note(value, out, batch)
        return (out.loss, {"logits": logits}) if return_outputs else out.loss

    def _ask_teacher(self, batch: AlignedBatch) -> tuple[Tensor | None, States | None]:
        if self._teacher is None:
            return None, None
        with torch.no_grad(), self.accelerator.autocast():
            return self._forward(self._teacher, self._teacher, batch.teacher_ids, batch.teacher_attention)

    def _forward(self, model: Any, plain: Any, ids: Tensor, mask: Tensor) -> tuple[Tensor, States | None]:
        """Logits [B, T, V], and hidden states where the method reads them."""
        deep = "hidden_states" in self._row.needs
        out = model(input_ids=ids, attention_mask=mask, use_cache=False, output_hidden_states=deep)
        if not deep:
            return out.logits, None
        head, embeddings = plain.get_output_embeddings().weight, plain.get_input_embeddings().weight
        return out.logits, States(tuple(out.hidden_states), head, embeddings)

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return inputs  # compute_loss moves the batch; it is no plain dictionary of tensors

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """6 x parameters x tokens, the usual estimate of one training step."""
        batch: AlignedBatch = inputs["batch"]
        return 6 * int(batch.student_attention.sum()) * self._parameters

    def _note(self, value: float, out: Any, batch: AlignedBatch) -> None:
        self._parts.append(
            {
                "loss": value,
                "terms": {k: float(v) for k, v in out.terms.items()},
                "diagnostics": out.diagnostics,
                "by_kind": _by_kind(out.per_group, batch.groups),
                "tokens": int(batch.student_attention.sum()),
            }
        )
        if len(self._parts) >= self.args.gradient_accumulation_steps:
            self.recorded, self._parts = _mean_parts(self._parts), []

    def _broken(self, batch: AlignedBatch, reason: str) -> RunError:
        text = batch.student.decode(batch.student_ids[0].tolist())[:200] if batch.student else ""
        return RunError(
            f"step {self.state.global_step + 1} can't be computed: {reason} The last good step is "
            f"{self.state.global_step}; the batch begins with {text!r}."
        )

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        # Weights and the two moments of AdamW, four bytes each.
        require_room(Path(str(self.args.output_dir)), 3 * 4 * self._parameters)
        super()._save_checkpoint(model, trial)


def training_arguments(config: RunConfig, output_dir: Path, device: str) -> TrainingArguments:
    """What the Trainer is told."""
    bf16 = config.precision == "bf16" or (
        config.precision == "auto" and device.startswith("cuda") and torch.cuda.is_bf16_supported()
    )
    return TrainingArguments(
        output_dir=str(output_dir),
        max_steps=config.steps,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulation,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, round(config.warmup * config.steps)) if config.warmup else 0,
        weight_decay=config.weight_decay,
        max_grad_norm=1.0,
        seed=config.seed,
        data_seed=config.seed,
        bf16=bf16,
        use_cpu=device == "cpu",
        logging_strategy="steps",
        logging_steps=1,
        save_strategy="steps" if config.save_every else "no",
        save_steps=config.save_every or config.steps,
        save_total_limit=config.keep_checkpoints,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=[],
        dataloader_pin_memory=False,
        dataloader_num_workers=0,  # samples are aligned already, collating takes a millisecond
    )


def _context(model: Any, teacher: Any, tokenizers: tuple[Tokenizer, Tokenizer]) -> StateContext:
    head = model.get_output_embeddings().weight.detach()
    other = None if teacher is None else teacher.get_output_embeddings().weight.detach()
    return StateContext(
        student_vocab=head.shape[0],
        teacher_vocab=None if other is None else other.shape[0],
        student_width=head.shape[1],
        teacher_width=None if other is None else other.shape[1],
        student_head=head,
        teacher_head=other,
        student=tokenizers[0],
        teacher=tokenizers[1],
    )


class _Samples(torch.utils.data.Dataset):  # type: ignore[type-arg]
    def __init__(self, samples: Sequence[AlignedSample]) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> AlignedSample:
        return self._samples[index]


class RunCallback(TrainerCallback):
    """Tells the run what happens at each step: a metrics row, the step in the status, cancelling, evaluation."""

    def __init__(
        self,
        write: Callable[[dict[str, Any]], None],
        note: Callable[..., None],
        cancelled: Callable[[], bool],
        evaluate: Callable[[int], None],
        eval_every: int,
    ) -> None:
        self._write = write
        self._note = note
        self._cancelled = cancelled
        self._evaluate = evaluate
        self._eval_every = eval_every
        self._since = time.perf_counter()
        self._seconds = 0.0
        self.trainer: DistillTrainer | None = None
        self.stopped = False

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock of this step."""
        self._since = time.perf_counter()

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
                **parts,
            }
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:  # noqa: ARG002
        """Note the step; stop, with a checkpoint, when somebody asked for it; evaluate where that is due."""
        self._seconds = time.perf_counter() - self._since
        self._note(step=state.global_step, message=f"Step {state.global_step} of {state.max_steps}.")
        if self._cancelled():
            self.stopped = control.should_training_stop = control.should_save = True
        elif self._eval_every and state.global_step % self._eval_every == 0 and state.global_step < state.max_steps:
            self._evaluate(state.global_step)
        return control

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Note the checkpoint."""
        self._note(last_checkpoint=state.global_step)


def require_room(folder: Path, needed: int) -> None:
    """Raise RunError unless `needed` bytes fit on the disk of `folder` and FREE_BYTES stay free."""
    free = shutil.disk_usage(folder).free
    if free < needed + FREE_BYTES:
        raise RunError(
            f"no room for a checkpoint: it takes about {needed / 1e6:.0f} MB and {FREE_BYTES / 1e6:.0f} MB should stay "
            f"free, but {free / 1e6:.0f} MB are; free some space and resume the run."
        )


def save_student(model: PreTrainedModel, tokenizer: Tokenizer, folder: Path) -> None:
    """Keep the trained student as a folder that AutoModelForCausalLM and AutoTokenizer open."""
    state = model._modules.pop(STATE, None)  # the loss's own parameters aren't part of the student
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        model.save_pretrained(part)
        tokenizer.backend.save(str(part / "tokenizer.json"))
        (part / "tokenizer_config.json").write_text(
            json.dumps(_tokenizer_config(tokenizer), indent=1, ensure_ascii=False)
        )
        shutil.rmtree(folder, ignore_errors=True)
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if state is not None:
            model.add_module(STATE, state)


def _tokenizer_config(tokenizer: Tokenizer) -> dict[str, Any]:
    roles = {role: getattr(tokenizer, f"{role}_id") for role in ("bos", "eos", "pad", "unk")}
    tokens = {f"{role}_token": tokenizer.token(index) for role, index in roles.items() if index is not None}
    template = {"chat_template": tokenizer.chat_template} if tokenizer.chat_template else {}
    return {"tokenizer_class": "PreTrainedTokenizerFast"} | tokens | template


def _by_kind(per_group: Tensor, groups: Tensor) -> dict[str, float]:
    """Sum of the loss in the groups of each kind; groups int64 [G, 5]."""
    student, teacher = groups[:, 2] - groups[:, 1], groups[:, 4] - groups[:, 3]
    one_s, one_t = student == 1, teacher == 1
    codes = torch.where(one_s & one_t, 0, torch.where(one_s, 1, torch.where(one_t, 2, 3)))
    sums = torch.zeros(4, dtype=torch.float64, device=groups.device).index_add_(0, codes, per_group.detach().double())
    counts = torch.bincount(codes, minlength=4)
    return {KINDS[k]: float(sums[k]) for k in range(4) if counts[k]}


def _mean_parts(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean of several micro-batches; tokens are added up."""
    if len(parts) == 1:
        return parts[0]
    merged: dict[str, Any] = {
        "loss": sum(p["loss"] for p in parts) / len(parts),
        "tokens": sum(p["tokens"] for p in parts),
    }
    for key in ("terms", "diagnostics", "by_kind"):
        names = {name for p in parts for name in p[key]}
        merged[key] = {n: sum(p[key].get(n, 0.0) for p in parts) / len(parts) for n in sorted(names)}
    return merged
