"""Tasks of lm-evaluation-harness, asked of a student: a bridge to the package lm_eval (extra `harness`).

What a task asks and how it scores is lm_eval's. Its data are those of a folder of one's own, or of the hub where that
can be reached. Code from the hub is never run; the Python functions that a task file names lie beside it and are.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctkd_core.distill.headline import number
from ctkd_core.errors import CtkdError, RunError, short, unknown
from ctkd_core.markup.visible import one_line, shorten

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MISSING = "tasks need the package lm_eval; run `pip install 'ctkd-lab[harness]'` (or `pip install lm_eval`)."
EXAMPLES = "examples"  # how many a figure of a task is of, beside the figures
ERROR = "_stderr"  # ends the name of a figure's standard error
# For standard errors without a formula (F1, perplexity, BLEU). lm_eval itself resamples 100,000 times in as many
# processes as there are cores; of 1,000 the error is within a few percent, and this process forks none.
RESAMPLED = 1_000
Report = Callable[[str], None]
Figures = dict[str, float]


@dataclass(frozen=True, eq=False)
class LoadedTasks:
    """Tasks with their data. `parts` of each name that was asked for: a group, or one or more tasks of lm_eval."""

    manager: Any
    parts: Mapping[str, list[Any]]


def task_names(value: Any) -> tuple[str, ...]:
    """The names in a text ("arc_easy, piqa") or a list of such texts, each once. Raises RunError for other things."""
    texts = [value] if isinstance(value, str) else list(value) if isinstance(value, Iterable) else None
    if texts is None or not all(isinstance(text, str) for text in texts):
        raise RunError(f"tasks are names, separated by commas, or a list of names; got {short(value)}.")
    return tuple(dict.fromkeys(name.strip() for text in texts for name in text.split(",") if name.strip()))


def load_tasks(names: Sequence[str], folder: str = "") -> LoadedTasks:
    """The tasks, groups or tags of these names with their data, from lm_eval and from a folder of task files.

    A task of the folder comes before one of the same name. Raises RunError without lm_eval, for unknown names, for data
    that can't be had, and for tasks that run code of the hub or of the model.
    """
    try:
        import lm_eval.tasks  # noqa: F401
    except ImportError:
        raise RunError(MISSING) from None
    if folder and not Path(folder).is_dir():
        raise RunError(f"there is no task folder {short(folder)}; give one that holds task files (*.yaml).")
    with _quiet():
        manager = _manager(names, folder)
        for name in names:
            if name not in manager.task_index:
                raise unknown("task", name, manager.all_tasks, RunError)
        return LoadedTasks(manager, {name: _parts(manager, name) for name in names})


def task_figures(
    model: PreTrainedModel, folder: Path, tasks: LoadedTasks, batch: int, limit: int | None, report: Report
) -> Iterator[dict[str, Figures]]:
    """The figures of one name after the other, by task; a group's are among those of its tasks.

    folder  holds the model's tokenizer; batch: texts at once; limit: at most so many examples of a task.
    A figure is called as lm_eval calls it (`acc`, `exact_match,strict-match`), its standard error the same with
    `_stderr`; `examples` says how many they are of. `report` gets a sentence before each name and may raise to stop.
    Raises RunError for what fails.
    """
    reader = _reader(model, folder, batch)
    for name, parts in tasks.parts.items():
        report(f"Measuring task {name}.")
        try:
            with _no_code_of_the_hub(), _in_this_process():
                found = _simple_evaluate(reader, parts, tasks.manager, limit)
        except CtkdError:
            raise
        except Exception as fault:  # tasks bring functions of their own, which raise what they like
            raise RunError(
                f"task {name!r} failed ({type(fault).__name__}): {_reason(fault)}. What was measured before it is kept."
            ) from fault
        yield _tables(found)


def task_rows(tasks: Mapping[str, Mapping[str, float | None]]) -> list[tuple[str, str, Any, Any, Any]]:
    """Task, figure, value, standard error and number of examples, as rows; None for what isn't known."""
    return [
        (task, name, value, figures.get(name + ERROR), figures.get(EXAMPLES))
        for task, figures in tasks.items()
        for name, value in figures.items()
        if name != EXAMPLES and not (name.endswith(ERROR) and name.removesuffix(ERROR) in figures)
    ]


