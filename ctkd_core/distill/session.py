"""One attempt of a run from loaded tokenizers to the saved student: the steps in order, and what each one writes."""

from __future__ import annotations

import os
import time
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctkd_core.background.attempt import Attempt
from ctkd_core.background.progress import Cancelled
from ctkd_core.distill import checkpoints, environment, evaluate
from ctkd_core.distill.checks import OTHER_PRECISION
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.devices import cpu_count, ignored_precision, torch_device
from ctkd_core.distill.evaluation.evaluator import Evaluator
from ctkd_core.distill.evaluation.table import EVALUATIONS, chosen
from ctkd_core.distill.headline import HeadlineKeeper
from ctkd_core.distill.kept_student import STUDENT
from ctkd_core.distill.preparation import Prepared, prepared
from ctkd_core.distill.records import RecordWriter, current_rows
from ctkd_core.distill.run_inputs import refuse_changed_inputs
from ctkd_core.distill.runs import METRICS, Run
from ctkd_core.distill.status import RunStatus
from ctkd_core.distill.teachers.access import Access
from ctkd_core.distill.training import processes
from ctkd_core.errors import RunError
from ctkd_core.markup.visible import one_line

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ctkd_core.distill.evaluation.kept_answers import KeptAnswers
    from ctkd_core.distill.models.adapters import Adapters
    from ctkd_core.distill.models.teachers import LiveTeacher
    from ctkd_core.distill.on_policy_server import StudentServer
    from ctkd_core.distill.trainer import DistillTrainer
    from ctkd_core.tokenizers.tokenizer import Tokenizer

ENDS_LOOKED_AT = 4  # answers behind which a model's end of text is looked at
NEVER_DRAWN = -18.0  # log-probability (nats) from which on a token is never drawn: one text in 65 million
# SmolLM2-Instruct gives <|im_end|> -1.3 and <|endoftext|>, the end of its base model, -9.9.
UNLIKELY, FAR = -7.0, 6.0  # from which on another end counts that is so much likelier


class Metrics:
    """Appends rows to metrics.jsonl and keeps the run's headline in its status."""

    def __init__(self, run: Run, attempt: Attempt[RunStatus]) -> None:
        self._run, self._attempt = run, attempt
        self._writer, self._headline = RecordWriter(_file(run, METRICS)), HeadlineKeeper()

    def write(self, row: dict[str, Any]) -> None:
        """Append one row. Raises OSError."""
        size = self._writer.write(row)
        if row["kind"] == "resume":  # earlier rows after its step no longer count
            part = self._run.metrics_part()
            self._headline = HeadlineKeeper(current_rows(part.rows), part.damage)
        else:
            self._headline.add(row)
        self._attempt.note(headline=self._headline.headline(size))

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


@dataclass
class Session:
    """What one attempt holds while it runs."""

    run: Run
    config: RunConfig
    attempt: Attempt[RunStatus]
    metrics: Metrics
    samples: RecordWriter
    student: Tokenizer
    teacher: Tokenizer
    data: Prepared
    evaluator: Evaluator
    student_model: PreTrainedModel
    teacher_model: PreTrainedModel | None
    teachers: list[LiveTeacher]
    adapters: Adapters | None = None
    writer: StudentServer | None = None
    teacher_texts: list[str] | None = None

    @property
    def leads(self) -> bool:
        """Whether this process is the run's only one, or the first of several, which writes and measures."""
        return processes.rank() == 0

    def report(self, message: str, **changes: Any) -> None:
        """Put a sentence into log and status, and stop here when somebody asked for it."""
        _report(self.attempt, message, **changes)

    def warn(self, sentence: str) -> None:
        """Put something that people should know into log and status, for good."""
        log(f"Warning: {sentence}")
        self.attempt.note(warnings=(*self.attempt.status.warnings, sentence))


def _report(attempt: Attempt[RunStatus], message: str, **changes: Any) -> None:
    attempt.check()
    log(message)
    attempt.update(message=message, **changes)


def log(message: str) -> None:
    """One line for log.txt, with the time; what data and tokenizers say in it can't do anything to a terminal."""
    if processes.rank() == 0:
        print(f"{time.strftime('%H:%M:%S')} {one_line(message)}", flush=True)


