"""`ctkd cache-teacher`: keep what a run's teacher predicts for its data; the size is told before anything is read."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctkd_core.cli.common import Options, Output, inform, names_of, one_of, whole
from ctkd_core.cli.display import facts
from ctkd_core.cli.distill import build_config, run_options
from ctkd_core.cli.progress import Bar

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ctkd_core.distill.teachers.fill import CachePlan
    from ctkd_core.distill.teachers.manifest import CacheManifest


@run_options
def run(
    config: Annotated[str | None, typer.Argument(metavar="CONFIG", help="A run config, YAML or JSON.")] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", metavar="NAME", help="Start from a preset (default: quick).")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="FOLDER", help="Where it is kept (default: the config's teacher_cache, or in CTKD_HOME)."
        ),
    ] = None,
    k: Annotated[
        Any,
        typer.Option("-k", "--k", metavar="N", parser=whole, help="Tokens kept of each row; 0: the whole vocabulary."),
    ] = 64,
    dtype: Annotated[
        Any,
        typer.Option(
            "--dtype",
            metavar="T",
            parser=one_of("type of numbers", ("float16", "float32")),
            autocompletion=names_of(("float16", "float32")),
            help="float16: a log-probability is off by at most 1/2048 of itself; float32: exact.",
        ),
    ] = "float16",
    rows: Annotated[
        Any,
        typer.Option(
            "--rows",
            metavar="R",
            parser=one_of("kind of rows", ("answer", "all", "merged")),
            autocompletion=names_of(("answer", "all", "merged")),
            help="answer: rows that predict answers; all: the prompt's, too (default: what the method reads); merged: "
            "one row for each group that the run's method makes with its student.",
        ),
    ] = None,
    number: Annotated[
        Any,
        typer.Option(
            "--number", metavar="N", parser=whole, help="Which teacher: 1 the run's, 2 its first further one."
        ),
    ] = 1,
    size: Annotated[bool, typer.Option("--size", help="Tell the size and stop.")] = False,
    option: Options = None,
    **flags: str | None,
) -> Output:
    """Fill the cache; a second call goes on where the first one was stopped."""
    # Bars of libraries would be drawn across ours.
    os.environ.setdefault("TQDM_DISABLE", "1")
    from ctkd_core.distill.estimate import spread
    from ctkd_core.distill.teachers.fill import default_folder, fill, plan
    from ctkd_core.distill.teachers.matching import merged_in_words
    from ctkd_core.files import expanded
    from ctkd_core.markup.quantities import between, in_bytes

    chosen = build_config(config, preset, option, flags)
    started = time.monotonic()
    with Bar(1) as bar:
        planned = plan(chosen, number=number, k=k, dtype=dtype, rows=rows or "", progress=bar.update)
        folder = expanded(to or planned.teacher.access.cache or default_folder(planned))
        bar.inform(
            f"{len(planned.readings):,} samples, {planned.rows:,} rows, {planned.layout.k:,} tokens of each: "
            f"{in_bytes(planned.bytes)} in {folder}"
        )
        if (seconds := _expected(planned)) is not None:
            bar.inform(f"reading all of it takes {between(*spread(seconds))} here, longer where other programs compute")
        manifest = None if size else fill(planned, folder, bar.update)
    if manifest is None:
        found = _planned(planned, folder)
    else:
        found = _told(manifest, folder, planned) | {"seconds": time.monotonic() - started}
        inform(f"a run with --teacher-cache {folder} doesn't load the teacher")
        if planned.merged:
            inform(f"its merged rows are for {merged_in_words(planned.merged)}; a run with anything else is refused")
    return Output(lambda: found, lambda: _view(found))


def _expected(planned: CachePlan) -> float | None:
    """Seconds that reading all samples is likely to take; None for a server, whose speed isn't known here."""
    from ctkd_core.distill.estimate import reading_seconds

    if planned.teacher.access.server:
        return None
    tokens = sum(len(read[0]) for read in planned.readings)
    return round(reading_seconds(planned.config, planned.teacher.source, tokens), 1)


def _planned(planned: CachePlan, folder: Path) -> dict[str, Any]:
    return {
        "folder": str(folder),
        "teacher": planned.teacher.source,
        "tokenizer": planned.teacher.tokenizer.name,
        "samples": len(planned.readings),
        "rows": planned.rows,
        "bytes": planned.bytes,
        "k": planned.layout.k,
        "dtype": planned.layout.dtype,
        "rows_kept": planned.rows_kept,
        "complete": False,
        "expected_seconds": _expected(planned),
        "merged": asdict(planned.merged) if planned.merged else None,
    }


def _told(manifest: CacheManifest, folder: Path, planned: CachePlan) -> dict[str, Any]:
    figures = manifest.figures
    return _planned(planned, folder) | {
        "teacher": manifest.whose.name,
        "samples": manifest.samples,
        "rows": manifest.rows,
        "bytes": manifest.bytes,
        "parts": len(manifest.parts),
        "complete": manifest.complete,
        "teacher_bits_per_byte": figures.bits_per_byte(len(figures.scored)),
    }


def _view(found: dict[str, Any]) -> list[RenderableType]:
    made = found["merged"]
    told = found | {"merged": made and f"{made['student_name']}, {made['alignment']}, {made['rule']}"}
    return [facts((key.replace("_", " "), value) for key, value in told.items() if value is not None)]
