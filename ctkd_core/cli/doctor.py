"""`ctkd doctor`: the report of `ctkd_core.distill.checkup`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctkd_core.cli.common import OK, PREFLIGHT_FAILED, Output
from ctkd_core.cli.display import facts, styled, table

if TYPE_CHECKING:
    from rich.console import RenderableType


def run(
    deep: Annotated[
        bool, typer.Option("--deep", help="Also start torch (in a child process) and hash every file.")
    ] = False,
) -> Output:
    """Exit code 0 unless a problem is fatal, then 3."""
    from ctkd_core.distill.checkup import examine

    report = examine(deep=deep)
    return Output(lambda: report, lambda: _view(report), PREFLIGHT_FAILED if report["fatal"] else OK)


def _view(report: dict[str, Any]) -> list[RenderableType]:
    device, memory, disk = report["device"], report["memory"], report["disk"]
    gib = 2**30
    lines = [
        ("Python", f"{report['python']['version']}, {report['python']['platform']}"),
        ("CPU", f"{device['usable_cpus']} of {device['cpus']} usable"),
        ("GPU", ", ".join(device["accelerators"]) or "none seen"),
        ("Memory", f"{memory['available'] / gib:.1f} of {memory['total'] / gib:.1f} GiB free"),
        ("Disk", f"{disk['free'] / gib:.1f} GiB free at {disk['home']}"),
    ]
    keys = ("name", "package", "present", "converted", "hash_ok")
    parts: list[RenderableType] = [
        facts(lines),
        table(["package", "version"], list(report["versions"].items())),
        table(
            ["asset", "package", "present", "converted", "hash ok"],
            [[asset[key] for key in keys] for asset in report["assets"]],
        ),
    ]
    if not report["problems"]:
        return [*parts, styled("No problems.", "green")]
    problems = [
        (
            styled("FATAL", "bold red") if problem["fatal"] else styled("problem", "yellow"),
            f"{problem['what']}. Fix: {problem['fix']}.",
        )
        for problem in report["problems"]
    ]
    return [*parts, facts(problems)]