def train(run: Run, attempt: Attempt[RunStatus]) -> int:
    """Run one attempt to its end and return the number of steps done.

    Raises Cancelled when it was asked to stop (after keeping a checkpoint, if it had begun to train), and RunError in
    the other processes where the first one failed.
    """
    import torch

    config = run.config
    torch.set_num_threads(config.threads or cpu_count())
    device = torch_device(config.device)
    ignored = ignored_precision(config.precision, config.trainer, device)
    if ignored and attempt.status.last_checkpoint is None:
        raise RunError(f"{ignored} {OTHER_PRECISION}")
    session = _load(run, config, attempt, device)
    if ignored:  # an earlier version began it so, and it goes on as it began
        session.warn(ignored)
    found = None
    if session.leads:
        environment.write(run.dir, config, device, session.student, session.teacher)
        found = checkpoints.newest_whole(run.dir / "checkpoints", log)
        checkpoints.discard_part(run.dir / "checkpoints")
    found = processes.gathered(found)[0]
    number = attempt.status.attempt
    step, resume_from = found or (-1, None)
    if session.leads and (found or number > 1):
        session.metrics.write({"kind": "resume", "step": step, "attempt": number, "time": time.time()})
        session.samples.write({"kind": "resume", "step": step})
    if resume_from is None:
        attempt.note(step=0, last_checkpoint=None)
        measure(session, step=0)
    else:
        log(f"Going on from checkpoint {step}.")
        attempt.note(step=step, last_checkpoint=step)
    steps, trainer = _fit(session, resume_from)
    if session.writer:
        session.writer.forget()
    how, alone = "failed", False
    try:
        session.report("Measuring the trained student.")
        measure(session, step=steps, last=True)
        _keep_student(session)
        how = "finished"
    except Cancelled:
        how = "stopped"
    finally:
        try:  # the first of several processes measures, and all of them write a checkpoint together: they wait for it
            how = processes.gathered(how)[0]
        except RuntimeError:
            alone = True
            log("The other processes of this run have ended.")
    if not session.leads and (alone or how == "failed"):
        raise RunError("the first process of this run failed while it measured; see what it printed.")
    if how == "stopped":
        if not alone:
            trainer.keep_whole()
        raise Cancelled
    session.metrics.close()
    session.samples.close()
    return steps


def measure(session: Session, step: int, last: bool = False) -> None:
    """Bits per byte of the held-out examples and completions of some; the teacher's once, at the first call.

    last  whether what was asked for and has no figure is told
    """
    if not session.leads:
        return
    kept = _answers_at_start(session) if step == 0 else None
    texts = _sample_texts(session, step, kept)
    if not session.config.eval_samples:
        return
    session.report(f"Measuring bits per byte at step {step}.")
    row: dict[str, Any] = {"kind": "eval", "step": step} | session.evaluator.figures(session.student_model, kept=kept)
    if texts:
        row["repetition"] = evaluate.repetition(texts)
    session.metrics.write(row | {"time": time.time()})
    if last:
        _warn_of_missing_figures(session, row)


def _warn_of_missing_figures(session: Session, row: dict[str, Any]) -> None:
    """Say which evaluations found nothing, where that wasn't said before the first step."""
    for name, sentence in session.evaluator.notes(row).items():
        told = session.teacher_model is None and EVALUATIONS[name].needs_teacher
        if not told and sentence not in session.attempt.status.warnings:
            session.warn(sentence)


def _answers_at_start(session: Session) -> KeptAnswers | None:
    """What other runs kept of this student before its first step, if it is asked for anything."""
    from ctkd_core.distill.evaluation.kept_answers import answers_at_start

    config = session.config
    if not (config.eval_samples or config.sample_prompts):
        return None
    session.report("Looking for what is known of the student before its first step.")
    return answers_at_start(session.student_model)


