"""`ctkd sweep`: many runs from one definition, in the queue of their device; list, show, go on with, move, cancel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctkd_core.cli import complete
from ctkd_core.cli.common import OK, PREFLIGHT_FAILED, Output, RunsDir, UsageError, inform, names_of, run_store
from ctkd_core.cli.display import facts, table
from ctkd_core.cli.distill import state_of
from ctkd_core.cli.dry_run import finding, findings_of
from ctkd_core.distill.config import PRESETS
from ctkd_core.distill.config_file import read_table
from ctkd_core.distill.sweeps.definition import values_in, values_of
from ctkd_core.errors import short
from ctkd_core.markup.visible import counted, one_line
from ctkd_core.methods import METHODS

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ctkd_core.distill.config import RunConfig
    from ctkd_core.distill.runs import Run, RunStore
    from ctkd_core.distill.sweeps.definition import SweepDefinition
    from ctkd_core.distill.sweeps.sweep import Sweep

DEFAULT_ACTION = "start"

One = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="Id of a sweep, unique beginning or end of one, its name, or 'latest'.",
        autocompletion=complete.sweeps,
    ),
]


def start(
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="A sweep's definition, YAML or JSON (flags override it).")
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            "-m", "--methods", metavar="M,M", help="Methods, with commas.", autocompletion=complete.training_methods
        ),
    ] = None,
    seeds: Annotated[str | None, typer.Option("--seeds", metavar="N,N", help="Seeds: 0,1,2 or 0-4.")] = None,
    values: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=V,V...",
            help="Values of a run option, method_options.NAME, METHOD.NAME or trainer.NAME; all combinations are run.",
        ),
    ] = None,
    base: Annotated[
        str | None, typer.Option("--base", metavar="CONFIG", help="A run config that all runs share.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="NAME",
            help=f"The preset that all runs share: {', '.join(PRESETS)} (default: quick).",
            autocompletion=names_of(PRESETS),
        ),
    ] = None,
    student: Annotated[
        str | None,
        typer.Option(
            "-s",
            "--student-tokenizer",
            metavar="S",
            help="The student tokenizer of all runs, as in `ctkd distill`.",
            autocompletion=complete.tokenizers,
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            "-t",
            "--teacher",
            metavar="T",
            help="The teacher tokenizer of all runs.",
            autocompletion=complete.tokenizers,
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="TEXT", help="A name for people.")] = None,
    baseline: Annotated[
        str | None, typer.Option("--baseline", metavar="METHOD", help="What the others are compared with (sft).")
    ] = None,
    reuse: Annotated[bool, typer.Option("--reuse", help="Take finished runs with the same config over.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what would run, how long, and what the checks find wrong; start nothing."),
    ] = False,
    runs_dir: RunsDir = None,
) -> Output:
    """Make the runs of a sweep and queue them; they train one after another in the background."""
    from ctkd_core.distill.sweeps import sweep as sweeps
    from ctkd_core.distill.sweeps.definition import duration, kinds_of, plan, refuse_dropped

    pair = {side: source for side, source in (("student", student), ("teacher", teacher)) if source is not None}
    definition = _definition(file, methods, seeds, values, base, preset, pair, name, baseline, reuse)
    refuse_dropped(definition)
    configs = plan(definition)
    store = run_store(runs_dir)
    changed: dict[str, list[Run]] = {}
    taken = sweeps.finished(store, configs, changed) if definition.reuse else {}
    if said := sweeps.about_changed(changed):
        inform(said)
    new = sweeps.unmade(configs, taken)
    kinds = kinds_of(new)
    low, high = duration(new)
    planned = {
        "runs_planned": [config.name for config in configs],
        "seconds": [low, high],
        "reused": [run.id for run in taken.values()],
    }
    if dry_run:
        checks = findings_of(kinds, store.root)
        refused = any(check["fatal"] for check in checks)
        shown = planned | {"checks": checks}
        return Output(lambda: shown, lambda: _planned(shown), PREFLIGHT_FAILED if refused else OK)
    _check(kinds, store)
    made = sweeps.start(store, definition)
    inform(
        f"{counted(len(configs), 'run')}, {_hours(low, high)}; `ctkd sweep show {made.id[-5:]}` says where they stand."
    )
    return Output(lambda: made.summary() | planned, lambda: _sweep(made))


def _definition(
    file: str | None,
    methods: str | None,
    seeds: str | None,
    values: list[str] | None,
    base: str | None,
    preset: str | None,
    pair: dict[str, str],
    name: str | None,
    baseline: str | None,
    reuse: bool,
) -> SweepDefinition:
    """The definition in the file with the flags laid over it."""
    from ctkd_core.distill.sweeps.definition import SweepDefinition, seeds_in

    for flag, text in (("--methods", methods), ("--seeds", seeds)):
        if text is not None and not values_in(text):
            raise UsageError(f"{flag} names none; got {short(text)}. Leave it out for what the base has.")
    given: dict[str, Any] = {} if file is None else SweepDefinition.from_file(file).to_dict()
    if file is None and not (methods or seeds or values):
        raise UsageError("a sweep needs a FILE, or at least one of --methods, --seeds and --set.")
    if base is not None:
        given["base"] = {key: value for key, value in read_table(base).items() if key != "fingerprint"}
    if preset is not None or (file is None and base is None):
        given["base"] = given.get("base", {}) | {"preset": preset or "quick"}
    if pair:
        given["base"] = given.get("base", {}) | pair
    if methods is not None:
        given["methods"] = values_in(methods)
    if seeds is not None:
        given["seeds"] = seeds_in(seeds)
    if values:
        given["grid"] = {**given.get("grid", {}), **_grid(values)}
    given |= {key: value for key, value in (("name", name), ("baseline", baseline)) if value is not None}
    return SweepDefinition(**given | ({"reuse": True} if reuse else {}))


def _grid(texts: list[str]) -> dict[str, list[Any]]:
    """The values of each option. Raises UsageError for one that is given twice: the last would drop the first."""
    found: dict[str, list[Any]] = {}
    for key, values in map(_assignment, texts):
        if key in found:
            raise UsageError(f"--set names {short(key)} twice; give all its values once: --set {key}=VALUE,VALUE.")
        found[key] = values
    return found


def _assignment(text: str) -> tuple[str, list[Any]]:
    key, equals, values = text.partition("=")
    if not equals or not key.strip() or not values_in(values):
        raise UsageError(
            f"--set takes NAME=VALUE,VALUE; got {short(text)}. For example: --set learning_rate=1e-4,2e-4."
        )
    head, dot, name = key.strip().rpartition(".")
    if head not in METHODS:  # names of methods have hyphens themselves
        head = head.replace("-", "_")
    full = f"{head}{dot}{name.replace('-', '_')}"
    return full, values_of(full, values)


def _check(kinds: list[list[RunConfig]], store: RunStore) -> None:
    """Pre-flight of every kind of runs once, whatever its seed. Raises PreflightError."""
    from ctkd_core.distill.checks import require

    told: set[str] = set()
    for config, *_ in kinds:
        for check in require(config, store.root):
            sentence = f"warning: {check.name}: {check.detail} {check.fix}".rstrip()
            if not check.ok and sentence not in told:
                inform(sentence)
                told.add(sentence)


def ls(runs_dir: RunsDir = None) -> Output:
    """List all sweeps, newest first."""
    from ctkd_core.distill.sweeps.sweep import damaged, sweeps

    store = run_store(runs_dir)
    for sentence in damaged(store):
        inform(f"warning: {sentence}")
    rows = [found.summary() for found in sweeps(store)]
    return Output(lambda: rows, lambda: _list(rows))


def show(name: One, runs_dir: RunsDir = None) -> Output:
    """Show one sweep: its runs, and where each stands in the queue."""
    found = _get(name, runs_dir)
    return Output(lambda: found.summary() | {"rows": _rows(found)}, lambda: _sweep(found))


def resume(
    name: One,
    failed: Annotated[bool, typer.Option("--failed", help="Runs that failed, too.")] = False,
    runs_dir: RunsDir = None,
) -> Output:
    """Go on with runs that were lost or cancelled, make missing ones, and start the queue."""
    found = _get(name, runs_dir)
    queued = [run.id for run in found.resume(failed)]
    return Output(
        lambda: found.summary() | {"queued": queued}, lambda: [f"{counted(len(queued), 'run')} queued.", *_sweep(found)]
    )


def cancel(name: One, runs_dir: RunsDir = None) -> Output:
    """Cancel every run of a sweep that waits or trains."""
    found = _get(name, runs_dir)
    cancelled = found.cancel()
    asked = [run.id for run in cancelled if not run.status().ended_already]
    ended = len(cancelled) - len(asked)
    parts = [f"{counted(ended, 'run')} cancelled"] if ended or not asked else []
    parts += [f"{counted(len(asked), 'run')} asked to stop"] if asked else []
    return Output(
        lambda: found.summary() | {"cancelled": [run.id for run in cancelled], "asked": asked},
        lambda: [f"{', '.join(parts)}.", *_sweep(found)],
    )


def move(
    name: One,
    to: Annotated[str, typer.Argument(metavar="WHERE", help="first, last, or the id of a run to go before.")] = "first",
    runs_dir: RunsDir = None,
) -> Output:
    """Put the waiting runs of a sweep first or last in the queue, or before another run."""
    order = _get(name, runs_dir).move(to)
    return Output(lambda: {"queue": order}, lambda: ["\n".join(order)])


ACTIONS = {"start": start, "ls": ls, "show": show, "resume": resume, "cancel": cancel, "move": move}


def _get(name: str, folder: str | None) -> Sweep:
    from ctkd_core.distill.sweeps.sweep import get

    return get(run_store(folder), name)


def _rows(sweep: Sweep) -> list[dict[str, Any]]:
    from ctkd_core.distill.sweeps import queue

    places = {run.id: k for k, run in enumerate(queue.waiting(sweep.root), start=1)}
    return [run.summary() | {"queue_place": places.get(run.id)} for run in sweep.runs()]


def _sweep(sweep: Sweep) -> list[RenderableType]:
    found = sweep.summary()
    states = ", ".join(f"{count} {state}" for state, count in found["states"].items())
    rows = [
        [
            row["run_id"],
            row["name"],
            state_of(row),
            row["queue_place"],
            row["step"],
            row["metrics"].get("loss_last"),
            row["metrics"].get("bits_per_byte_after"),
        ]
        for row in _rows(sweep)
    ]
    return [
        facts([("sweep", f"{found['sweep_id']} {found['name']}".rstrip()), ("runs", f"{found['total']}: {states}")]),
        table(["run", "name", "status", "in the queue", "step", "loss", "bits/byte after"], rows),
    ]


def _list(rows: list[dict[str, Any]]) -> list[RenderableType]:
    if not rows:
        return ["No sweeps yet. Start one: ctkd sweep --methods sft,uld --seeds 0,1,2"]
    states = [", ".join(f"{count} {state}" for state, count in row["states"].items()) for row in rows]
    return [
        table(
            ["sweep", "name", "runs", "states"],
            [[row["sweep_id"], row["name"], row["total"], text] for row, text in zip(rows, states)],
        )
    ]


def _planned(planned: dict[str, Any]) -> list[RenderableType]:
    low, high = planned["seconds"]
    reused = f", {len(planned['reused'])} of them finished already" if planned["reused"] else ""
    runs = counted(len(planned["runs_planned"]), "run")
    new = len(planned["runs_planned"]) - len(planned["reused"])
    findings = [_finding(check, new) for check in planned["checks"]]
    return ["\n".join(planned["runs_planned"]), f"{runs}{reused}: {_hours(low, high)}.", *findings]


def _finding(check: dict[str, Any], new: int) -> str:
    """What a check found wrong, and with how many of the `new` runs if not with all."""
    with_it = check["runs"]
    part = "" if len(with_it) == new else f" In {len(with_it)} of {new} runs, the first is {short(with_it[0])}."
    return one_line(f"{finding(check)}{part}")


def _hours(low: float, high: float) -> str:
    from ctkd_core.markup.quantities import between

    return f"{between(low, high)} on this machine"
