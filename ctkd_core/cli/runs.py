"""`ctkd runs`: list, show, watch, queue, cancel, resume, compare, report, export, archive and remove runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctkd_core.cli import complete, progress
from ctkd_core.cli.common import (
    CANCELLED,
    RUNS,
    ActiveRun,
    OneRun,
    Output,
    RunsDir,
    StoppedRun,
    UsageError,
    inform,
    is_name,
    names_folder,
    names_of,
    new_file,
    once_each,
    one_of,
    run_named,
    run_store,
    whole,
    write_out,
)
from ctkd_core.cli.display import facts, styled, table
from ctkd_core.cli.distill import describe, document, finish, shown_id, state_of, stop, together
from ctkd_core.distill.lookup import MOST_NAME
from ctkd_core.distill.option_labels import value_text
from ctkd_core.distill.training.processes import world_size
from ctkd_core.errors import CtkdError, RunError, short
from ctkd_core.markup.visible import shorten

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ctkd_core.distill.comparison.table import Comparison
    from ctkd_core.distill.runs import Run, RunStore

FORMATS = ("csv", "json")

Many = Annotated[
    list[str],
    typer.Argument(metavar="ID", help=f"{RUNS}.", autocompletion=complete.runs),
]
ActiveRuns = Annotated[
    list[str],
    typer.Argument(
        metavar="ID",
        help=f"{RUNS}, or their folders; or 'latest': the newest that is under way, else one that waits.",
        autocompletion=complete.runs,
    ),
]
OfSweep = Annotated[
    str | None, typer.Option("--sweep", metavar="ID", help="All runs of a sweep.", autocompletion=complete.sweeps)
]
Baseline = Annotated[
    str | None, typer.Option("--baseline", metavar="METHOD", help="What differences are to (default: sft).")
]
Some = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", help=f"{RUNS}, or their folders.", autocompletion=complete.runs),
]
FIGURES = (
    "bits_per_byte, loss, agreement.top1, completions.rouge_l, arithmetic and so on; `ctkd evaluate` shows the names "
    "beside the words, `ctkd runs compare --json` lists those that the runs have"
)
MOST_BESIDE = 8  # runs whose figures and options are printed side by side
MOST_FIGURES = 16  # that are printed beside the one that is compared
IN_METRICS = ("bits_per_byte", "teacher_bits_per_byte", "loss")  # figures that a run's summary has, too


def ls(
    show_all: Annotated[bool, typer.Option("--all", help="Archived runs too.")] = False, runs_dir: RunsDir = None
) -> Output:
    """List all runs, newest first."""
    store = run_store(runs_dir)
    rows = [_summary(run) for run in store.list(archived=show_all)]
    if any(row["status"] == "queued" for row in rows):
        from ctkd_core.distill.sweeps.queue import waiting

        places = {run.id: k for k, run in enumerate(waiting(store.root), start=1)}
        rows = [row | {"queue_place": places.get(row["run_id"])} for row in rows]
    return Output(lambda: rows, lambda: _list(rows))


def _list(rows: list[dict[str, Any]]) -> list[RenderableType]:
    if not rows:
        return ["No runs yet. Start one: ctkd distill --preset quick"]
    named = any(row.get("name") for row in rows)
    headers = [
        "run",
        *(["name"] if named else []),
        "status",
        "step",
        "method",
        "student",
        "teacher",
        "loss",
        "bits/byte before",
        "after",
        "sweep",
        "in line",
    ]
    damaged = [(row.get("run_id"), row.get("message")) for row in rows if row.get("status") == "damaged"]
    parts: list[RenderableType] = [table(headers, [_row(row, named) for row in rows])]
    return [*parts, facts((styled(name, "bold red"), what) for name, what in damaged)] if damaged else parts


def _summary(run: Run) -> dict[str, Any]:
    """The run's summary; one damaged folder must not hide the others."""
    try:
        return run.summary()
    except CtkdError as error:
        keys = ("step", "steps", "method", "student", "teacher")
        damaged = {"run_id": run.id, "run_dir": str(run.dir), "status": "damaged", "message": str(error), "metrics": {}}
        return damaged | dict.fromkeys(keys)