def _sample_texts(session: Session, step: int, at_start: KeptAnswers | None) -> list[str]:
    """Completions of held-out prompts; `at_start`: what is kept of the student as it is now."""
    config = session.config
    examples = [e for e in session.data.split.held_out if e.prompt][: config.sample_prompts]
    if not examples:
        return []
    session.report(f"Writing sample completions at step {step}.")

    def written(model: PreTrainedModel, tokenizer: Tokenizer, kept: KeptAnswers | None) -> list[str]:
        prompts = [e.prompt_for(tokenizer) for e in examples]
        ask = partial(evaluate.complete, model, tokenizer, prompts, config.sample_tokens)
        return kept.texts(model, tokenizer, prompts, config.sample_tokens, len(prompts), ask) if kept else ask()

    if (model := session.teacher_model) is not None and session.teacher_texts is None:
        session.teacher_texts = written(model, session.teacher, session.evaluator.answers)
    session.attempt.check()
    texts = written(session.student_model, session.student, at_start)
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


def _load(run: Run, config: RunConfig, attempt: Attempt[RunStatus], device: str) -> Session:
    from ctkd_core.distill.models.adapters import add_adapters
    from ctkd_core.distill.models.students import build_student
    from ctkd_core.distill.models.teachers import (
        check_width,
        load_teacher,
        loads_teacher,
        planned_teachers,
        with_models,
    )
    from ctkd_core.distill.on_policy_server import open_writer
    from ctkd_core.distill.teachers.matching import fewer_than_read
    from ctkd_core.distill.teachers.opening import opened
    from ctkd_core.tokenizers.load import load_tokenizer

    def doing(message: str, **changes: Any) -> None:
        _report(attempt, attempt.status.doing(message), **changes)

    doing("Loading tokenizers and data.", warnings=())
    if run.checkpoints():
        refuse_changed_inputs(run.environment, config)
    student, teacher = load_tokenizer(config.student), load_tokenizer(config.teacher)
    planned = planned_teachers(config, teacher)
    # All that can be wrong with data and caches is told before models are loaded, which takes much longer.
    data = prepared(config, student, planned, doing)
    if any(each.access.elsewhere for each in planned):
        doing("Opening the cache or server that stands for a teacher.")
        planned = opened(config, planned, data.examples)
    writer = open_writer(run, attempt, student)
    answers: KeptAnswers | None = None
    teacher_model: PreTrainedModel | None = None
    # SFT doesn't ask the teacher while it trains, but its bits per byte are what the student is compared with.
    if loads_teacher(config):
        doing(_loading_teacher(config))
        answers, teacher_model = _answers(config, device), load_teacher(config, device)
    doing(_loading_student(config))
    # Weights in 8 bits, or parted, can't be copied: the student's body then comes from a model that isn't kept.
    copied = teacher_model if Access.of(config).plain else None
    student_model = build_student(config, student, teacher, copied)
    adapters = add_adapters(student_model, config)
    student_model.to(device)  # type: ignore[arg-type]
    if writer and adapters:
        writer.begin(adapters)
    if config.teachers:
        doing("Loading the further teachers.")
    teachers = with_models(planned, config, teacher_model, device)
    check_width(student_model, student, data.highest[student.template_key], "student")
    for model, tokenizer in ((teacher_model, teacher), *((t.model, t.tokenizer) for t in teachers)):
        check_width(model, tokenizer, data.highest[tokenizer.template_key])
    session = Session(
        run=run,
        config=config,
        attempt=attempt,
        metrics=Metrics(run, attempt),
        samples=RecordWriter(_file(run, "samples.jsonl")),
        student=student,
        teacher=teacher,
        data=data,
        evaluator=Evaluator(
            config,
            student,
            teacher,
            teacher_model,
            data.split.held_out[: config.eval_samples],
            attempt.check,
            answers=answers if answers and answers == _answers(config, device) else None,
        ),
        student_model=student_model,
        teacher_model=teacher_model,
        teachers=teachers,
        adapters=adapters,
        writer=writer,
    )
    for sentence in data.warnings:
        session.warn(sentence)
    for asked in teachers:
        if sentence := fewer_than_read(asked.access, asked.method, asked.variant, asked.options):
            session.warn(sentence)
    _take_figures(session)
    if session.leads:
        _look_at_ends(session)
    return session


