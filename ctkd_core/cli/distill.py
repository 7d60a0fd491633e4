"""`ctkd distill`: one experiment, from a preset or a config file; flags override, generated from RUN_OPTIONS."""

from __future__ import annotations

import contextlib
import inspect
import shlex
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctkd_core import methods
from ctkd_core.cli import complete, progress
from ctkd_core.cli.align import option_help
from ctkd_core.cli.common import (
    CANCELLED,
    Options,
    Output,
    RunsDir,
    UsageError,
    inform,
    names_of,
    parse_assignments,
)
from ctkd_core.cli.display import cell, facts, styled
from ctkd_core.cli.dry_run import changes_text, planned
from ctkd_core.cli.further import FurtherTeachers, further_teachers
from ctkd_core.distill.config import PRESET_TITLES, PRESETS, RUN_OPTIONS, RunConfig, preset_changes
from ctkd_core.distill.config import preset as preset_of
from ctkd_core.distill.config_file import read_table
from ctkd_core.distill.headline import held_out_text
from ctkd_core.distill.kept_student import about_student
from ctkd_core.distill.option_labels import value_text
from ctkd_core.distill.sources.bundled import NAMES
from ctkd_core.distill.training.processes import rank, world_size
from ctkd_core.distill.training.table import parse_assignments as trainer_table
from ctkd_core.errors import RunError, short, unknown

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from ctkd_core.distill.runs import Run
    from ctkd_core.methods.options import Option

# The short flags of every command that takes a pair. `-s` is the student's tokenizer, `--student` always was its model.
_FLAGS = {
    "student": ("-s", "--student-tokenizer"),
    "teacher": ("-t", "--teacher"),
    "method": ("-m", "--method"),
    "student_model": ("--student-model", "--student"),
}
_BESIDES = {
    "student": " The model is another option: --student-model.",
    "student_model": " A folder or hub id is that of a pretrained one. Its tokenizer is another option: -s.",
}
DEFAULT_PRESET = "quick"
WORTH_TELLING = 5.0  # seconds of a step, for whoever waits for its end


def run_options(run: Callable[..., Output]) -> Callable[..., Output]:
    """`run` with one flag per run option, made from its record; typer reads them from the signature."""
    signature = inspect.signature(run, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    flags = []
    for option in RUN_OPTIONS:
        names = _FLAGS.get(option.name, ("--" + option.name.replace("_", "-"),))
        flag = typer.Option(
            *names,
            metavar="V",
            help=f"{option.help}{_BESIDES.get(option.name, '')} ({option.expected()}; {_default(option)})",
            rich_help_panel="Run options (override the preset or config)",
            autocompletion=_values(option),
        )
        annotation = Annotated[str | None, flag]
        flags.append(
            inspect.Parameter(f"run_{option.name}", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        )
    run.__signature__ = signature.replace(parameters=[*own, *flags])  # type: ignore[attr-defined]
    return run


def _default(option: Option) -> str:
    """The default, and what the preset sets that is meant where neither a config nor a preset is named."""
    preset = preset_changes(DEFAULT_PRESET)
    own = f", in the preset {DEFAULT_PRESET} {value_text(preset[option.name])}" if option.name in preset else ""
    return f"default {value_text(option.default)}{own}"


def _values(option: Option) -> Callable[[], Any]:
    """What a shell completes the value of a run option with."""
    if option.name in {"student", "teacher"}:
        return complete.tokenizers
    if option.name in {"data", "eval_data"}:
        return names_of(NAMES)
    return names_of(option.choices or (("true", "false") if option.kind == "bool" else ()))


@run_options
def run(
    config: Annotated[str | None, typer.Argument(metavar="CONFIG", help="A run config, YAML or JSON.")] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="NAME",
            help=f"Start from a preset, see below: {', '.join(PRESETS)} (default: {DEFAULT_PRESET}).",
            autocompletion=names_of(PRESETS),
        ),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Print the run's id and folder at once and leave it running.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print the config, the checks before a start, and the time and memory to expect; start nothing.",
        ),
    ] = False,
    runs_dir: RunsDir = None,
    option: Options = None,
    trainer: Annotated[
        list[str] | None,
        typer.Option(
            "--trainer",
            metavar="NAME=VALUE",
            help="One of transformers' TrainingArguments, such as lr_scheduler_type=linear; may be repeated.",
        ),
    ] = None,
    further_teacher: FurtherTeachers = None,
    **flags: str | None,
) -> Output:
    """Create and start the run; without --detach, follow it to its end (Ctrl-C cancels it)."""
    chosen = build_config(config, preset, option, flags, trainer, further_teacher)
    from ctkd_core.distill.checks import require
    from ctkd_core.distill.runs import RunStore

    store = RunStore(runs_dir)
    if dry_run:
        return planned(chosen, _preset_of(config, preset), store.root)

    def create() -> Run:
        for check in require(chosen, store.root):
            if not check.ok:
                inform(f"warning: {check.name}: {check.detail} {check.fix}".rstrip())
        return store.create(chosen)

    if world_size() > 1:
        return together(chosen, create, detach)
    new = create()

    def start() -> None:
        store.launch(new)
        inform(f"run {new.id} in {new.dir}")

    if detach:
        start()
        return Output(new.summary, lambda: [f"{new.id}\n{new.dir}"])
    return finish(new, start)


