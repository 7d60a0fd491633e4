"""`ctkd runs`: list, show, watch, cancel, resume, compare, export, archive and remove runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctkd_core.cli import progress
from ctkd_core.cli.common import Answer, CommandParser, UsageError, add_json
from ctkd_core.cli.display import cell, table
from ctkd_core.cli.distill import describe, finish
from ctkd_core.errors import CtkdError

if TYPE_CHECKING:
    from ctkd_core.distill.runs import Run, RunStore

_ACTIONS = {
    "ls": "list all runs, newest first",
    "show": "show one run: status, metrics, samples, end of its log",
    "watch": "follow one run until it ends",
    "cancel": "cancel a running run",
    "resume": "continue a run that was cancelled, failed or lost, from its last checkpoint",
    "compare": "compare configs and metrics of several runs",
    "export": "write the metrics of one run as CSV or JSON",
    "archive": "put runs out of sight; nothing of them is lost",
    "unarchive": "bring archived runs back into the list",
    "rm": "remove runs and their folders",
}
_MANY = {"compare", "archive", "unarchive", "rm"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-command per action."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=CommandParser)
    for name, text in _ACTIONS.items():
        sub = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name in _MANY:
            sub.add_argument("ids", nargs="+", metavar="ID", help="ids or unique beginnings of ids")
        elif name != "ls":
            sub.add_argument("id", metavar="ID", help="id, unique beginning of an id, or 'latest'")
        sub.add_argument("--runs-dir", metavar="D", help="where runs are kept (default: CTKD_HOME/runs)")
        if name == "ls":
            sub.add_argument("--all", action="store_true", help="archived runs too")
        if name == "show":
            sub.add_argument("--log-lines", type=int, default=15, metavar="N", help="lines of the log (default 15)")
        if name == "resume":
            sub.add_argument("--detach", action="store_true", help="leave the run in the background")
        if name == "export":
            sub.add_argument("--format", choices=("csv", "json"), default="csv", help="default csv")
            sub.add_argument("--out", metavar="FILE", help="default: metrics.csv or metrics.json in the current folder")
            sub.add_argument("--force", action="store_true", help="replace an existing file")
        add_json(sub)
    parser.set_defaults(json=False)


def run(args: argparse.Namespace) -> Answer:
    """Dispatch to the action."""
    from ctkd_core.distill.runs import RunStore

    return _RUN[args.action](RunStore(args.runs_dir), args)


def _get(store: RunStore, name: str) -> Run:
    if name == "latest":
        runs = store.list()
        if not runs:
            raise CtkdError("there are no runs yet; start one with `ctkd distill`.")
        return runs[0]
    return store.get(name)


def _ls(store: RunStore, args: argparse.Namespace) -> Answer:
    rows = [_summary(run) for run in store.list(archived=args.all)]

    def text() -> str:
        if not rows:
            return "No runs yet. Start one: ctkd distill --preset quick"
        headers = ["run", "status", "step", "method", "student", "teacher", "loss", "bits/byte before", "after"]
        return table(headers, [_ls_row(row) for row in rows])

    return Answer(lambda: rows, text)


def _summary(run: Run) -> dict[str, Any]:
    """The run's summary; one damaged folder must not hide the others."""
    try:
        return run.summary()
    except CtkdError as error:
        keys = ("step", "steps", "method", "student", "teacher")
        damaged = {"run_id": run.id, "run_dir": str(run.dir), "status": "damaged", "message": str(error), "metrics": {}}
        return damaged | dict.fromkeys(keys)


def _ls_row(row: dict[str, Any]) -> list[Any]:
    metrics = row["metrics"]
    return [
        *(row[key] for key in ("run_id", "status", "step", "method", "student", "teacher")),
        *(metrics.get(key) for key in ("loss_last", "bits_per_byte_before", "bits_per_byte_after")),
    ]


