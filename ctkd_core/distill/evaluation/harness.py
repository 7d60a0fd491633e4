"""Tasks of lm-evaluation-harness, asked of a student: a bridge to the package lm_eval (extra `harness`).

What a task asks and how it scores is lm_eval's. Its data are those of a folder of one's own, or of the hub where that
can be reached. Code from the hub is never run; the Python functions that a task file names lie beside it and are.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctkd_core.distill.headline import number
from ctkd_core.errors import CtkdError, RunError, cut, short, unknown
from ctkd_core.markup.visible import one_line

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MISSING = "tasks need the package lm_eval; run `pip install 'ctkd-lab[harness]'`."
DATASETS = 4  # from this version on the package datasets runs no code that comes with a data set
EXAMPLES = "examples"  # how many a figure of a task is of, beside the figures
ERROR = "_stderr"  # ends the name of a figure's standard error
# For standard errors without a formula (F1, perplexity, BLEU). lm_eval itself resamples 100,000 times in as many
# processes as there are cores; of 1,000 the error is within a few percent, and this process forks none.
RESAMPLED = 1_000
SEED = 1234  # lm_eval's own for numpy and torch; Python's is 0
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

    A task of the folder comes before one of the same name. Raises RunError without lm_eval, for unknown names, for task
    files that can't be read, for data that can't be had, and for tasks that run code of the hub or of the model.
    """
    _check_packages()
    if folder and not Path(folder).is_dir():
        raise RunError(f"there is no task folder {short(folder)}; give one that holds task files (*.yaml).")
    with _quiet(), _same_random_numbers():
        manager = _manager(names, folder)
        return LoadedTasks(manager, {name: _parts(manager, name) for name in names})


def task_figures(
    model: PreTrainedModel, folder: Path, tasks: LoadedTasks, batch: int, limit: int | None, report: Report
) -> Iterator[dict[str, Figures]]:
    """The figures of one name after the other, by task; a group's are among those of its tasks.

    folder  holds the model's tokenizer; batch: texts at once; limit: at most so many examples of a task.
    A figure is called as lm_eval calls it (`acc`, `exact_match,strict-match`), its standard error the same with
    `_stderr`; `examples` says how many they are of. `report` gets a sentence before each name, and one for each task
    that gave no figure, and may raise to stop. Raises RunError for what fails.
    """
    reader = _reader(model, folder, batch)
    for name, parts in tasks.parts.items():
        report(f"Measuring task {name}.")
        try:
            with _no_code_of_the_hub(), _in_this_process(), _same_random_numbers():
                found = _simple_evaluate(reader, parts, tasks.manager, limit)
        except CtkdError:
            raise
        except Exception as fault:  # tasks bring functions of their own, which raise what they like
            raise RunError(
                f"task {name!r} failed ({type(fault).__name__}): {_reason(fault)}. What was measured before it is kept."
            ) from fault
        yield _tables(found)
        for sentence in _without_figures(found):  # last: it may raise, and what was found is kept then
            report(sentence)


def task_rows(tasks: Mapping[str, Mapping[str, float | None]]) -> list[tuple[str, str, Any, Any, Any]]:
    """Task, figure, value, standard error and number of examples, as rows; None for what isn't known."""
    return [
        (task, name, value, figures.get(name + ERROR), figures.get(EXAMPLES))
        for task, figures in tasks.items()
        for name, value in figures.items()
        if name != EXAMPLES and not (name.endswith(ERROR) and name.removesuffix(ERROR) in figures)
    ]


def _check_packages() -> None:
    """Raises RunError without lm_eval, and for a version of datasets that would run code of the hub."""
    try:
        with _quiet():
            import datasets
            import lm_eval.tasks  # noqa: F401
    except ImportError:
        raise RunError(MISSING) from None
    if int(datasets.__version__.split(".")[0]) < DATASETS:
        raise RunError(
            f"tasks need the package datasets from version {DATASETS} on, which runs no code that comes with data "
            f"(here: {datasets.__version__}); run `pip install 'ctkd-lab[harness]'`."
        )


def _manager(names: Sequence[str], folder: str) -> Any:
    """What knows all tasks that are asked for. Raises RunError for unknown names and for files that can't be read."""
    from lm_eval.tasks import TaskManager

    if not folder:
        _check_names(names, _own_tasks().task_index, {})
        return _own_tasks()
    with _passed_over() as faults:
        given = TaskManager(include_path=folder, include_defaults=False)
    for name in names:
        _check_files(name, given, faults)
    if set(names) <= set(given.all_subtasks):
        return given
    if elsewhere := set(names) - set(given.task_index):
        _check_names(names, {**_own_tasks().task_index, **given.task_index}, faults)
    # Groups and tags of the folder may name tasks of lm_eval.
    return _own_tasks() if elsewhere == set(names) else TaskManager(include_path=folder)


@cache
def _own_tasks() -> Any:
    """lm_eval's own 14,000 tasks, which take seconds to read."""
    from lm_eval.tasks import TaskManager

    return TaskManager()


def _check_names(names: Sequence[str], known: Collection[str], faults: Mapping[Path, Exception]) -> None:
    """Raises RunError for a name that isn't known, with the nearest ones and the files that weren't read."""
    for name in names:
        if name not in known:
            told = [f"{short(path)} ({_reason(f)})" for path, f in faults.items() if _damaged(f) or _names(path, name)]
            fault = unknown("task", name, known, RunError)
            raise RunError(f"{fault} Not read: {'; '.join(told)}.") if told else fault


