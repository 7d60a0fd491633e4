"""`ctkd distill`: one experiment, from a preset or a config file; flags override, generated from RUN_OPTIONS."""

from __future__ import annotations

import argparse
import contextlib
from typing import TYPE_CHECKING, Any

from ctkd_core import methods
from ctkd_core.cli import progress
from ctkd_core.cli.common import CANCELLED, Answer, parse_assignments, say
from ctkd_core.cli.display import cell
from ctkd_core.errors import RunError, unknown

if TYPE_CHECKING:
    from ctkd_core.distill.config import RunConfig
    from ctkd_core.distill.runs import Run

# The short flags of every command that takes a pair; `--student` chooses the model, `-s` its tokenizer.
_FLAGS = {
    "student": ("-s", "--student-tokenizer"),
    "teacher": ("-t", "--teacher"),
    "method": ("-m", "--method"),
    "student_model": ("--student", "--student-model"),
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `ctkd distill`: its own, then one per run option."""
    from ctkd_core.distill.config import PRESETS, RUN_OPTIONS

    parser.add_argument("config", nargs="?", metavar="CONFIG", help="a run config, YAML or JSON")
    parser.add_argument("--preset", metavar="NAME", help=f"start from a preset: {', '.join(PRESETS)} (default: quick)")
    parser.add_argument(
        "--detach", action="store_true", help="print the run's id and folder at once and leave it running"
    )
    parser.add_argument("--runs-dir", metavar="D", help="where runs are kept (default: CTKD_HOME/runs)")
    parser.add_argument(
        "-o", "--option", action="append", metavar="NAME=VALUE", help="an option of the method; may be repeated"
    )
    group = parser.add_argument_group("run options (override the preset or config)")
    for option in RUN_OPTIONS:
        names = _FLAGS.get(option.name, ("--" + option.name.replace("_", "-"),))
        default = "empty" if option.default == "" else option.default
        text = f"{option.help} ({option.expected()}; default {default})"
        group.add_argument(*names, dest=f"run_{option.name}", metavar="V", help=text.replace("%", "%%"))
    parser.epilog = _loss_option_help()


def _loss_option_help() -> str:
    lines = ["options of the methods (-o NAME=VALUE):"]
    for row in methods.training():
        for option in row.loss_options:
            lines.append(f"  {row.name}: {option.name}  {option.expected()} (default {option.default}). {option.help}")
    return "\n".join(lines)


def run(args: argparse.Namespace) -> Answer:
    """Create and start the run; without --detach, follow it to its end (Ctrl-C cancels it)."""
    config = build_config(args)
    from ctkd_core.distill.checks import require
    from ctkd_core.distill.runs import RunStore

    store = RunStore(args.runs_dir)
    require(config, store.root)
    new = store.create(config)
    store.launch(new)
    say(f"run {new.id} in {new.dir}")
    if args.detach:
        return Answer(new.summary, lambda: f"{new.id}\n{new.dir}")
    return finish(new)


def finish(run: Run) -> Answer:
    """Follow a run to its end; KeyboardInterrupt cancels it."""
    try:
        status = progress.follow(run)
    except KeyboardInterrupt:
        say("cancelling the run ...")
        with contextlib.suppress(RunError):  # it may have ended in this moment
            run.cancel()
        status = progress.follow(run)
        code = CANCELLED if status.state == "cancelled" else progress.CODES[status.state]
        return Answer(run.summary, lambda: describe(run), code)
    if status.state in {"failed", "lost"}:
        say(f"the end of {run.dir / 'log.txt'}:")
        for line in run.log_tail(15).splitlines():
            say(f"  {cell(line)}")
    return Answer(run.summary, lambda: describe(run), progress.CODES[status.state])


def build_config(args: argparse.Namespace) -> RunConfig:
    """The config that preset, file and flags describe, each overriding the one before.

    Raises RunError for unknown names and values out of range.
    """
    from ctkd_core.distill.config import RUN_OPTIONS, RunConfig, preset, read_table

    base = preset(args.preset or "quick") if args.preset or args.config is None else None
    config = RunConfig.from_dict({} if args.config is None else read_table(args.config), base)
    flags = {option.name: getattr(args, f"run_{option.name}") for option in RUN_OPTIONS}
    changes: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
    row = methods.get(changes.get("method", config.method), RunError)
    if row.name != config.method:  # options of another method mean nothing to this one
        changes |= {"method_options": {}, "align_options": {}}
    for name, value in parse_assignments(args.option).items():
        kind = _option_kind(row, name)
        changes[kind] = {**changes.get(kind, getattr(config, kind)), name: value}
    return config.replace(**changes)


def _option_kind(row: methods.Method, name: str) -> str:
    """Which table of the config an option of a method belongs to."""
    loss, align = ({option.name for option in options} for options in (row.loss_options, row.align_options))
    if name not in loss | align:
        raise unknown(f"option of method {row.name!r}", name, loss | align, RunError)
    return "method_options" if name in loss else "align_options"


def describe(run: Run) -> str:
    """One run as a few lines."""
    data = run.summary()
    metrics = data["metrics"]

    def change(name: str, before: str, after: str) -> list[str]:
        return [name, f"{cell(metrics.get(before))} -> {cell(metrics.get(after))}"]

    rows = [
        ["run", data["run_id"]],
        ["status", " ".join(filter(None, [data["status"], data["message"]]))],
        ["method", f"{data['method']} ({data['variant']}), student model {data['student_model']}, seed {data['seed']}"],
        ["tokenizers", f"student {data['student']}, teacher {data['teacher']}"],
        ["steps", f"{data['step']} of {data['steps']}"],
        change("loss", "loss_first", "loss_last"),
        change("bits per byte on held-out text", "bits_per_byte_before", "bits_per_byte_after"),
        ["the teacher's bits per byte", cell(metrics.get("teacher_bits_per_byte"))],
        ["folder", data["run_dir"]],
    ]
    longest = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{longest}}  {value}" for name, value in rows)