def _show(store: RunStore, args: argparse.Namespace) -> Answer:
    run = _get(store, args.id)

    def data() -> dict[str, Any]:
        return run.summary() | {
            "config": run.config.to_dict(),
            "samples": run.samples(),
            "log": run.log_tail(args.log_lines).splitlines(),
        }

    def text() -> str:
        parts = [describe(run), table(["option", "value"], [[k, str(v)] for k, v in run.config.to_dict().items()])]
        samples = run.samples()
        last = [sample for sample in samples if sample.get("step") == samples[-1].get("step")]
        keys = ["step", "prompt", "reference", "student", "teacher"]
        if last:
            parts.append(table(keys, [[sample.get(key) for key in keys] for sample in last]))
        parts.append("\n".join(["end of the log:", *map(cell, run.log_tail(args.log_lines).splitlines())]))
        return "\n\n".join(parts)

    return Answer(data, text)


def _watch(store: RunStore, args: argparse.Namespace) -> Answer:
    run = _get(store, args.id)
    status = progress.follow(run)  # Ctrl-C ends the watching, not the run
    return Answer(run.summary, lambda: describe(run), progress.CODES[status.state])


def _cancel(store: RunStore, args: argparse.Namespace) -> Answer:
    run = _get(store, args.id)
    run.cancel()
    return Answer(run.summary, lambda: describe(run))


def _resume(store: RunStore, args: argparse.Namespace) -> Answer:
    run = _get(store, args.id)
    run.resume()
    if args.detach:
        return Answer(run.summary, lambda: f"{run.id}\n{run.dir}")
    return finish(run)


def _compare(store: RunStore, args: argparse.Namespace) -> Answer:
    if len(set(args.ids)) < 2:
        raise UsageError(f"compare takes at least two different runs; got {', '.join(args.ids)}.")
    runs = [_get(store, name) for name in args.ids]
    data = store.compare([run.id for run in runs])

    def text() -> str:
        ids = [row["run_id"] for row in data["runs"]]
        names = list(dict.fromkeys(key for row in data["runs"] for key in row["metrics"]))
        rows = [[name, *(row["metrics"].get(name) for row in data["runs"])] for name in names]
        rows.append(["bits per byte minus the first run's", *(data["deltas"][run_id] for run_id in ids)])
        differing = [[key, *map(str, values)] for key, values in data["differences"].items()]
        parts = [table(["metric", *ids], rows)]
        parts.append(table(["option that differs", *ids], differing) if differing else "The configs are equal.")
        return "\n\n".join(parts)

    return Answer(lambda: data, text)


def _export(store: RunStore, args: argparse.Namespace) -> Answer:
    run = _get(store, args.id)
    path = Path(args.out or f"metrics.{args.format}")
    if path.exists() and not args.force:
        raise UsageError(f"{str(path)!r} exists already; choose another name with --out, or add --force.")
    frame = run.metrics()
    text = frame.to_csv(index=False) if args.format == "csv" else frame.to_json(orient="records", indent=1)
    path.write_text(text, encoding="utf-8")
    return Answer(
        lambda: run.summary() | {"path": str(path.absolute()), "rows": len(frame)},
        lambda: f"{len(frame)} rows in {path}",
    )


def _archive(store: RunStore, args: argparse.Namespace) -> Answer:
    done = "archived" if args.action == "archive" else "unarchived"
    names = list(dict.fromkeys(_get(store, name).id for name in args.ids))
    for name in names:
        store.archive(name, archived=args.action == "archive")
    return Answer(lambda: {done: names}, lambda: "\n".join(f"{done} {name}" for name in names))


def _rm(store: RunStore, args: argparse.Namespace) -> Answer:
    runs = {run.id: run for run in (_get(store, name) for name in args.ids)}
    for run in runs.values():
        store.remove(run.id)
    return Answer(lambda: {"removed": list(runs)}, lambda: "\n".join(f"removed {name}" for name in runs))


_RUN = {
    "ls": _ls,
    "show": _show,
    "watch": _watch,
    "cancel": _cancel,
    "resume": _resume,
    "compare": _compare,
    "export": _export,
    "archive": _archive,
    "unarchive": _archive,
    "rm": _rm,
}
