"""Evaluation of the student that a finished run kept, and where its figures lie afterwards: evaluation.json of the run.

Everything is read as the run itself would read it: its config, its held-out examples, its teacher.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NotRequired

from ctkd_core import files
from ctkd_core.background.status import reason
from ctkd_core.distill.evaluation import harness
from ctkd_core.distill.evaluation.gap import share_closed, shares_closed
from ctkd_core.distill.evaluation.table import EVALUATIONS, chosen
from ctkd_core.distill.headline import number
from ctkd_core.distill.kept_student import kept_student, why_none
from ctkd_core.distill.records import EvalRow, Figures, Number, finite
from ctkd_core.distill.run_inputs import RunInput, changed_inputs
from ctkd_core.distill.teachers.access import Access
from ctkd_core.distill.working_folder import config_from_here
from ctkd_core.errors import RunError
from ctkd_core.files import documents
from ctkd_core.markup.visible import counted

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel

    from ctkd_core.distill.config import RunConfig
    from ctkd_core.distill.data import Example
    from ctkd_core.distill.estimate import EvaluationCost
    from ctkd_core.distill.runs import Run
    from ctkd_core.distill.teachers.manifest import TeacherFigures
    from ctkd_core.tokenizers.tokenizer import Tokenizer

FILE = "evaluation.json"
MOST_BYTES = 10_000_000
MOST_SAMPLES, SAMPLES = 100_000, 48
# Notes about samples that the run was trained on.
TRAINED = "are in the training data of this run, not held out."
UNKNOWN_TRAINED = "whether the run was trained on these samples isn't known: its data can't be read."
# Notes about what the run read and isn't what it was.
CHANGED = "changed since it began."
CHANGED_DATA = f"samples that are held out now may be among those that the run learnt from: its data has {CHANGED}"
UNKNOWN_CHANGED = f"whether the run was trained on these samples isn't known: its data has {CHANGED}"
Report = Callable[[str], None]


class SavedEvaluation(EvalRow):
    """What `evaluate_run` gives and keeps: the figures of an `eval` row and what they are of.

    data         what was measured, a file or the bundled examples
    samples_sha256  of the examples of it that were measured, as the models read them
    evaluations  names of `table.EVALUATIONS`
    trained_on   of a file: how many of its samples are in the training data of the run
    notes        sentences about evaluations that found nothing, and why, about samples that the run was trained on, and
                 about data, tokenizers and weights that changed since
    tasks        figures of tasks of lm-evaluation-harness by task (`harness`)
    seconds      that measuring took
    """

    run_id: NotRequired[str]
    data: NotRequired[str]
    samples_sha256: NotRequired[str]
    evaluations: NotRequired[list[str]]
    trained_on: NotRequired[int]
    notes: NotRequired[list[str]]
    tasks: NotRequired[dict[str, Figures]]
    seconds: NotRequired[Number]


@dataclass(frozen=True)
class Ask:
    """What is asked of a finished run; None and "" mean what the run itself was told.

    evaluations  names of `table.EVALUATIONS`
    data         a file whose examples are all measured, instead of the run's held-out ones
    samples      at most so many examples; of another file all, if nothing is said
    device       where the models go
    tasks        names of tasks of lm-evaluation-harness, measured besides (extra `harness`)
    task_folder  a folder with task files of one's own
    limit        at most so many examples of a task
    """

    evaluations: str | Sequence[str] | None = None
    data: str = ""
    samples: int | None = None
    device: str = ""
    tasks: str | Sequence[str] = ()
    task_folder: str = ""
    limit: int | None = None


def evaluate_run(
    run: Run, ask: Ask | None = None, report: Report = print, progress: Report | None = None
) -> dict[str, Any]:
    """The figures of a finished run's saved student, as an `eval` row has them, kept in the run's folder.

    The keys besides: `run_id`, `evaluations`, `data`, `samples_sha256`, `notes`, `seconds`, with a file of one's own
    `trained_on`, and `tasks` where there are any.
    `report` gets a sentence now and then, "" often while nothing is news, and may raise to stop. `progress` gets before
    each "" how far it is, such as "320 of 2,000 samples read by the student". Raises RunError when the run kept no
    student, or its data, its teacher or a task can't be had. Each task is kept once it is measured, so one that fails
    loses nothing before it. Figures that can't be kept are given back with a note.
    """
    ask = ask or Ask()
    config = asked_config(run, ask)
    folder = student_folder(run)
    began = time.perf_counter()
    tasks = _tasks(ask)
    figures, model = _figures(run, config, ask, folder, report, progress)
    found: dict[str, Any] = {
        "kind": "eval",
        "run_id": run.id,
        "step": run.status().step,
        "evaluations": list(chosen(config.evaluations)),
        "data": ask.data or run.config.data,
        **figures,
        "seconds": time.perf_counter() - began,
        "time": time.time(),
    }
    unkept = _kept_or_why_not(run, found)
    if tasks is not None:
        found["tasks"] = {}
        for measured in harness.task_figures(model, folder, tasks, config.batch_size, ask.limit, report):
            found["tasks"] |= measured
            found["seconds"], found["time"] = time.perf_counter() - began, time.time()
            unkept = _kept_or_why_not(run, found)
    if unkept:
        report(unkept)
        found["notes"] = [*found["notes"], unkept]
    return found


def _kept_or_why_not(run: Run, found: Mapping[str, Any]) -> str:
    """Keep figures; "" where that went well. What took hours to measure is given back in any case."""
    try:
        keep(run, found)
    except RunError as fault:
        return str(fault)
    return ""


def _tasks(ask: Ask) -> harness.LoadedTasks | None:
    """The tasks that are asked for, looked for before any model is loaded. Raises RunError."""
    names = harness.task_names(ask.tasks)
    if not names and (ask.task_folder or ask.limit is not None):
        raise RunError("a task folder and a limit are of tasks, and none is named; name one or leave them out.")
    if ask.limit is not None and ask.limit < 1:
        raise RunError(f"the limit of examples of a task is at least 1; got {ask.limit}.")
    return harness.load_tasks(names, ask.task_folder) if names else None


def asked_config(run: Run, ask: Ask) -> RunConfig:
    """The run's config with what is asked laid over it. Raises RunError."""
    changes: dict[str, Any] = {}
    if ask.evaluations is not None:
        changes["evaluations"] = ask.evaluations
    if ask.data:
        changes["data"] = ask.data
    if ask.device:
        changes["device"] = ask.device
    if ask.samples is not None:
        changes["eval_samples"] = ask.samples
    elif ask.data:
        changes["eval_samples"] = MOST_SAMPLES
    elif not run.config.eval_samples:  # the run itself measured nothing
        changes["eval_samples"] = SAMPLES
    # Options without effect, which a run of an earlier version may hold, change nothing and would be refused.
    return config_from_here(run.config, run.dir).replace(**changes)


