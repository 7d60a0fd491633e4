"""`ctkd export`: a run's config, its data and its student for another trainer."""

from __future__ import annotations

from typing import Annotated

import typer

from ctkd_core.cli import complete
from ctkd_core.cli.common import Output, RunsDir, names_of, one_of, run_named, run_store
from ctkd_core.distill.exports.folder import TARGETS


def run(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN|CONFIG",
            help="A run (id, name, folder, or 'latest': the newest that has finished) or a config file.",
            autocompletion=complete.runs,
        ),
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="TARGET",
            callback=one_of("target", TARGETS),
            help=f"Whose trainer: {', '.join(TARGETS)}.",
            autocompletion=names_of(TARGETS),
        ),
    ] = "trl",
    out: Annotated[
        str | None, typer.Option("-o", "--out", metavar="FOLDER", help="Where to (default: the target's name).")
    ] = None,
    no_student: Annotated[
        bool, typer.Option("--no-student", help="Leave out the student's weights before its first step.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the files of such an export in FOLDER; others there stay.")
    ] = False,
    runs_dir: RunsDir = None,
) -> Output:
    """Write a folder with which the same distillation runs in TRL or NeMo-RL, as far as they have the method."""
    from ctkd_core.distill.config import RunConfig
    from ctkd_core.distill.exports.folder import write
    from ctkd_core.distill.working_folder import config_from_here

    if source.lower().endswith((".yaml", ".yml", ".json")):
        config = RunConfig.from_file(source)
    else:
        run = run_named(run_store(runs_dir), source, "finished")
        config = config_from_here(run.config, run.dir)
    found = write(config, to, out or to, student=not no_student, force=force)
    data = {"folder": str(found.folder.absolute()), "target": to, "files": found.files, "notes": found.notes}
    return Output(lambda: data, lambda: ["\n".join(map(str, (found.folder, *found.files))), *found.notes])
