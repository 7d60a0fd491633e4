"""The training loop is transformers.Trainer's; this file tells it the loss, and the run what happens.

Checkpoints, resuming, accumulation, mixed precision and several devices through `accelerate launch` come from there.
Where a step has several batches (accumulation, several processes), the loss is the one of all of them together: the
units of its means are counted before (`losses.engine.units`), and the parts are added up.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import Trainer, TrainerCallback

from ctkd_core import methods
from ctkd_core.alignment.kinds import KINDS
from ctkd_core.distill import checkpoints
from ctkd_core.distill.checks import FREE_BYTES
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.evaluation.group_classes import classes_of_groups, codes_of
from ctkd_core.distill.models.teachers import LiveTeacher, align_all
from ctkd_core.distill.on_policy import Sampling, TrainingExample, on_policy, without_data
from ctkd_core.distill.state_rates import PROJECTOR, rate_of
from ctkd_core.distill.teachers.rows import NO_CHANCE
from ctkd_core.distill.training import processes, rates
from ctkd_core.distill.training.arguments import training_arguments, use_one_device
from ctkd_core.distill.training.export import STATE
from ctkd_core.errors import LossInputError, RunError, short
from ctkd_core.losses import loss as method_loss
from ctkd_core.losses import make_state
from ctkd_core.losses.base import LossOutput, StateContext, States
from ctkd_core.losses.batch import AlignedBatch, AlignedSample, collate
from ctkd_core.losses.engine.units import NeedsLogitsError, StepUnits, zero_logits
from ctkd_core.losses.facts import of_the_step
from ctkd_core.losses.teachers import WeightedTeacher, several
from ctkd_core.vocabulary.classes import CLASSES

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ctkd_core.distill.on_policy_server import StudentServer
    from ctkd_core.tokenizers.encoding import Encoding
    from ctkd_core.tokenizers.tokenizer import Tokenizer

_FACTORS = ("kd_scale",)  # among the terms of a loss: a factor, no part of the sum


class DistillTrainer(Trainer):
    """Trainer whose loss is a method of the table, or the mixed losses of several teachers.

    A teacher without a model isn't asked. What a loss itself learns (SeDi's omega) becomes a submodule of the model, so
    that it is in the optimiser, in checkpoints and moves with the model.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        config: RunConfig,
        examples: Sequence[TrainingExample],
        student: Tokenizer,
        teachers: Sequence[LiveTeacher],
        output_dir: Path,
        callbacks: Sequence[TrainerCallback] = (),
        writer: StudentServer | None = None,
    ) -> None:
        self._config = config
        self._writer = writer
        self._student, self._teachers = student, list(teachers)
        self._teacher = teachers[0].model
        self._rows = [methods.get(t.method) for t in teachers]
        self._deep = [row.reads_hidden_states(t.options) for row, t in zip(self._rows, teachers)]
        self._sampling = Sampling.of(config)
        self._codes = codes_of(student)
        self.recorded: dict[str, Any] = {}  # what the last optimiser step's losses were made of
        self._parts: list[dict[str, Any]] = []
        self._saving = False
        self._units: StepUnits | None = None  # of the step under way, where it has several batches
        # Whether its units can only be counted with the models' answers; found out at the first such step.
        self._asks_to_count = any(self._deep) or (len(teachers) > 1 and config.teacher_mix != "static")
        width = max(model.get_output_embeddings().weight.shape[0], student.n_ids)
        self._width = width
        for number, teacher in enumerate(teachers):
            context = _context(model, teacher.model, (student, teacher.tokenizer))
            state = make_state(teacher.method, width, context=context, variant=teacher.variant, **teacher.options)
            if state is not None:
                model.add_module(_state_name(number), state)
        self._parameters = sum(int(p.numel()) for p in model.parameters())
        arguments = training_arguments(config, output_dir, str(model.device))
        use_one_device(arguments)
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=_Examples(examples),
            data_collator=lambda chosen: {"examples": chosen},
            callbacks=list(callbacks),
        )
        # The losses of a step's batches add up. Versions of transformers before that field (5.17 is one) would divide
        # them by their number; a loss function of one's own keeps them from it. `compute_loss` doesn't ask for it.
        self.loss_is_scaled_for_ga = True
        self.compute_loss_func = self.compute_loss
        self.can_return_loss = True

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,  # noqa: ARG002 - each loss counts its own units
    ) -> Any:
        """The loss of one batch: logits [B, Ts, Vs] against each frozen teacher's [B, Tt, Vt].

        Where the step has several batches, it is this batch's part of the step's loss.
        """
        plain = self.accelerator.unwrap_model(model)
        facts = inputs.get("facts", {})
        batches = self._collate(inputs["examples"])
        logits, states = self._student_reads(model, plain, batches)
        applied = nullcontext() if self._units is None else self._units.applied()
        try:
            with applied:
                out = self._loss(plain, logits, states, batches, bool(facts.get("on_policy")))
        except LossInputError as fault:
            raise self._broken(batches[0], str(fault)) from fault
        share = self._share(inputs["examples"])
        value = float(out.loss.detach()) * share
        if not math.isfinite(value):
            raise self._broken(batches[0], f"the loss became {value}.")
        self._note(value, share, out, batches, facts)
        loss = out.loss if share == 1.0 else out.loss * share
        if (world := processes.world_size()) > 1:
            # Gradients are averaged over processes, and each waits for one of every parameter.
            loss = loss * world + sum((0.0 * p.sum() for p in self._learnt_by_losses(plain)), start=0.0)
        return (loss, {"logits": logits}) if return_outputs else loss

    def get_batch_samples(
        self,
        epoch_iterator: Iterator[Any],
        num_batches: int,
        device: Any,  # noqa: ARG002
    ) -> tuple[list[Any], None]:
        """The batches of one step, with what the student writes itself; their units are counted."""
        plain = self.accelerator.unwrap_model(self.model_wrapped)
        drawn = list(islice(epoch_iterator, num_batches))

        def written() -> list[dict[str, Any]]:
            parts = (self._written(plain, batch["examples"], part) for part, batch in enumerate(drawn))
            return [{"examples": examples, "facts": facts} for examples, facts in parts]

        step = self.state.global_step
        batches = self._writer.during(step, written, self.keep_whole) if self._writer else written()
        several_batches = len(batches) > 1 or processes.world_size() > 1
        self._units = self._count(plain, batches) if several_batches and batches else None
        return batches, None

    def _count(self, plain: Any, batches: Sequence[dict[str, Any]]) -> StepUnits:
        """The units that the losses of these batches average over, in all processes."""
        if not self._asks_to_count:
            try:
                units = self._count_in(plain, batches, alone=True)
            except NeedsLogitsError:
                self._asks_to_count = True
        if self._asks_to_count:
            units = self._count_in(plain, batches, alone=False)
        learnt = sum(int(example.samples[0].n_learnt) for batch in batches for example in batch["examples"])
        whole = StepUnits()
        for totals, tokens in processes.gathered((units.totals, learnt)):
            whole.add(totals)
            whole.tokens += tokens
        return whole

    def _count_in(self, plain: Any, batches: Sequence[dict[str, Any]], alone: bool) -> StepUnits:
        units = StepUnits()
        for batch in batches:
            collated = self._collate(batch["examples"])
            own_words = bool(batch["facts"].get("on_policy"))
            with torch.no_grad(), torch.random.fork_rng(self._devices()), units.recording(alone):
                try:
                    if alone:
                        logits = zero_logits(collated[0].student_ids, self._width)
                        self._loss(plain, logits, None, collated, own_words, asked=False)
                    else:
                        with self.compute_loss_context_manager():
                            logits, states = self._student_reads(self.model_wrapped, plain, collated)
                            self._loss(plain, logits, states, collated, own_words)
                except LossInputError as fault:
                    raise self._broken(collated[0], str(fault)) from fault
        return units

    def _share(self, examples: Sequence[TrainingExample]) -> float:
        """Factor of a loss that counts no units of its own: its part of the step's learnt tokens; 1 for all others."""
        if self._units is None or self._units.totals or not self._units.tokens:
            return 1.0
        return sum(int(example.samples[0].n_learnt) for example in examples) / self._units.tokens

    def _student_reads(self, model: Any, plain: Any, batches: Sequence[AlignedBatch]) -> tuple[Tensor, States | None]:
        first, deep = batches[0], any(self._deep)
        return self._forward(model, plain, first.student_ids, first.student_attention, deep, self._student.n_ids)

    def _learnt_by_losses(self, plain: Any) -> list[torch.nn.Parameter]:
        states = (getattr(plain, _state_name(n), None) for n in range(len(self._teachers)))
        return [p for state in states if state is not None for p in state.parameters()]

    def _devices(self) -> list[Any]:
        return [self.args.device] if self.args.device.type == "cuda" else []

    def _written(
        self, plain: Any, examples: list[TrainingExample], part: int
    ) -> tuple[list[TrainingExample], dict[str, float]]:
        """The examples, with the student's own completions where batch number `part` is one that it writes."""
        if not self._sampling.share:
            return examples, {}
        step = self.state.global_step
        if not self._sampling.chosen(step, part):
            return examples, {"on_policy": 0.0}
        own_ids = not any(row.same_tokenizer for row in self._rows)
        seed = self._sampling.seed_of(step, part, int(self.args.process_index))

        def align(prompt: Any, completion: str, response: Encoding | None, ended: bool) -> tuple[AlignedSample, ...]:
            longest, side = self._config.max_length, self._config.truncation_side
            return align_all(self._teachers, self._student, prompt, completion, longest, response, ended, side)

        with self.accelerator.autocast():
            write = self._writer.write if self._writer else None
            return on_policy(plain, self._student, examples, self._sampling, seed, align, own_ids, write)

    def _collate(self, examples: Sequence[TrainingExample]) -> list[AlignedBatch]:
        """One batch for each teacher, on the device."""
        sides = zip(*(example.samples for example in examples))
        return [
            collate(samples, self._student, teacher.tokenizer).to(self.args.device)
            for samples, teacher in zip(sides, self._teachers)
        ]

    def _loss(
        self,
        plain: Any,
        logits: Tensor,
        states: States | None,
        batches: Sequence[AlignedBatch],
        own_words: bool,
        asked: bool = True,
    ) -> LossOutput:
        """The loss of the batch under every teacher; without `asked` their logits mean nothing."""
        weighted = []
        for number, (teacher, row, batch) in enumerate(zip(self._teachers, self._rows, batches)):
            deep = self._deep[number]
            if not asked:
                teacher_logits, teacher_states = self._zeros_of(teacher, batch), None
            else:
                teacher_logits, teacher_states = (
                    self._ask_teacher(batch) if not number else self._ask(teacher, deep, batch)
                )
            extras = {
                "state": getattr(plain, _state_name(number), None),
                "student_states": states if deep else None,
                "teacher_states": teacher_states if deep else None,
            }
            options = without_data(row, teacher.options, teacher.variant) if own_words else dict(teacher.options)
            weighted.append(
                WeightedTeacher(
                    teacher.method,
                    teacher_logits,
                    batch,
                    teacher.variant,
                    options,
                    extras,
                    teacher.weight,
                    teacher.name,
                )
            )
        if len(weighted) > 1:
            config = self._config
            return several(
                weighted, logits, weights=config.teacher_mix, score=config.teacher_score, alpha=config.teacher_alpha
            )
        (one,) = weighted
        return method_loss(one.method, logits, one.logits, one.batch, variant=one.variant, **one.extras, **one.options)

    def _zeros_of(self, teacher: LiveTeacher, batch: AlignedBatch) -> Tensor | None:
        if teacher.kept is not None and methods.get(teacher.method).asks_teacher:
            return zero_logits(batch.teacher_ids, teacher.kept.width)
        if teacher.model is None:
            return None
        rows = int(teacher.model.get_output_embeddings().weight.shape[0])
        width = max(rows, teacher.tokenizer.n_ids)
        return zero_logits(batch.teacher_ids, width)

    def _ask_teacher(self, batch: AlignedBatch) -> tuple[Tensor | None, States | None]:
        return self._ask(self._teachers[0], self._deep[0], batch)

    def _ask(self, teacher: LiveTeacher, deep: bool, batch: AlignedBatch) -> tuple[Any, States | None]:
        if teacher.kept is not None and methods.get(teacher.method).asks_teacher:
            return teacher.kept.logits(batch), None
        if teacher.model is None:
            return None, None
        with torch.no_grad(), self.accelerator.autocast():
            model, n_ids = teacher.model, teacher.tokenizer.n_ids
            return self._forward(model, model, batch.teacher_ids, batch.teacher_attention, deep, n_ids)

    def _forward(
        self, model: Any, plain: Any, ids: Tensor, mask: Tensor, deep: bool, n_ids: int
    ) -> tuple[Tensor, States | None]:
        """Logits [B, T, V], V at least `n_ids`, and with `deep` hidden states, where a method reads them."""
        out = model(input_ids=ids, attention_mask=mask, use_cache=False, output_hidden_states=deep)
        logits = widened(out.logits, n_ids)
        if not deep:
            return logits, None
        head, embeddings = (
            _with_rows(layer.weight, n_ids) for layer in (plain.get_output_embeddings(), plain.get_input_embeddings())
        )
        return logits, States(tuple(out.hidden_states), head, embeddings)

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return inputs  # compute_loss moves the batch; it is no plain dictionary of tensors

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """6 x parameters x tokens, the usual estimate of one training step."""
        tokens = sum(len(example.samples[0].student_ids) for example in inputs["examples"])
        return 6 * tokens * self._parameters

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Transformers' own; what losses learn has its own rate where the run says so."""
        made = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if made:
            found: dict[float, list[torch.nn.Module]] = {}
            for number in range(len(self._teachers)):
                state = getattr(self.model if model is None else model, _state_name(number), None)
                if state is not None:
                    rate = rate_of(self._config, number, getattr(state, "part", PROJECTOR))
                    found.setdefault(rate, []).append(state)
            for rate, states in found.items():
                if rate:  # 0: the student's
                    rates.give_own_rate(optimizer, states, rate)
        return optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Transformers' own, whose first step learns."""
        made = self.lr_scheduler is None
        scheduler = super().create_scheduler(num_training_steps, optimizer)
        if made and not self._config.warmup_from_zero:
            rates.warm_from_the_first_step(scheduler, self.args.get_warmup_steps(num_training_steps))
        return scheduler

    def log(self, logs: dict[str, float], *args: Any, **more: Any) -> None:
        """With the terms of the loss, for whoever else is told (`report_to`)."""
        if self.args.report_to and "loss" in logs and self.recorded:
            logs = logs | {"loss": self.recorded["loss"]} | {f"term_{k}": v for k, v in self.recorded["terms"].items()}
        super().log(logs, *args, **more)

    def _note(
        self, value: float, share: float, out: Any, batches: Sequence[AlignedBatch], facts: dict[str, float]
    ) -> None:
        self._parts.append(
            {
                "loss": value,
                "terms": {k: float(v) * (1.0 if k in _FACTORS else share) for k, v in out.terms.items()},
                "diagnostics": out.diagnostics | facts,
                "by_kind": _by_kind(out.per_group, torch.cat([batch.groups for batch in batches])),
                "by_class": self._by_class(out.per_group, batches),
                "tokens": int(batches[0].student_attention.sum()),
            }
        )
        if self.accelerator.sync_gradients:  # the last step of an epoch may have fewer micro-batches
            parts = [part for own in processes.gathered(self._parts) for part in own]
            self.recorded, self._parts = _added(parts), []

    def _by_class(self, per_group: Tensor, batches: Sequence[AlignedBatch]) -> dict[str, float]:
        """Sum of the loss in the groups of each class of token, those of the student's side."""
        ids, groups = batches[0].student_ids, torch.cat([batch.groups for batch in batches])
        self._codes, start = self._codes.to(ids.device), groups[:, 0] * ids.shape[1]
        classes = classes_of_groups(self._codes, ids.flatten(), start + groups[:, 1], start + groups[:, 2])
        values = per_group.detach().cpu().double()
        sums = torch.zeros(len(CLASSES), dtype=torch.float64).index_add_(0, classes.cpu(), values)
        return {CLASSES[k]: float(sums[k]) for k in classes.unique().tolist()}

    def _broken(self, batch: AlignedBatch, reason: str) -> RunError:
        text = batch.student.decode(batch.student_ids[0].tolist())[:200] if batch.student else ""
        return RunError(
            f"step {self.state.global_step + 1} can't be computed: {reason} The last good step is "
            f"{self.state.global_step}; the batch begins with {text!r}."
        )

    def keep_whole(self) -> bool:
        """Keep a checkpoint of the steps done, where there is none: the run is about to stop between two steps.

        Returns whether a step was done. Raises RunError where there is no room for it.
        """
        step, root = self.state.global_step, Path(str(self.args.output_dir))
        if processes.gathered(step > 0 and step not in checkpoints.all_steps(root))[0]:
            self._save_checkpoint(self.model, None)
            self.control = self.callback_handler.on_save(self.args, self.state, self.control)
        return step > 0

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Refuse (RunError) a checkpoint that lacks weights; what is tied to one in it (the head, say) doesn't."""
        assert self.model is not None
        state, missing = self.model.state_dict(), set(load_result.missing_keys)
        there = {_place(value) for name, value in state.items() if name not in missing}
        lost = [name for name in load_result.missing_keys if name not in state or _place(state[name]) not in there]
        if lost:
            raise RunError(
                f"the checkpoint lacks {short(lost[0])}{f' and {len(lost) - 1} more' if lost[1:] else ''}, so the run "
                "can't go on as it would have; start it anew (checkpoints of older versions lack weights of some "
                "families of models, GPT-NeoX among them)."
            )
        super()._issue_warnings_after_load(load_result._replace(missing_keys=[]))

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        # Under the names that weights have here, by which they are loaded again. `save_pretrained` gives those of some
        # families (GPT-NeoX, mixtures of experts) other names, or other shapes, as published files have them.
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        given = vars(model).get("_weight_conversions")
        model._weight_conversions = []
        try:
            super()._save(output_dir, state_dict)
        finally:
            model._weight_conversions = given

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        root = Path(str(self.args.output_dir))
        # Weights and the two moments of AdamW, four bytes each.
        require_room(root, 3 * 4 * self._parameters)
        if self.args.should_save:
            checkpoints.discard_part(root)
        self.accelerator.wait_for_everyone()
        self._saving = True
        try:
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                checkpoints.commit(root, self.state.global_step)
                checkpoints.prune(root, self._config.keep_checkpoints)
        finally:
            self._saving = False
            if self.args.should_save:
                checkpoints.discard_part(root)

    def _get_output_dir(self, trial: Any) -> str:
        # A checkpoint is written beside its place and moved there when it's whole.
        root = super()._get_output_dir(trial)
        return str(Path(root) / checkpoints.PART) if self._saving else root


