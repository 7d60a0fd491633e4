"""`ctkd doctor`: the report of `ctkd_core.distill.checkup`."""

from __future__ import annotations

import argparse
from typing import Any

from ctkd_core.cli.common import OK, PREFLIGHT_FAILED, Answer
from ctkd_core.cli.display import table


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `ctkd doctor`."""
    parser.add_argument("--deep", action="store_true", help="also start torch (in a child process) and hash every file")


def run(args: argparse.Namespace) -> Answer:
    """Exit code 0 unless a problem is fatal, then 3."""
    from ctkd_core.distill.checkup import examine

    report = examine(deep=args.deep)
    return Answer(lambda: report, lambda: _text(report), PREFLIGHT_FAILED if report["fatal"] else OK)


def _text(report: dict[str, Any]) -> str:
    device, memory, disk = report["device"], report["memory"], report["disk"]
    gib = 2**30
    lines = [
        f"Python  {report['python']['version']}, {report['python']['platform']}",
        f"CPU     {device['usable_cpus']} of {device['cpus']} usable",
        f"GPU     {', '.join(device['accelerators']) or 'none seen'}",
        f"Memory  {memory['available'] / gib:.1f} of {memory['total'] / gib:.1f} GiB free",
        f"Disk    {disk['free'] / gib:.1f} GiB free at {disk['home']}",
        "",
        table(["package", "version"], list(report["versions"].items())),
        "",
        table(
            ["asset", "package", "present", "converted", "hash ok"],
            [[a["name"], a["package"], a["present"], a["converted"], a["hash_ok"]] for a in report["assets"]],
        ),
        "",
    ]
    if not report["problems"]:
        return "\n".join([*lines, "No problems."])
    for problem in report["problems"]:
        kind = "FATAL" if problem["fatal"] else "problem"
        lines.append(f"{kind}: {problem['what']}. Fix: {problem['fix']}.")
    return "\n".join(lines)