def _answers(config: RunConfig, device: str) -> KeptAnswers | None:
    """What is kept of the teacher, where this process asks it for fixed texts."""
    from ctkd_core.distill.evaluation.kept_answers import answers_of

    asks = processes.rank() == 0 and (config.eval_samples or config.sample_prompts)
    return answers_of(config, device) if asks else None


def _file(run: Run, name: str) -> Path:
    """A file of the run; of several processes only the first one writes."""
    return run.dir / name if processes.rank() == 0 else Path(os.devnull)


def _take_figures(session: Session) -> None:
    """What a teacher that isn't loaded tells of itself: its bits per byte, its completions."""
    from ctkd_core.distill.teachers.manifest import TeacherFigures, held_out_of
    from ctkd_core.distill.teachers.reader import measured

    config, kept = session.config, session.teachers[0].kept
    if kept is None or session.teacher_model is not None:
        return
    if kept.reader is not None:  # a server can be asked
        session.report("Measuring the teacher behind its server.")
        kept.figures = measured(
            kept.reader, config, session.teacher, session.data.split.held_out, session.attempt.check
        )
    # Those of other text say nothing here.
    figures = kept.figures if kept.figures.of == held_out_of(config) else TeacherFigures()
    held_out = min(config.eval_samples, len(session.data.split.held_out))
    _warn_of_unmeasured(session, held_out)
    session.evaluator.teacher_bits = figures.bits_per_byte(held_out) if held_out else None
    wanted = min(config.sample_prompts, sum(bool(e.prompt) for e in session.data.split.held_out))
    if wanted and figures.answer_tokens == config.sample_tokens and len(figures.answers) >= wanted:
        session.teacher_texts = list(figures.answers[:wanted])
    if figures.answer_tokens == config.sample_tokens:
        session.evaluator.teacher_answers = figures.answers
    asked = min(config.eval_completions, sum(bool(e.prompt.strip()) for e in session.evaluator.examples))
    measured_with = asked if "completions" in chosen(config.evaluations) else 0
    lacking = [
        *(["bits per byte"] if held_out and session.evaluator.teacher_bits is None else []),
        *(["completions"] if wanted and session.teacher_texts is None else []),
        *([f"{asked} answers"] if len(session.evaluator.teacher_answers or ()) < measured_with else []),
    ]
    if lacking:
        session.warn(
            f"the teacher isn't loaded, and its cache or server has no {' and no '.join(lacking)} of it for "
            f"eval_samples {config.eval_samples}, sample_prompts {config.sample_prompts}, sample_tokens "
            f"{config.sample_tokens} and evaluations {config.evaluations}, so they aren't shown; a cache that is "
            "filled with these options and the same held-out data has them."
        )


def _warn_of_unmeasured(session: Session, held_out: int) -> None:
    """Say which evaluations need a teacher that is loaded: cache and server tell neither choices nor next bytes."""
    asked = chosen(session.config.evaluations)
    if held_out and (unmeasured := [name for name in asked if EVALUATIONS[name].needs_teacher]):
        session.warn(
            f"the teacher isn't loaded, and {' and '.join(unmeasured)} can't be measured from its cache or server; "
            "`ctkd evaluate` measures them afterwards where the teacher's model can be loaded."
        )


def _look_at_ends(session: Session) -> None:
    """Warn where a model gives no chance to the token that ends answers: it would never stop by itself."""
    config = session.config
    sides = [("teacher", session.teacher_model, session.teacher)]
    if config.student_path:
        sides.append(("student", session.student_model, session.student))
    examples = session.data.split.train[:ENDS_LOOKED_AT]
    for role, model, tokenizer in sides:
        found = None if model is None else evaluate.answer_end(model, tokenizer, examples, config.max_length)
        if found is None:
            continue
        elsewhere = found.given < UNLIKELY and found.other_given - found.given > FAR
        if found.given >= NEVER_DRAWN and not elsewhere:
            continue
        ends = evaluate.ends_of(tokenizer, [e.prompt_for(tokenizer) for e in examples])
        name = one_line(tokenizer.token(ends[0]))
        rather = f" ({one_line(tokenizer.token(found.other or 0))} gets {found.other_given:.1f})" if elsewhere else ""
        session.warn(
            f"behind whole answers the {role} gives {name}, with which its tokenizer {tokenizer.name!r} ends them, a "
            f"log-probability of {found.given:.1f} at best{rather}: the model ends its texts otherwise. Name a "
            "tokenizer whose eos_token is the model's, or give conversations (messages), which its chat template ends."
        )


