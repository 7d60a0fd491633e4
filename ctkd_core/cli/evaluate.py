"""`ctkd evaluate`: what the student of a finished run has learnt, beside its teacher and, if asked, beside SFT."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctkd_core.cli import complete
from ctkd_core.cli.common import FinishedRun, Output, RunsDir, inform, names_of, run_named, whole
from ctkd_core.cli.display import facts, table
from ctkd_core.distill.evaluation.arithmetic import overall
from ctkd_core.distill.evaluation.harness import task_rows
from ctkd_core.distill.evaluation.table import ALL, EVALUATIONS, NONE

if TYPE_CHECKING:
    from rich.console import RenderableType


_NAMES = ", ".join(EVALUATIONS)
NEWS_EVERY = 15.0  # seconds


def run(
    name: FinishedRun,
    evaluations: Annotated[
        str | None,
        typer.Option(
            "-e",
            "--evaluations",
            metavar="NAMES",
            help=f"{_NAMES}, separated by commas; all; none (default: those of the run).",
            autocompletion=names_of([*EVALUATIONS, ALL, NONE]),
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="RUN",
            help="A run of method sft, evaluated alike: how much of its gap to the teacher is closed.",
            autocompletion=complete.runs,
        ),
    ] = None,
    data: Annotated[
        str, typer.Option("--data", metavar="F", help="Measure all samples of this file, not the run's held-out ones.")
    ] = "",
    samples: Annotated[
        int | None, typer.Option("--samples", metavar="N", parser=whole, help="At most so many samples.")
    ] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            "--tasks",
            metavar="NAMES",
            help="Tasks of lm-evaluation-harness, measured besides; separated by commas, may be repeated.",
        ),
    ] = None,
    task_folder: Annotated[
        str, typer.Option("--task-folder", metavar="DIR", help="A folder with task files (*.yaml) of your own.")
    ] = "",
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", parser=whole, help="At most so many examples of a task.")
    ] = None,
    device: Annotated[
        str, typer.Option("--device", metavar="D", help="auto, cpu, mps, cuda (default: the run's).")
    ] = "",
    runs_dir: RunsDir = None,
) -> Output:
    """Measure the saved student; the figures are kept in the run's folder, where the page of the run shows them."""
    from ctkd_core.distill.evaluation.saved import Ask, closed, evaluate_run, expected_costs, student_folder
    from ctkd_core.distill.runs import RunStore
    from ctkd_core.markup.quantities import about

    store, ask = RunStore(runs_dir), Ask(evaluations, data, samples, device, tasks or (), task_folder, limit)
    chosen = [run_named(store, each, "finished") for each in (name, against) if each is not None]
    for each in chosen:  # all that can be wrong is told before anything is loaded
        student_folder(each)
        costs = expected_costs(each, ask).items()
        parts = [f"{key} {about(total)}" for key, cost in costs if (total := cost.each + cost.once) >= 1]
        if parts:
            more = "and loading the models; longer where other programs compute"
            inform(f"{each.id}: this takes about {', '.join(parts)}, {more}.")
    found = [evaluate_run(each, ask, news := _News(), news.progress) for each in chosen]
    if against is not None:
        found[0]["gap_closed"] = closed(found[0], found[1]) | {"against": chosen[1].id}
        if "tasks" in found[1]:
            found[0]["against_tasks"] = found[1]["tasks"]
    return Output(lambda: found[0], lambda: _view(found[0]))


def after_help() -> list[RenderableType]:
    """The evaluations and what each of them costs."""
    rows = [(row.name, f"{row.question} Cost: {row.cost}.") for row in EVALUATIONS.values()]
    return ["evaluations:", facts(rows, indent=2)]


class _News:
    """Says what is done, and now and then for how long and how far it is, while nothing else is news."""

    def __init__(self) -> None:
        self.began = self.printed = time.monotonic()
        self.far = ""

    def progress(self, far: str) -> None:
        """How far it is, for the next time."""
        self.far = f": {far}"

    def __call__(self, sentence: str) -> None:
        now = time.monotonic()
        if sentence:
            self.began, self.far = now, ""
            inform(sentence)
        elif now - self.printed >= NEWS_EVERY:
            inform(f"still measuring, {now - self.began:.0f} s so far{self.far}")
        else:
            return
        self.printed = now


def _view(found: Mapping[str, Any]) -> list[RenderableType]:
    from ctkd_core.figures.evaluation import NAMES

    head = [
        ("run", f"{found['run_id']}, step {found['step']}"),
        ("samples", f"{found['held_out']} of {found['data']}, {found['held_out_bytes']:,} bytes"),
    ]
    closed = found.get("gap_closed") or {}
    bits = ["bits per byte", found["bits_per_byte"], found.get("teacher_bits_per_byte"), closed.get("overall")]
    headers = ["", "student", "teacher", *(["gap closed"] if closed else [])]
    parts: list[RenderableType] = [facts(head), table(headers, [bits[: len(headers)]])]
    for part in ("domain", "language", "class"):
        own, other = found.get(f"bits_by_{part}"), found.get(f"teacher_bits_by_{part}", {})
        if own:
            sizes, shares = found[f"bytes_by_{part}"], closed.get(f"by_{part}", {})
            rows = [[key, own[key], other.get(key), shares.get(key), int(sizes[key])] for key in own]
            columns = [f"bits per byte by {part}", "student", "teacher", "gap closed", "bytes"]
            kept = [k for k, title in enumerate(columns) if closed or title != "gap closed"]
            parts.append(table([columns[k] for k in kept], [[row[k] for k in kept] for row in rows]))
    # Beside their words figures have the names by which `ctkd runs compare --figure` takes them.
    if "agreement" in found:
        rows = [[NAMES.get(key, key), f"agreement.{key}", value] for key, value in found["agreement"].items()]
        parts.append(table(["agreement with the teacher", "figure", "value"], rows))
    if "completions" in found:
        own, other = found["completions"], found.get("teacher_completions", {})
        rows = [[NAMES.get(key, key), f"completions.{key}", value, other.get(key)] for key, value in own.items()]
        parts.append(table(["completions", "figure", "student", "teacher"], rows))
    if "arithmetic" in found:
        own, other, counts = found["arithmetic"], found.get("teacher_arithmetic", {}), found["arithmetic_counts"]
        rows = [[digits, own[digits], other.get(digits), counts[digits]] for digits in own]
        rows.append(["all", overall(own, counts), overall(other, counts), sum(counts.values())])
        parts.append(table(["right results by digits of an operand", "student", "teacher", "exercises"], rows))
    if "exposure" in found:
        rows = [[int(length), value, found["exposure_texts"]] for length, value in found["exposure"].items()]
        parts.append(table(["boundaries of the text", "excess error behind own words in %", "prompts"], rows))
    parts += [f"note: {note}" for note in found.get("notes", ())]
    if found.get("tasks"):
        parts.append(_tasks(found["tasks"], found.get("against_tasks")))
    return parts


def _tasks(own: Mapping[str, Any], other: Mapping[str, Any] | None) -> RenderableType:
    """One row a figure of a task; with those of the run that it is set against, if there is one."""
    headers, rows = ["task", "figure", "student", "±", "examples"], [list(row) for row in task_rows(own)]
    if other is not None:
        headers[4:4] = ["against", "±"]
        beside = {row[:2]: row[2:4] for row in task_rows(other)}
        rows = [[*row[:4], *beside.get((row[0], row[1]), (None, None)), row[4]] for row in rows]
    return table(headers, [[*row[:-1], None if row[-1] is None else int(row[-1])] for row in rows])