def expected_costs(run: Run, ask: Ask) -> dict[str, EvaluationCost]:
    """What evaluations take here, and "bits per byte" of both models; of another file as many samples count as it has.

    Those for which it has no sample take nothing. Raises RunError where the data can't be read.
    """
    from ctkd_core.distill.estimate import evaluation_costs, scoring_cost
    from ctkd_core.distill.evaluation.samples import without_samples
    from ctkd_core.tokenizers.load import load_tokenizer

    config = asked_config(run, ask)
    names = chosen(config.evaluations)
    if ask.data:
        examples = _of_file(config)[: config.eval_samples]
        config = config.replace(eval_samples=len(examples))
        empty = without_samples(config, examples)
        names = tuple(name for name in names if name not in empty)
    sizes = [load_tokenizer(name).n_ids for name in (config.student, config.teacher)]
    return {"bits per byte": scoring_cost(config, *sizes)} | evaluation_costs(config, names, *sizes)


def _of_file(config: RunConfig) -> list[Example]:
    """All examples of a file of which nothing is held out, in its order."""
    from ctkd_core.distill.data import load_examples

    return load_examples(config.data, config.template, turns=config.learnt_turns, skip=config.skip_bad_records)


def student_folder(run: Run) -> Path:
    """The saved student of a run. Raises RunError when there is none."""
    if (folder := kept_student(run.dir)) is not None:
        return folder
    status = run.status()
    if not status.ended_already:
        raise RunError(f"run {run.id!r} is {status.state}; its student can be evaluated when it has finished.")
    why, mend = why_none(run)
    raise RunError(f"run {run.id!r} has no student to evaluate ({why}); {mend}.")