def _place(value: Tensor) -> tuple[int, torch.Size]:
    """What two tensors share that are one: where they lie in memory, and their shape."""
    return value.data_ptr(), value.shape


def widened(logits: Tensor, n_ids: int) -> Tensor:
    """Logits [B, T, V] with V at least `n_ids`: what a tokenizer has beyond the model's rows gets no probability."""
    missing = n_ids - logits.shape[-1]
    return logits if missing <= 0 else torch.nn.functional.pad(logits, (0, missing), value=NO_CHANCE)


def _with_rows(weight: Tensor, n_ids: int) -> Tensor:
    """Embeddings [V, d] with V at least `n_ids`; rows of zeros for ids that no data has."""
    missing = n_ids - weight.shape[0]
    return weight if missing <= 0 else torch.nn.functional.pad(weight, (0, 0, 0, missing))


def _context(model: Any, teacher: Any, tokenizers: tuple[Tokenizer, Tokenizer]) -> StateContext:
    head = _with_rows(model.get_output_embeddings().weight.detach(), tokenizers[0].n_ids)
    other = None if teacher is None else teacher.get_output_embeddings().weight.detach()
    other = None if other is None else _with_rows(other, tokenizers[1].n_ids)
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


def _state_name(number: int) -> str:
    """Name of the submodule that the loss of a teacher learns: the first has the plain name."""
    return STATE if not number else f"{STATE}_{number + 1}"