def together(config: RunConfig, first: Callable[[], Run], detach: bool) -> Output:
    """One run in all processes that torchrun or accelerate started; the first of them tells how it ended."""
    if detach:
        raise UsageError("--detach doesn't go with torchrun or accelerate launch, whose processes are the run's own.")
    from ctkd_core.distill.training.launch import run_together

    run, code = run_together(config, first)
    if rank() > 0:
        raise typer.Exit(code)
    return Output(lambda: document(run), lambda: [describe(run)], code)


def after_help() -> list[RenderableType]:
    """What each preset sets, and the options of every loss."""
    presets = [(name, f"{PRESET_TITLES[name]}. Sets {changes_text(preset_changes(name))}.") for name in PRESETS]
    losses = option_help((row.name, row.loss_options) for row in methods.training())
    return ["presets:", facts(presets, indent=2), losses]


def finish(run: Run, start: Callable[[], object], offset: int = 0) -> Output:
    """Start a run and follow it to its end; KeyboardInterrupt cancels it. `offset`: see `progress.follow`.

    Raises KeyboardInterrupt where that came before an attempt of ours began: an earlier one is none of ours to stop.
    """
    from ctkd_core.distill.sweeps.queue import has_process

    earlier = run.status().attempt if has_process(run) else 0
    try:
        start()
        status = progress.follow(run, offset)
    except KeyboardInterrupt:
        if run.status().attempt == earlier:
            raise
        inform("cancelling the run ...")
        offset = progress.written(run)
        with contextlib.suppress(RunError):  # it may have ended in this moment
            stop(run)
        status = progress.follow(run, offset)
        code = CANCELLED if status.state == "cancelled" else progress.CODES[status.state]
        return Output(lambda: document(run), lambda: [describe(run)], code)
    if status.state in {"failed", "lost"}:
        inform(f"the end of {run.dir / 'log.txt'}:")
        for line in run.log_tail(15).splitlines():
            inform(f"  {line}")
    return Output(lambda: document(run), lambda: [describe(run)], progress.CODES[status.state])


def stop(run: Run, now: bool = False) -> None:
    """Cancel a run and wait until it has ended: behind its step, or with `now`, and after Ctrl-C, at once.

    Raises RunError when it has ended already, or the request can't be written.
    """
    from ctkd_core.distill.stopping import AT_ONCE

    if not now and (said := waiting_for(run)):
        inform(said)
    host = _other_host(run)
    try:
        run.cancel(grace=AT_ONCE if now else None)
    except KeyboardInterrupt:
        inform("ending its process ...")
        with contextlib.suppress(RunError):  # it may have ended in this moment
            run.cancel(grace=AT_ONCE)
    if host:
        inform(f"asked; run {run.id} runs on {short(host)} and stops behind its step there.")
        if now:
            inform(f"its process can't be ended from here; on {short(host)}, run ctkd runs cancel --now.")


def _other_host(run: Run) -> str:
    """The computer that trains a run, where it isn't this one; "" for a run that isn't under way there."""
    from ctkd_core.background.status import elsewhere

    status = run.status()
    return status.host if not status.ended_already and elsewhere(status) else ""


def waiting_for(run: Run) -> str:
    """What a run that is asked to stop does first, as a sentence; "" where nobody waits for it."""
    from ctkd_core.background.status import elsewhere
    from ctkd_core.distill.stopping import pace
    from ctkd_core.markup.quantities import about

    status, seconds = run.status(), pace(run)
    if status.ended_already or status.pid is None or not status.detached or elsewhere(status):
        return ""
    doing = status.message or status.state
    if seconds and doing == f"Step {status.step} of {status.total_steps}." and status.step < (status.total_steps or 0):
        takes = f" (one takes {about(seconds)})" if seconds >= WORTH_TELLING else ""
        doing = f"the step after step {status.step}{takes}, and its checkpoint"
    return f"waiting for: {doing.rstrip('.')}. Ctrl-C ends the process at once: {status.kept}."