def _row(row: dict[str, Any], named: bool) -> list[Any]:
    metrics = row.get("metrics") or {}
    return [
        row.get("run_id"),
        *([shorten(row.get("name") or "", MOST_NAME)] if named else []),
        state_of(row),
        *(row.get(key) for key in ("step", "method", "student", "teacher")),
        *(metrics.get(key) for key in ("loss_last", "bits_per_byte_before", "bits_per_byte_after")),
        (row.get("sweep") or "")[-5:],
        row.get("queue_place") or "",
    ]


def show(
    name: OneRun,
    log_lines: Annotated[int, typer.Option("--log-lines", metavar="N", parser=whole, help="Lines of the log.")] = 15,
    runs_dir: RunsDir = None,
) -> Output:
    """Show one run: status, metrics, samples, end of its log."""
    from ctkd_core.distill.sweeps.queue import in_line

    run = run_named(run_store(runs_dir), name)

    def data() -> dict[str, Any]:
        place = in_line(run) if run.status().state == "queued" else None
        behind = {} if place is None else {"queue_behind": [other.id for other in (*place.under_way, *place.waiting)]}
        rows = {
            "config": run.config.to_dict(),
            "samples": run.samples(),
            "log": run.log_tail(log_lines).splitlines(),
        }
        return document(run, whole=True) | behind | rows

    def view() -> list[RenderableType]:
        config = [[key, value_text(value)] for key, value in run.config.every_option().items()]
        parts: list[RenderableType] = [describe(run, whole=True), table(["option", "value"], config)]
        samples = run.samples()
        last = [sample for sample in samples if sample.get("step") == samples[-1].get("step")]
        keys = ["step", "prompt", "reference", "student", "teacher"]
        if last:
            parts.append(table(keys, [[sample.get(key) for key in keys] for sample in last]))
        return [*parts, "\n".join(["end of the log:", *run.log_tail(log_lines).splitlines()])]

    return Output(data, view)


def watch(name: ActiveRun, runs_dir: RunsDir = None) -> Output:
    """Follow one run until it ends."""
    run = run_named(run_store(runs_dir), name, "active")
    try:
        code = progress.CODES[progress.follow(run).state]
    except KeyboardInterrupt:
        inform(f"the run goes on; `ctkd runs cancel {shown_id(run)}` stops it.")
        code = CANCELLED
    return Output(lambda: document(run), lambda: [describe(run)], code)


def cancel(
    names: ActiveRuns,
    now: Annotated[
        bool, typer.Option("--now", help="End the process at once: steps since the last checkpoint are lost.")
    ] = False,
    runs_dir: RunsDir = None,
) -> Output:
    """Stop runs behind the step under way, with a checkpoint from which they can be resumed."""
    store = run_store(runs_dir)
    runs = once_each(run_named(store, name, "active") for name in names)
    if len(runs) == 1:
        stop(runs[0], now)
        return Output(lambda: document(runs[0]), lambda: [describe(runs[0])])
    # All are asked before any is waited for. One that has ended is refused, and first: then none is stopped.
    for run in sorted(runs, key=lambda run: not run.status().ended_already):
        run.cancel(wait=False)
    for run in runs:
        if not run.status().ended_already:
            with suppress(RunError):  # it may have ended in this moment
                stop(run, now)
    return Output(lambda: [document(run) for run in runs], lambda: [describe(run) for run in runs])


def resume(
    name: StoppedRun,
    detach: Annotated[bool, typer.Option("--detach", help="Leave the run in the background.")] = False,
    runs_dir: RunsDir = None,
) -> Output:
    """Continue a run that was cancelled, failed or lost, from its last checkpoint; start the queue where it waits."""
    from ctkd_core.distill.sweeps.queue import go_on

    run = run_named(run_store(runs_dir), name, "stopped")
    if world_size() > 1:

        def again() -> Run:
            run.queue_again()
            return run

        return together(run.config, again, detach)
    offset = progress.written(run)
    if detach:
        go_on(run)
        return Output(run.summary, lambda: [f"{run.id}\n{run.dir}"])
    return finish(run, lambda: go_on(run), offset)