def _figures(
    run: Run, config: RunConfig, ask: Ask, folder: Path, report: Report, progress: Report | None
) -> tuple[dict[str, Any], PreTrainedModel]:
    """The figures, and the student, loaded."""
    import torch

    from ctkd_core.distill.devices import cpu_count, torch_device
    from ctkd_core.distill.evaluation.evaluator import Evaluator, nothing
    from ctkd_core.distill.evaluation.kept_answers import answers_of
    from ctkd_core.distill.models.teachers import load_model
    from ctkd_core.distill.teachers.manifest import TeacherFigures
    from ctkd_core.tokenizers.load import load_tokenizer

    torch.set_num_threads(config.threads or cpu_count())
    student, teacher = load_tokenizer(config.student), load_tokenizer(config.teacher)
    examples = _examples(config, bool(ask.data), (student, teacher))
    known = TeacherFigures() if ask.data else _of_cache(config, teacher)
    answers = known.answers if known.answer_tokens == config.sample_tokens else ()
    bits = known.bits_per_byte(len(examples))
    asking = sum(bool(e.prompt) for e in examples)
    device = torch_device(config.device)
    teacher_model, kept = None, None
    if bits is None or not _told_by_cache(config, min(asking, config.eval_completions) <= len(answers)):
        report("Loading the student and the teacher.")
        kept = answers_of(config, device)
        teacher_model = _teacher(config, device, report)
    if teacher_model is None and bits is not None:
        report("The teacher's bits per byte are those of its cache, of the same samples.")
    model = load_model(folder, role="student").to(device)  # type: ignore[arg-type]
    what = "sample" if ask.data else "held-out sample"
    report(f"Measuring {counted(len(examples), what)}.")
    if teacher_model is None or kept != answers_of(config, device):
        kept = None
    between = partial(report, "")
    evaluator = Evaluator(
        config, student, teacher, teacher_model, examples, between, bits, answers, kept, progress or nothing
    )
    figures = evaluator.figures(model)
    changed = list(changed_inputs(run.environment, config_from_here(run.config, run.dir), RunInput.now_here))
    trained_on, notes = _trained_on(run, examples, report) if ask.data else ({}, [])
    if said := _about_changed_data(run.config, changed, bool(ask.data)):
        trained_on, notes = {}, [said]
    others = (one.named for one in changed if one.kind != "data" and one.named != "student's weights")  # it learnt on
    for name in dict.fromkeys(others):
        have = "have" if name.endswith("weights") else "has"
        notes.append(f"figures are of what lies there now: the run's {name} {have} {CHANGED}")
    notes += evaluator.notes(figures, what).values()
    return {"samples_sha256": samples_sha256(examples), "notes": notes} | trained_on | figures, model


def _about_changed_data(config: RunConfig, changed: Iterable[RunInput], other: bool) -> str:
    """A note where data that changed since may have had samples among it that are measured; `other`: of another file.

    Held-out samples of a file of their own are what they were while that is; no run learns from a prompt in it.
    """
    options = {one.whose for one in changed if one.kind == "data"}
    if other:
        return UNKNOWN_CHANGED if options else ""
    return CHANGED_DATA if options and (not config.eval_data or "eval_data" in options) else ""