def _check_files(name: str, own: Any, faults: Mapping[Path, Exception]) -> None:
    """Raises RunError where a file that lm_eval passed over stands for the name: another's task isn't measured instead.

    A tag is of several files, so one that can be read doesn't do.
    """
    entry = own.task_index.get(name)
    if entry is not None and entry.yaml_path is not None:
        return
    for path, fault in faults.items():
        if _damaged(fault) and _names(path, name):
            raise RunError(f"task {name!r} stands in {short(path)}, which can't be read: {_reason(fault)}.") from fault


def _damaged(fault: Exception) -> bool:
    """Whether a file can't be read; one without a task, which others may include, is no fault."""
    return not str(fault).startswith("Unknown config shape")


def _names(path: Path, name: str) -> bool:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text) is not None


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
        raise RunError(f"task {name!r} {_what_is_missing(fault)}.") from fault
    if fault is not None:
        cause = _cause(fault)
        raise RunError(f"task {name!r} can't be set up ({type(cause).__name__}): {_reason(cause)}.") from fault
    for task in found["tasks"].values():
        if getattr(task, "UNSAFE_CODE", False):
            raise RunError(f"task {name!r} runs the code that a model writes, which isn't done here; take another.")
        if getattr(task, "MULTIMODAL", False):
            raise RunError(f"task {name!r} shows pictures or sounds, which students here don't read; take another.")
    groups = found.get("groups", {})
    return [groups[name]] if name in groups else list(found["tasks"].values())


def _what_is_missing(fault: ImportError) -> str:
    """A file of one's own that a task file names, or a package."""
    found = re.fullmatch(r"Cannot import module '(.+)' for function '(.+)' \(from YAML in (.+)\)", str(fault))
    cause = fault.__cause__
    if found is None or not isinstance(cause, ImportError):
        return f"needs a package that isn't installed: {_reason(fault)}"
    module, function, folder = found.groups()
    if isinstance(cause, ModuleNotFoundError) and cause.name and f"{module}.".startswith(f"{cause.name}."):
        path = Path(folder, *module.split(".")).with_suffix(".py")
        return (
            f"names the function {module}.{function}, but {short(path)} isn't there, nor is a package of that name; "
            "put the file there, or correct the name"
        )
    return f"needs a package that isn't installed: {_reason(cause)}"


def _reader(model: PreTrainedModel, folder: Path, batch: int) -> Any:
    from lm_eval.models.huggingface import HFLM
    from transformers import PreTrainedTokenizerFast

    try:
        # AutoTokenizer takes another class for some types of models, whatever the files say.
        tokenizer = PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True)
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
            figure = _figure(value)
            if comma and figure is not None:  # keys without a comma describe the task
                ending = ERROR if metric.endswith(ERROR) else ""
                name = metric.removesuffix(ERROR)
                table[(name if way == "none" else f"{name},{way}") + ending] = figure
        if table:
            size = number(sizes.get(task, {}).get("effective"))
            tables[task] = table if size is None else table | {EXAMPLES: size}
    return tables


def _without_figures(found: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each task without a figure. A group may have none of its own."""
    for task in found.get("n-samples", {}):
        measured = found.get("results", {}).get(task, {})
        if not any("," in key and _figure(value) is not None for key, value in measured.items()):
            keys = [key.partition(",")[0] for key in measured if "," in key]
            names = [one_line(key) for key in dict.fromkeys(keys) if not key.endswith(ERROR)]
            of = " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
            yield f"Task {task} gave no figure: " + (f"none of {of} is a finite number." if of else "it has no metric.")


def _figure(value: Any) -> float | None:
    """A finite number, also one of numpy or torch, as a float; None for anything else."""
    if callable(item := getattr(value, "item", None)):
        try:
            value = item()
        except (TypeError, ValueError, RuntimeError):  # of an array with several numbers
            return None
    return number(value)


def _cause(fault: BaseException) -> BaseException:
    """The fault itself, or the one that it only hides."""
    cause, said = fault.__cause__ or fault.__context__, str(fault).strip()
    if cause is None:
        return fault
    hidden = said == "An error occurred while generating the dataset"
    if isinstance(cause, AttributeError) and " has no function " in said:  # lm_eval's, also for a fault of the file
        hidden = f" has no function {cause.name!r}" not in said
    return _cause(cause) if hidden else fault


def _reason(fault: BaseException) -> str:
    return cut(one_line(" ".join(str(fault).split())), 300).rstrip(".") or type(fault).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without lm_eval's log: what it warns of while it sets things up is its own defaults, or becomes our error.

    What it or the functions of a task print goes to stderr.
    """
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        logger.setLevel(level)


class _PassedOver(logging.Handler):
    """Keeps the files, with their faults, of which lm_eval says in its log alone that it passes them over."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.faults: dict[Path, Exception] = {}

    def emit(self, record: logging.LogRecord) -> None:
        match record.args:
            case (Path() as path, Exception() as fault):
                self.faults[path] = fault


@contextlib.contextmanager
def _passed_over() -> Iterator[dict[Path, Exception]]:
    """The task files that lm_eval passes over meanwhile, and why."""
    logger, handler = logging.getLogger("lm_eval.tasks"), _PassedOver()
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield handler.faults
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


@contextlib.contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Random numbers are the same in every measurement; Python, numpy and torch go on afterwards where they were.

    Functions of tasks may shuffle their examples while they are read, before lm_eval seeds; its own seeds are taken.
    """
    import numpy as np
    import torch

    own, arrays = random.getstate(), np.random.get_state()
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    try:
        with torch.random.fork_rng(devices):
            random.seed(0)
            np.random.seed(SEED)
            torch.manual_seed(SEED)
            yield
    finally:
        random.setstate(own)
        np.random.set_state(arrays)
        if mps is not None:
            torch.mps.set_rng_state(mps)


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
