"""One attempt of a run from loaded tokenizers to the saved student: the steps in order, and what each one writes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctkd_core.distill import environment, evaluate
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.data import Example, Split, load_split
from ctkd_core.distill.devices import cpu_count, torch_device
from ctkd_core.distill.records import RecordWriter
from ctkd_core.distill.runs import Run
from ctkd_core.distill.status import Cancelled, StatusKeeper
from ctkd_core.errors import RunError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ctkd_core.distill.models.teachers import LiveTeacher
    from ctkd_core.distill.on_policy import TrainingExample
    from ctkd_core.tokenizers.tokenizer import Tokenizer


@dataclass
class Session:
    """What one attempt holds while it runs."""

    run: Run
    config: RunConfig
    keeper: StatusKeeper
    stop_asked: Callable[[], bool]
    metrics: RecordWriter
    samples: RecordWriter
    student: Tokenizer
    teacher: Tokenizer
    split: Split
    student_model: PreTrainedModel
    teacher_model: PreTrainedModel | None
    teachers: list[LiveTeacher]
    teacher_texts: list[str] | None = None
    teacher_bits: float | None = None

    def check(self) -> None:
        """Stop here when somebody asked for it."""
        if self.stop_asked():
            raise Cancelled

    def say(self, message: str, **changes: Any) -> None:
        """Put a sentence into the status, and stop here when somebody asked for it."""
        self.check()
        print(f"{time.strftime('%H:%M:%S')} {message}", flush=True)
        self.keeper.update(message=message, **changes)


def train(run: Run, keeper: StatusKeeper, stop_asked: Callable[[], bool]) -> int:
    """Run one attempt to its end and return the number of steps done.

    Raises Cancelled when it was asked to stop (after keeping a checkpoint, if it had begun to train).
    """
    import torch

    config = run.config
    torch.set_num_threads(config.threads or cpu_count())
    device = torch_device(config.device)
    session = _load(run, config, keeper, stop_asked, device)
    environment.write(run.dir, config, device, session.student, session.teacher)
    resume_from = _resume_from(run)
    if resume_from is None:
        if keeper.status.attempt > 1:
            session.metrics.write({"kind": "resume", "step": -1, "attempt": keeper.status.attempt, "time": time.time()})
            session.samples.write({"kind": "resume", "step": -1})
        measure(session, step=0)
    else:
        step = int(resume_from.name.partition("-")[2])
        session.metrics.write({"kind": "resume", "step": step, "attempt": keeper.status.attempt, "time": time.time()})
        session.samples.write({"kind": "resume", "step": step})
    steps = _fit(session, resume_from)
    session.say("Measuring the trained student.")
    measure(session, step=steps)
    _keep_student(session)
    session.metrics.close()
    session.samples.close()
    return steps


def measure(session: Session, step: int) -> None:
    """Bits per byte of the held-out examples and completions of some; the teacher's once, at the first call."""
    config, model = session.config, session.student_model
    texts = _sample_texts(session, step)
    if not config.eval_samples:
        return
    session.say(f"Measuring bits per byte at step {step}.")
    held_out = session.split.held_out[: config.eval_samples]
    row: dict[str, Any] = {
        "kind": "eval",
        "step": step,
        "bits_per_byte": _bits(session, model, session.student, held_out),
        "held_out": len(held_out),
    }
    if session.teacher_model is not None:
        if session.teacher_bits is None:
            session.teacher_bits = _bits(session, session.teacher_model, session.teacher, held_out)
        row["teacher_bits_per_byte"] = session.teacher_bits
    if texts:
        row["repetition"] = evaluate.repetition(texts)
    session.metrics.write(row | {"time": time.time()})


def _sample_texts(session: Session, step: int) -> list[str]:
    config = session.config
    examples = [e for e in session.split.held_out if e.prompt][: config.sample_prompts]
    if not examples:
        return []
    session.say(f"Writing sample completions at step {step}.")
    prompts = [e.prompt for e in examples]
    if session.teacher_model is not None and session.teacher_texts is None:
        session.teacher_texts = evaluate.complete(session.teacher_model, session.teacher, prompts, config.sample_tokens)
    session.check()
    texts = evaluate.complete(session.student_model, session.student, prompts, config.sample_tokens)
    for i, (example, text) in enumerate(zip(examples, texts)):
        session.samples.write(
            {
                "step": step,
                "index": i,
                "prompt": example.question or example.prompt,
                "reference": example.completion.strip(),
                "student": text,
                "teacher": session.teacher_texts[i] if session.teacher_texts else None,
                "time": time.time(),
            }
        )
    return texts