def _trained_on(run: Run, examples: Sequence[Example], report: Report) -> tuple[dict[str, int], list[str]]:
    """How many of these samples the run learnt from, as `trained_on`, and a note where there are any.

    {} and a note where the run's data can't be read any more.
    """
    from ctkd_core.distill.preparation import split_of

    def key(example: Example) -> tuple[str, str]:
        return example.prompt, example.completion.strip()  # a chat template may have taken the blank away

    try:
        learnt = {key(example) for example in split_of(config_from_here(run.config, run.dir)).train}
    except RunError as fault:
        report(str(fault))  # it names folders, and what is kept may be handed on
        return {}, [UNKNOWN_TRAINED]
    number = sum(key(example) in learnt for example in examples)
    told = f"{number:,} of the {counted(len(examples), 'sample')} {TRAINED}"
    return {"trained_on": number}, [told] if number else []


def _told_by_cache(config: RunConfig, answers: bool) -> bool:
    """Whether all that is asked of the teacher is in its cache; `answers`: whether enough of its completions are."""
    return set(chosen(config.evaluations)) <= ({"completions"} if answers else set())


def _of_cache(config: RunConfig, tokenizer: Tokenizer) -> TeacherFigures:
    """What the teacher's cache tells of it, where it is of this teacher, this data and these settings; else nothing."""
    from ctkd_core.distill.models.teachers import planned_teachers
    from ctkd_core.distill.teachers.manifest import TeacherFigures, held_out_of
    from ctkd_core.distill.teachers.matching import check_cache

    if Access.of(config).cache:
        try:
            figures = check_cache(config, planned_teachers(config, tokenizer)[0]).figures
            return figures if figures.of == held_out_of(config) else TeacherFigures()
        except RunError:
            pass  # a cache of other data or another teacher tells nothing: the model is asked instead
    return TeacherFigures()


def _teacher(config: RunConfig, device: str, report: Report) -> PreTrainedModel | None:
    """The run's teacher; None behind a server, and for one in a cache whose weights can't be had here."""
    from ctkd_core.distill.models.teachers import load_teacher

    access = Access.of(config)
    if access.server:
        report("The teacher is behind a server, so its figures aren't measured.")
        return None
    try:
        return load_teacher(config, device)
    except RunError as fault:
        if not access.cache:
            raise
        report(f"The teacher isn't measured, because only its cache is here: {fault}")
        return None


def _examples(config: RunConfig, whole: bool, tokenizers: Sequence[Tokenizer]) -> tuple[Example, ...]:
    from ctkd_core.distill.data import Split
    from ctkd_core.distill.preparation import split_of
    from ctkd_core.distill.rendering import rendered

    split = rendered(config, Split(tuple(_of_file(config)), ()) if whole else split_of(config), tokenizers)
    examples = split.examples if whole else split.held_out
    return examples[: config.eval_samples]


def samples_sha256(examples: Sequence[Example]) -> str:
    """A hash of all that models and evaluations read of examples; where these lie is no matter."""
    digest = hashlib.sha256()
    for e in examples:
        prompts = sorted((key, astuple(prompt)) for key, prompt in e.prompts.items())
        whole = [e.prompt, e.completion, e.lead, e.kind, e.question, e.whole, prompts]
        digest.update(json.dumps(whole).encode() + b"\n")
    return digest.hexdigest()


def keep(run: Run, found: Mapping[str, Any]) -> None:
    """Write figures into the run's folder. Raises RunError when it can't be written.

    What an earlier evaluation of this student found and this one didn't look at stays: figures of the same samples
    (`samples_sha256`), and tasks.
    """
    try:
        whole = json.dumps(finite(_beside_earlier(run, found)), indent=1, ensure_ascii=False)
        files.write_atomic(run.dir / FILE, whole)
    except OSError as fault:
        raise RunError(
            f"the figures can't be kept in {str(run.dir)!r}: {reason(fault)}; free some space, mend the rights of the "
            "folder, or evaluate a copy of the run."
        ) from fault