def build_config(
    config: str | None,
    preset: str | None,
    options: list[str] | None,
    flags: Mapping[str, str | None],
    trainer: list[str] | None = None,
    further: list[str] | None = None,
) -> RunConfig:
    """The config that preset, file and flags (`run_steps` and so on) describe, each overriding the one before.

    Raises RunError for unknown names and values out of range.
    """
    base = preset_of(preset or DEFAULT_PRESET) if preset or config is None else None
    found = RunConfig.from_dict({} if config is None else read_table(config), base)
    changes: dict[str, Any] = {
        option.name: flags[f"run_{option.name}"]
        for option in RUN_OPTIONS
        if flags.get(f"run_{option.name}") is not None
    }
    if further:
        changes["teachers"] = further_teachers(further)
    row = methods.get(changes.get("method", found.method), RunError)
    if row.name != found.method:  # options of another method mean nothing to this one
        changes |= {"method_options": {}, "align_options": {}}
    changed = found.replace(**changes)  # defaults of another variant are gone before options are named
    tables: dict[str, dict[str, Any]] = {}
    for name, value in parse_assignments(options).items():
        kind = _option_kind(row, name)
        tables[kind] = {**tables.get(kind, getattr(changed, kind)), name: value}
    chosen = changed.replace(**tables, trainer={**changed.trainer, **trainer_table(trainer or ())})
    if chosen.trainer:
        from ctkd_core.distill.training.arguments import check_table

        check_table(chosen.trainer, chosen.learning_rate)
    return chosen


def _preset_of(config: str | None, preset: str | None) -> str | None:
    """The name of the preset that a run starts from: that of the file before that of the flag."""
    own = None if config is None else read_table(config).get("preset")
    return own or preset or (DEFAULT_PRESET if config is None else None)


def _option_kind(row: methods.Method, name: str) -> str:
    """Which table of the config an option of a method belongs to."""
    loss, align = ({option.name for option in options} for options in (row.loss_options, row.align_options))
    if name not in loss | align:
        raise unknown(f"option of method {row.name!r}", name, loss | align, RunError)
    return "method_options" if name in loss else "align_options"


# Of the states that a run can be in; others have no colour.
_STYLES = {"finished": "green", "running": "cyan", "cancelled": "yellow"} | dict.fromkeys(
    ("failed", "lost", "damaged"), "bold red"
)


def state_of(data: Mapping[str, Any]) -> Text:
    """The state of a run in its colour, and whether it was asked to stop."""
    asked = ", asked to stop" if data.get("asked_to_stop") else ""
    return styled(data.get("status"), _STYLES.get(str(data.get("status")), "")).append(asked)


def document(run: Run, whole: bool = False) -> dict[str, Any]:
    """The summary of one run with the figures that it was asked for; `whole` as in `Run.summary`."""
    from ctkd_core.distill.evaluation.last_figures import last_figures

    rows: list[dict[str, Any]] = []
    with contextlib.suppress(RunError):  # the summary says what is damaged
        rows = run.metric_rows()
    return run.summary(whole=whole) | {"figures": last_figures(rows)}


def shown_id(run: Run) -> str:
    """What names a run in a command: its id, or the folder of one that lies elsewhere."""
    from ctkd_core.distill.runs import RunStore

    return run.id if run.dir.parent == RunStore().root else shlex.quote(str(run.dir))


def describe(run: Run, whole: bool = False) -> RenderableType:
    """One run as a few facts; `whole` as in `Run.summary`."""
    from ctkd_core.cli.run_figures import figure_lines
    from ctkd_core.distill.sweeps.queue import in_line

    data = document(run, whole)
    metrics = data.get("metrics") or {}

    def change(name: str, before: str, after: str) -> tuple[str, str]:
        return name, f"{cell(metrics.get(before))} -> {cell(metrics.get(after))}"

    def of(key: str) -> str:
        return cell(data.get(key))

    return facts(
        [
            ("run", of("run_id")),
            ("status", state_of(data).append(f" {of('message')}" if data.get("message") else "")),
            *([("queue", str(place))] if data.get("status") == "queued" and (place := in_line(run)) else []),
            ("method", f"{of('method')} ({of('variant')}), student model {of('student_model')}, seed {of('seed')}"),
            ("tokenizers", f"student {of('student')}, teacher {of('teacher')}"),
            ("steps", f"{of('step')} of {of('steps')}"),
            *([("processes", of("processes"))] if (data.get("processes") or 1) > 1 else []),
            change("loss", "loss_first", "loss_last"),
            change("bits per byte on held-out text", "bits_per_byte_before", "bits_per_byte_after"),
            ("the teacher's bits per byte", cell(metrics.get("teacher_bits_per_byte"))),
            *figure_lines(data["figures"]),
            *([("held-out text", text)] if (text := held_out_text(metrics)) else []),
            *([("student", cell(kept))] if (kept := about_student(run)) else []),
            ("folder", of("run_dir")),
            *(
                [("to go on", f"ctkd runs resume {shown_id(run)}")]
                if data.get("status") in ("cancelled", "lost")
                else []
            ),
            *(("warning", cell(sentence)) for sentence in data.get("warnings") or ()),
        ]
    )