def _bits(session: Session, model: PreTrainedModel, tokenizer: Tokenizer, examples: tuple[Example, ...]) -> float:
    items = [evaluate.encode_scored(e, tokenizer, session.config.max_length) for e in examples]
    return evaluate.bits_per_byte(model, items, max(8, session.config.batch_size), between=session.check)


def _load(run: Run, config: RunConfig, keeper: StatusKeeper, stop_asked: Callable[[], bool], device: str) -> Session:
    from ctkd_core.distill.models.students import build_student
    from ctkd_core.distill.models.teachers import check_width, live_teachers, load_teacher
    from ctkd_core.tokenizers.load import load_tokenizer

    keeper.update(message="Loading tokenizers and data.")
    student, teacher = load_tokenizer(config.student), load_tokenizer(config.teacher)
    split = load_split(config.data, config.template)
    keeper.update(message=_loading_message(config))
    # SFT doesn't ask the teacher while it trains, but its bits per byte are what the student is compared with.
    teacher_model = load_teacher(config, device) if _wants_teacher(config) else None
    student_model = build_student(config, student, teacher, teacher_model)
    student_model.to(device)  # type: ignore[arg-type]
    check_width(teacher_model, teacher)
    return Session(
        run=run,
        config=config,
        keeper=keeper,
        stop_asked=stop_asked,
        metrics=RecordWriter(run.dir / "metrics.jsonl"),
        samples=RecordWriter(run.dir / "samples.jsonl"),
        student=student,
        teacher=teacher,
        split=split,
        student_model=student_model,
        teacher_model=teacher_model,
        teachers=live_teachers(config, teacher, teacher_model, device),
    )


def _loading_message(config: RunConfig) -> str:
    from ctkd_core.distill.models.teachers import is_prepared, teacher_source

    if _wants_teacher(config) and teacher_source(config) == "bundled" and not is_prepared():
        return "Converting the bundled teacher, once (about 20 s)."
    return "Loading the models."


def _wants_teacher(config: RunConfig) -> bool:
    return config.needs_teacher or config.student_model == "transplant" or config.eval_samples > 0


def _align(session: Session) -> list[TrainingExample]:
    """Every training example under all tokenizers, aligned once. Examples without a token to learn are left out."""
    from ctkd_core.distill.models.teachers import align_all
    from ctkd_core.distill.on_policy import TrainingExample

    config = session.config
    aligned = []
    for number, example in enumerate(session.split.train):
        if number % 256 == 0:
            session.say(f"Aligning {number} of {len(session.split.train)} samples.")
        samples = align_all(session.teachers, session.student, example.prompt, example.completion, config.max_length)
        if samples[0].n_learnt > 0 and all(len(s.groups) for s in samples):
            aligned.append(TrainingExample(example.prompt, samples))
    if not aligned:
        raise RunError(f"max_length {config.max_length} cuts every sample before its response; raise it.")
    return aligned


def _fit(session: Session, resume_from: Path | None) -> int:
    from ctkd_core.distill.callback import RunCallback
    from ctkd_core.distill.trainer import DistillTrainer

    config = session.config
    examples = _align(session)
    callback = RunCallback(
        write=session.metrics.write,
        note=session.keeper.note,
        cancelled=session.stop_asked,
        evaluate=lambda step: measure(session, step),
        eval_every=config.eval_every,
    )
    trainer = DistillTrainer(
        session.student_model,
        config,
        examples,
        session.student,
        session.teachers,
        session.run.dir / "checkpoints",
        [callback],
    )
    callback.trainer = trainer
    session.say("Training.", state="running", total_steps=config.steps)
    trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
    if callback.stopped and trainer.state.global_step < config.steps:
        raise Cancelled
    return int(trainer.state.global_step)


def _resume_from(run: Run) -> Path | None:
    steps = run.checkpoints()
    return run.dir / "checkpoints" / f"checkpoint-{steps[-1]}" if steps else None


def _keep_student(session: Session) -> None:
    from ctkd_core.distill.trainer import require_room, save_student

    if not session.config.save_student:
        return
    session.say("Saving the student.")
    folder = session.run.dir / "checkpoints" / "student"
    require_room(folder.parent, 4 * sum(p.numel() for p in session.student_model.parameters()))
    save_student(session.student_model, session.student, folder)