def compare(
    names: Some = None,
    sweep: OfSweep = None,
    figure: Annotated[
        str, typer.Option("--figure", metavar="NAME", help=f"What is compared: {FIGURES}.")
    ] = "bits_per_byte",
    baseline: Baseline = None,
    out: Annotated[
        str | None, typer.Option("--out", metavar="FILE", help="Write the table to a .csv or .parquet file.")
    ] = None,
    per_run: Annotated[
        bool, typer.Option("--per-run", help="With --out: one row a run with all its options, not one a kind.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    runs_dir: RunsDir = None,
) -> Output:
    """Compare several runs: figures over seeds with intervals, differences to the baseline, ranks, options."""
    from ctkd_core.distill.comparison.figures import figures_of
    from ctkd_core.distill.comparison.table import compare as compared
    from ctkd_core.distill.comparison.table import run_frame
    from ctkd_core.distill.runs import compare_runs
    from ctkd_core.figures.comparison import table_bytes

    store = run_store(runs_dir)
    runs, base = _chosen(store, names, sweep)
    if len(runs) < 2:
        raise UsageError(
            f"compare takes at least two different runs; got {', '.join(run.id for run in runs) or 'none'}."
        )
    data = compare_runs(runs)
    figures = {run.id: figures_of(run) for run in runs}
    found = compared(runs, figure, baseline or base, lambda run: figures[run.id])
    data["statistics"] = found.to_dict()
    if out is not None:
        path = new_file(out, force)
        write_out("table", table_bytes(run_frame(runs) if per_run else found.frame(), path.name), path)
        data["path"] = str(path.absolute())
    return Output(lambda: data, lambda: _comparison(data, found, figures))


def _chosen(store: RunStore, names: list[str] | None, sweep: str | None) -> tuple[list[Run], str | None]:
    """The runs that are named, each once, and those of a sweep with its baseline."""
    runs, base = [run_named(store, name) for name in names or ()], None
    if sweep is not None:
        from ctkd_core.distill.sweeps.sweep import get

        found = get(store, sweep)
        runs, base = [*runs, *found.runs()], found.definition.baseline
        if base not in {run.config.method for run in runs}:
            base = None
    return once_each(runs), base


def _comparison(
    data: dict[str, Any], comparison: Comparison, figures: Mapping[str, Mapping[str, float]]
) -> list[RenderableType]:
    from ctkd_core.figures.comparison import ranking

    found = data["statistics"]
    ranks = ranking(comparison)
    parts: list[RenderableType] = [
        table(list(ranks[0]), [list(row.values()) for row in ranks]),
        *(f"note: {note}" for note in found["notes"]),
    ]
    ids = [row["run_id"] for row in data["runs"]]
    if len(ids) > MOST_BESIDE:
        return parts
    metrics = list(dict.fromkeys(key for row in data["runs"] for key in row["metrics"]))
    rows = [[metric, *(row["metrics"].get(metric) for row in data["runs"])] for metric in metrics]
    shared = [name for name in comparison.names if all(name in figures[run_id] for run_id in ids)]
    others = [name for name in shared if name not in IN_METRICS]
    named = {comparison.figure: None} | dict.fromkeys(others if len(others) <= MOST_FIGURES else ())
    rows += [[name, *(figures[run_id].get(name) for run_id in ids)] for name in named if name not in IN_METRICS]
    rows.append(["bits per byte minus the first run's", *(data["deltas"][run_id] for run_id in ids)])
    differing = [
        [key, *("–" if value is None else value_text(value) for value in values)]
        for key, values in data["differences"].items()
    ]
    options = table(["option that differs", *ids], differing) if differing else "The configs are equal."
    return [*parts, table(["metric", *ids], rows), options]


def report(
    names: Some = None,
    out: Annotated[str, typer.Option("-o", "--out", metavar="FILE", help="The HTML file.")] = "report.html",
    sweep: OfSweep = None,
    figure: Annotated[
        str, typer.Option("--figure", metavar="NAME", help=f"What several runs are compared by: {FIGURES}.")
    ] = "bits_per_byte",
    baseline: Baseline = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    runs_dir: RunsDir = None,
) -> Output:
    """Write one HTML file about a run, or about several compared, that opens offline."""
    from ctkd_core.figures.report_runs import comparison_html, run_html

    store = run_store(runs_dir)
    runs, base = _chosen(store, names, sweep)
    if not runs:
        raise UsageError("report takes at least one run, or --sweep ID.")
    text = run_html(runs[0]) if len(runs) == 1 else comparison_html(runs, figure, baseline or base)
    path = new_file(out, force)
    write_out("report", text.encode("utf-8", "replace"), path)
    size = path.stat().st_size
    data = {"path": str(path.absolute()), "bytes": size, "runs": [run.id for run in runs]}
    return Output(lambda: data, lambda: [f"{size / 1e3:.0f} kB in {path}"])


def queue(
    name: Annotated[
        str | None,
        typer.Argument(metavar="ID", help="A waiting run to move.", autocompletion=complete.runs),
    ] = None,
    to: Annotated[
        str | None, typer.Argument(metavar="WHERE", help="first, last, or the id of a run to go before.")
    ] = None,
    runs_dir: RunsDir = None,
) -> Output:
    """Show the runs that wait, in their order; with ID and WHERE, move one first."""
    from ctkd_core.distill.sweeps import queue as waiting

    store = run_store(runs_dir)
    if (name is None) != (to is None):
        raise UsageError("to move a run, name it and where it goes: first, last, or the id of a run to go before.")
    if name is not None and to is not None:
        waiting.move(store.root, [run_named(store, name, "waiting").id], to)
    rows = [
        run.summary() | {"queue_place": k, "devices": sorted(waiting.devices_of(run))}
        for k, run in enumerate(waiting.waiting(store.root), start=1)
    ]
    return Output(lambda: rows, lambda: _queue(rows))


def _queue(rows: list[dict[str, Any]]) -> list[RenderableType]:
    if not rows:
        return ["No run waits."]
    keys = ("queue_place", "run_id", "name", "sweep", "message")
    cells = [[*(row[key] for key in keys), ", ".join(row["devices"])] for row in rows]
    return [table(["", "run", "name", "sweep", "", "devices"], cells)]


def export(
    name: OneRun,
    format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="F",
            callback=one_of("format", FORMATS),
            help="csv or json.",
            autocompletion=names_of(FORMATS),
        ),
    ] = "csv",
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="FILE", help="Default: metrics.csv or metrics.json in the current folder."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    runs_dir: RunsDir = None,
) -> Output:
    """Write the metrics of one run as CSV or JSON."""
    run = run_named(run_store(runs_dir), name)
    path = new_file(out or f"metrics.{format}", force)
    if damage := run.metrics_part().damage:
        inform(damage)
    frame = run.metrics()
    text = frame.to_csv(index=False) if format == "csv" else frame.to_json(orient="records", indent=1)
    write_out("metrics", text.encode(), path)
    return Output(
        lambda: run.summary(whole=True) | {"path": str(path.absolute()), "rows": len(frame)},
        lambda: [f"{len(frame)} rows in {path}"],
    )


