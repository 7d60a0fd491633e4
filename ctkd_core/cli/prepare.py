"""`ctkd prepare`: convert and cache the bundled tokenizers and teacher once; a second call finds everything done."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctkd_core.cli.common import Output
from ctkd_core.cli.display import facts, table
from ctkd_core.cli.progress import Bar
from ctkd_core.errors import CtkdError

if TYPE_CHECKING:
    from rich.console import RenderableType

Report = Callable[[float, str], None]  # share done of one task, what is being done
Task = Callable[[Report], None]


def run(
    tokenizers_only: Annotated[
        bool, typer.Option("--tokenizers-only", help="Leave the teacher's weights for later.")
    ] = False,
) -> Output:
    """Do every preparation; what isn't installed is told and passed over."""
    from ctkd_core.tokenizers.catalog import TOKENIZERS

    tasks: list[tuple[str, Task]] = [(f"tokenizer {name}", partial(_tokenizer, name)) for name in TOKENIZERS]
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
            except CtkdError as error:
                problem = str(error)
            rows.append({"name": name, "ok": not problem, "seconds": time.monotonic() - started, "problem": problem})
            bar.step()
        bar.show("done")
    if not any(row["ok"] for row in rows):
        raise CtkdError(f"nothing could be prepared: {rows[0]['problem']}")
    return Output(lambda: rows, lambda: _view(rows))


def _tokenizer(name: str, report: Report) -> None:  # noqa: ARG001
    from ctkd_core.tokenizers.load import load_tokenizer

    load_tokenizer(name)


def _alignment(report: Report) -> None:  # noqa: ARG001
    """Every aligner once, so that its machine code is in the cache before somebody waits for it."""
    from ctkd_core import methods
    from ctkd_core.alignment import align
    from ctkd_core.tokenizers.catalog import DEFAULT_PAIR
    from ctkd_core.tokenizers.load import load_tokenizer

    student, teacher = map(load_tokenizer, DEFAULT_PAIR)
    for row in methods.aligning():
        align("A first text: 2024.", student=student, teacher=teacher, method=row.name).metrics()


def _teacher(report: Report) -> None:
    # Bars of libraries would be drawn across ours.
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from ctkd_core.distill.models import teachers as teacher

    teacher.prepare(report)


def _view(rows: list[dict[str, Any]]) -> list[RenderableType]:
    cells = [[row["name"], row["ok"], round(row["seconds"], 1)] for row in rows]
    problems = [(row["name"], row["problem"]) for row in rows if row["problem"]]
    return [table(["prepared", "ok", "seconds"], cells), *([facts(problems)] if problems else [])]
