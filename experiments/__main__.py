"""The command line of the experiments; `make evidence` calls it."""

from __future__ import annotations

import argparse
import sys
import time

from ctkd_core.errors import CtkdError


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0, or 1 with a sentence on what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="experiments, what they ask, and how many of their runs are done")
    running = commands.add_parser("run", help="run what an experiment still lacks")
    running.add_argument("name", nargs="*", help="none: the small ones")
    running.add_argument(
        "--again", action="store_true", help="run what has a result too, and say both; stopped, it goes on"
    )
    running.add_argument("--minutes", type=float, help="begin no run after so many minutes")
    running.add_argument("--only", action="append", default=[], metavar="CONDITION")
    running.add_argument("--seeds", default="", help="0,1 or 0-4")
    fetching = commands.add_parser("texts", help="fetch text: ru-desktop, de-system, ...")
    fetching.add_argument("texts", nargs="+")
    commands.add_parser("digest", help="write what the Evidence page and the advice read")
    asked = parser.parse_args(arguments)
    try:
        return _COMMANDS[asked.command](asked)
    except CtkdError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 1


def _list(_: argparse.Namespace) -> int:
    from experiments import results
    from experiments.definition import load, names

    for name in names():
        experiment = load(name)
        if experiment.analysis:
            done = "done" if results.read_analysis(experiment) else "not run"
        else:
            done = f"{len(results.read(experiment))} runs done"
        small = ", small" if experiment.small else ""
        print(f"{name:20} {experiment.title} ({done}, {experiment.minutes} minutes in all{small})")
    return 0


def _run(asked: argparse.Namespace) -> int:
    from ctkd_core.distill.sweeps.definition import seeds_in
    from experiments import running
    from experiments.definition import load, names

    wanted = [load(name) for name in asked.name] or [each for name in names() if (each := load(name)).small]
    begun, seeds = time.monotonic(), seeds_in(asked.seeds) if asked.seeds else ()
    running.check(wanted, asked.only, seeds)
    failed: list[str] = []
    for experiment in wanted:
        left = None if asked.minutes is None else asked.minutes * 60 - (time.monotonic() - begun)
        ran = running.run(experiment, left, asked.only, seeds, asked.again, failed=failed.append)
        print(f"{experiment.name}: {ran} {'analysis' if experiment.analysis else 'results'} more now.")
    for problem in failed:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if failed else 0


def _texts(asked: argparse.Namespace) -> int:
    from experiments import texts

    for name in asked.texts:
        language, _, domain = name.partition("-")
        for path in texts.fetch(language, domain):
            print(path)
    return 0


def _digest(_: argparse.Namespace) -> int:
    from experiments import digest

    print(digest.write())
    return 0


_COMMANDS = {"list": _list, "run": _run, "texts": _texts, "digest": _digest}

if __name__ == "__main__":
    sys.exit(main())