def archive(names: Many, runs_dir: RunsDir = None) -> Output:
    """Put runs out of sight; nothing of them is lost."""
    return _archive(names, runs_dir, True)


def unarchive(names: Many, runs_dir: RunsDir = None) -> Output:
    """Bring archived runs back into the list."""
    return _archive(names, runs_dir, False)


def _archive(names: list[str], runs_dir: str | None, archived: bool) -> Output:
    done = "archived" if archived else "unarchived"
    ids = _each(names, runs_dir, lambda store, run_id: store.archive(run_id, archived=archived))
    return Output(lambda: {done: ids}, lambda: ["\n".join(f"{done} {run_id}" for run_id in ids)])


def rm(names: Many, runs_dir: RunsDir = None) -> Output:
    """Remove runs and their folders."""
    ids = _each(names, runs_dir, lambda store, run_id: store.remove(run_id))
    return Output(lambda: {"removed": ids}, lambda: ["\n".join(f"removed {run_id}" for run_id in ids)])


def _each(names: list[str], runs_dir: str | None, act: Callable[[RunStore, str], Any]) -> list[str]:
    """Do it with each of the runs once, all of which are looked up before; their ids. No folder may be named."""
    store = run_store(runs_dir)
    for name in names:
        if names_folder(name) and not is_name(store, name):
            raise UsageError(f"this takes ids, not folders such as {short(name)}; name where they lie with --runs-dir.")
    found = (store.get(name) if names_folder(name) else run_named(store, name) for name in names)
    ids = list(dict.fromkeys(run.id for run in found))
    for run_id in ids:
        act(store, run_id)
    return ids


ACTIONS = {
    "ls": ls,
    "show": show,
    "watch": watch,
    "cancel": cancel,
    "resume": resume,
    "queue": queue,
    "compare": compare,
    "report": report,
    "export": export,
    "archive": archive,
    "unarchive": unarchive,
    "rm": rm,
}