def _beside_earlier(run: Run, found: Mapping[str, Any]) -> dict[str, Any]:
    earlier, whole = kept(run), dict(found)
    if earlier.get("step") != found.get("step"):  # of a student that has learnt on since
        return whole
    tasks = earlier.pop("tasks", {}) | found.get("tasks", {})
    stands, samples = _read(run), found.get("samples_sha256")
    if samples is not None and stands.get("samples_sha256") == samples:  # an earlier version didn't note it
        before = stands.get("evaluations")
        now = found.get("evaluations", ())
        names = [*(before if isinstance(before, list) else ()), *now]
        notes = [note for note in earlier.pop("notes", ()) if note.partition(":")[0] not in now]
        if "trained_on" in earlier:
            earlier["trained_on"] = stands["trained_on"]  # a whole number, not a figure: kept as it stands
        notes = [note for note in notes if not note.endswith(CHANGED)]  # told anew
        if "trained_on" in found:  # counted anew
            notes = [note for note in notes if not note.endswith(TRAINED)]
        notes = list(dict.fromkeys([*notes, *found.get("notes", ())]))
        whole = earlier | whole | {"evaluations": [name for name in EVALUATIONS if name in names]}
        whole["notes"] = [
            note for note in notes if note not in (UNKNOWN_TRAINED, UNKNOWN_CHANGED) or "trained_on" not in whole
        ]
    return whole | {"tasks": tasks} if tasks else whole


def kept(run: Run) -> dict[str, Any]:
    """The figures of the last `evaluate_run`, its `notes` and its `data`, {} where there are none.

    They are of the types of `SavedEvaluation`; what isn't is left out.
    """
    found = _read(run)
    data, tasks, notes = (found.pop(key, None) for key in ("data", "tasks", "notes"))
    places = documents.misfits(SavedEvaluation, {"kind": "eval", "step": 0, "bits_per_byte": None} | found)
    wrong = {where[0] for where in places if len(where) == 1}  # of a table only the figures that are none go
    sound = {key: value for key, value in found.items() if key not in wrong}
    figures = {str(key): clean for key, value in sound.items() if (clean := _clean(value)) is not None}
    if isinstance(tasks, dict) and (tables := _clean_tables(tasks)):
        figures["tasks"] = tables
    if isinstance(notes, list) and (sentences := [note for note in notes if isinstance(note, str)]):
        figures["notes"] = sentences
    return figures | {"data": data} if isinstance(data, str) else figures


def _read(run: Run) -> dict[str, Any]:
    """What stands in the file, {} where it can't be read or isn't a table."""
    try:
        found = json.loads(files.read_regular(run.dir / FILE, MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _clean_tables(tables: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of each task; a task without one is left out."""
    return {name: clean for name, each in tables.items() if isinstance(each, dict) and (clean := _clean(each))}


def _clean(value: Any) -> Any:
    """A figure, or a table of figures; None for anything else."""
    if isinstance(value, dict):
        return {str(name): shown for name, each in value.items() if (shown := number(each)) is not None}
    return number(value)


def closed(found: Mapping[str, Any], baseline: Mapping[str, Any]) -> dict[str, Any]:
    """How much of the gap between `baseline` (SFT) and the teacher the student closed: overall and by part.

    found, baseline: figures as `evaluate_run` gives them.
    """
    parts: dict[str, Any] = {
        "overall": share_closed(
            baseline.get("bits_per_byte"), found.get("bits_per_byte"), found.get("teacher_bits_per_byte")
        )
    }
    for name in ("domain", "language", "class"):
        keys = f"bits_by_{name}", f"teacher_bits_by_{name}"
        if keys[0] in baseline and keys[0] in found and keys[1] in found:
            parts[f"by_{name}"] = shares_closed(baseline[keys[0]], found[keys[0]], found[keys[1]])
    return parts