def _manager(names: Sequence[str], folder: str) -> Any:
    from lm_eval.tasks import TaskManager

    if folder:
        # Reading lm_eval's own 14,000 tasks takes seconds; groups and tags of the folder may name some of them.
        own = TaskManager(include_path=folder, include_defaults=False)
        if set(names) <= set(own.all_subtasks):
            return own
    return TaskManager(include_path=folder or None)


def _parts(manager: Any, name: str) -> list[Any]:
    with _no_code_of_the_hub() as wanted:
        fault: Exception | None = None
        try:
            found = manager.load([name])
        except Exception as raised:  # data sets, files and functions of a task raise what they like
            fault = raised
    if wanted:
        raise RunError(f"task {name!r} scores with {wanted[0]!r}, code from the hub, which is never run; take another.")
    if isinstance(fault, OSError):  # what can't be reached, what isn't in the cache, a file that isn't there
        raise RunError(
            f"the data of task {name!r} aren't here: {_reason(fault)}. Give a task folder whose data are local files, "
            "or measure where there is a network and HF_HUB_OFFLINE isn't set."
        ) from fault
    if isinstance(fault, ImportError):
        raise RunError(f"task {name!r} needs a package that isn't installed: {_reason(fault)}.") from fault
    if fault is not None:
        raise RunError(f"task {name!r} can't be set up ({type(fault).__name__}): {_reason(fault)}.") from fault
    for task in found["tasks"].values():
        if getattr(task, "UNSAFE_CODE", False):
            raise RunError(f"task {name!r} runs the code that a model writes, which isn't done here; take another.")
        if getattr(task, "MULTIMODAL", False):
            raise RunError(f"task {name!r} shows pictures or sounds, which students here don't read; take another.")
    groups = found.get("groups", {})
    return [groups[name]] if name in groups else list(found["tasks"].values())


def _reader(model: PreTrainedModel, folder: Path, batch: int) -> Any:
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        with _quiet():
            return HFLM(
                pretrained=model, backend="causal", tokenizer=tokenizer, batch_size=batch, trust_remote_code=False
            )
    except Exception as fault:  # files of a tokenizer that transformers doesn't read, say
        raise RunError(
            f"lm_eval can't read the student of {str(folder)!r}: {_reason(fault)}. Its tokenizer must be one that "
            "transformers loads from that folder."
        ) from fault


def _simple_evaluate(reader: Any, parts: list[Any], manager: Any, limit: int | None) -> Any:
    from lm_eval import simple_evaluate

    return simple_evaluate(
        model=reader,
        tasks=parts,
        task_manager=manager,
        limit=limit,
        bootstrap_iters=RESAMPLED,
        log_samples=False,
        confirm_run_unsafe_code=False,
    )


def _tables(found: Mapping[str, Any]) -> dict[str, Figures]:
    """What lm_eval found, {"acc,none": 0.5, "acc_stderr,none": "N/A", ...}, as figures alone under plain names."""
    sizes, tables = found.get("n-samples", {}), {}
    for task, measured in {**found.get("results", {}), **found.get("groups", {})}.items():
        table: Figures = {}
        for key, value in measured.items():
            metric, comma, way = key.partition(",")
            figure = number(value)
            if comma and figure is not None:  # keys without a comma describe the task
                ending = ERROR if metric.endswith(ERROR) else ""
                name = metric.removesuffix(ERROR)
                table[(name if way == "none" else f"{name},{way}") + ending] = figure
        if table:
            size = number(sizes.get(task, {}).get("effective"))
            tables[task] = table if size is None else table | {EXAMPLES: size}
    return tables


def _reason(fault: BaseException) -> str:
    return shorten(one_line(str(fault).strip().split("\n")[0]), 300).rstrip(".") or type(fault).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without lm_eval's log: what it warns of while it sets things up is its own defaults, or becomes our error."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _no_code_of_the_hub() -> Iterator[list[str]]:
    """Metrics that lm_eval doesn't have it would fetch from the hub, as code; gives the names that were asked for."""
    import evaluate

    wanted: list[str] = []

    def refuse(path: Any, *_: Any, **__: Any) -> None:
        wanted.append(str(path))
        raise RunError(f"the metric {short(path)} is code from the hub, which is never run.")

    load, evaluate.load = evaluate.load, refuse
    try:
        yield wanted
    finally:
        evaluate.load = load


@contextlib.contextmanager
def _in_this_process() -> Iterator[None]:
    """No pool of processes for resampling: forks of one with threads and a GPU. What it prints goes to stderr."""
    name = "DISABLE_MULTIPROC"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