class _Examples(torch.utils.data.Dataset):  # type: ignore[type-arg]
    def __init__(self, examples: Sequence[TrainingExample]) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> TrainingExample:
        return self._examples[index]


def require_room(folder: Path, needed: int) -> None:
    """Raise RunError unless `needed` bytes fit on the disk of `folder` and FREE_BYTES stay free."""
    free = shutil.disk_usage(folder).free
    if free < needed + FREE_BYTES:
        raise RunError(
            f"no room for a checkpoint: it takes about {needed / 1e6:.0f} MB and {FREE_BYTES / 1e6:.0f} MB should stay "
            f"free, but {free / 1e6:.0f} MB are; free some space and resume the run."
        )


def _by_kind(per_group: Tensor, groups: Tensor) -> dict[str, float]:
    """Sum of the loss in the groups of each kind; groups int64 [G, 5]."""
    student, teacher = groups[:, 2] - groups[:, 1], groups[:, 4] - groups[:, 3]
    one_s, one_t = student == 1, teacher == 1
    codes = torch.where(one_s & one_t, 0, torch.where(one_s, 1, torch.where(one_t, 2, 3)))
    sums = torch.zeros(4, dtype=torch.float64, device=groups.device).index_add_(0, codes, per_group.detach().double())
    counts = torch.bincount(codes, minlength=4)
    return {KINDS[k]: float(sums[k]) for k in range(4) if counts[k]}


def _added(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """One record of a step's batches: sums are added up, of factors and shares the mean is kept."""
    if len(parts) == 1:
        return parts[0]
    merged: dict[str, Any] = {key: sum(p[key] for p in parts) for key in ("loss", "tokens")}
    for key in ("terms", "by_kind", "by_class"):
        names = {name for p in parts for name in p[key]}
        merged[key] = {n: sum(p[key].get(n, 0.0) for p in parts) for n in sorted(names)}
    factors = [name for name in merged["terms"] if name.split(".")[-1] in _FACTORS]
    merged["terms"] |= {name: merged["terms"][name] / len(parts) for name in factors}
    return merged | {"diagnostics": of_the_step([part["diagnostics"] for part in parts])}