def _loading_teacher(config: RunConfig) -> str:
    from ctkd_core.distill.models.prepared import is_prepared
    from ctkd_core.distill.models.teachers import teacher_source

    if teacher_source(config) == "bundled" and not is_prepared():
        return "Converting the bundled teacher, once (about 20 s)."
    return "Loading the teacher."


def _loading_student(config: RunConfig) -> str:
    if kept := _kept_layers(config):
        return f"Making the student, which keeps the layers {kept['kept layers']}."
    return "Loading the student." if config.student_model == "pretrained" else "Making the student."


def _fit(session: Session, resume_from: Path | None) -> tuple[int, DistillTrainer]:
    from ctkd_core.distill.callback import RunCallback
    from ctkd_core.distill.trainer import DistillTrainer
    from ctkd_core.distill.training.arguments import reports_into
    from ctkd_core.distill.training.energy import meter_of

    config = session.config
    callback = RunCallback(
        write=session.metrics.write,
        note=session.attempt.note,
        cancelled=session.attempt.stop_asked,
        evaluate=lambda step: measure(session, step),
        eval_every=config.eval_every,
        # Several processes may be on several machines.
        energy=meter_of(torch_device(config.device)) if processes.world_size() == 1 else None,
    )
    with reports_into(session.run.dir):
        trainer = DistillTrainer(
            session.student_model,
            config,
            session.data.examples,
            session.student,
            session.teachers,
            session.run.dir / "checkpoints",
            [callback],
            session.writer,
        )
    callback.trainer = trainer
    session.report("Training.", state="running", total_steps=config.steps)
    if resume_from is not None and session.attempt.status.step >= config.steps:
        # It was stopped behind its last step. The Trainer would train one more before it looks at the number.
        trainer._load_from_checkpoint(str(resume_from))
        return config.steps, trainer
    with session.writer.leaving() if session.writer else nullcontext():
        trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
    if callback.stopped and trainer.state.global_step < config.steps:
        raise Cancelled
    return int(trainer.state.global_step), trainer


def _keep_student(session: Session) -> None:
    from ctkd_core.distill.trainer import require_room
    from ctkd_core.distill.training.card import card
    from ctkd_core.distill.training.export import save_student, stored_dtype
    from ctkd_core.distill.training.materials import materials, terms_of

    if not session.config.save_student or not session.leads:
        return
    session.report("Saving the student.")
    folder = session.run.dir / STUDENT
    require_room(folder.parent, 4 * sum(p.numel() for p in session.student_model.parameters()))
    config = session.config
    dtype = stored_dtype(config.begins_with) if config.save_dtype == "source" else config.save_dtype
    ends = tuple(dict.fromkeys(end for example in session.data.examples for end in example.ends))
    headline = session.attempt.status.headline
    facts = {"run": session.run.id, "weights": dtype, "seed": config.seed} | _kept_layers(config)
    sides = {"student": session.student, "teacher": session.teacher}
    text = card(config, sides, headline.figures() if headline else {}, facts, processes.world_size())
    model = session.adapters.merged() if session.adapters else session.student_model
    if told := save_student(model, session.student, folder, text, ends, dtype, terms_of(materials(config, sides))):
        session.warn(told)


def _kept_layers(config: RunConfig) -> dict[str, str]:
    """Which layers a pruned student has, for people; {} for others."""
    from ctkd_core.distill.models.facts import layers_of
    from ctkd_core.distill.models.pruning import kept_layers

    total = layers_of(config.begins_with) if config.student_model == "prune" else None
    if total is None or config.student_layers > total:
        return {}
    return {"kept layers": ", ".join(map(str, kept_layers(total, config.student_layers))) + f" of {total} (from 0)"}
