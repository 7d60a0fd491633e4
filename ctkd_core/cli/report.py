"""`ctkd report`: one HTML file about a pair that opens from disk: advice, vocabularies, map, texts, runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctkd_core.cli import complete
from ctkd_core.cli.common import (
    Output,
    RunsDir,
    Student,
    Teacher,
    UsageError,
    load_pair,
    names_of,
    new_file,
    once_each,
    one_of,
    read_text,
    run_named,
    sources_of,
    write_out,
)
from ctkd_core.cli.pair import domains_of, kept_if_stopped, sources_by_domain
from ctkd_core.cli.progress import Bar
from ctkd_core.markup.visible import counted
from ctkd_core.vocabulary import MAPS

if TYPE_CHECKING:
    from ctkd_core.distill.runs import Run

OUT = "report.html"


def run(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEACHER STUDENT]",
            help="The pair, teacher first; -t and -s name it, too.",
            autocompletion=complete.tokenizers,
        ),
    ] = None,
    student: Student = None,
    teacher: Teacher = None,
    text: Annotated[
        list[str] | None, typer.Option("--text", metavar="STR", help="A text to show; may be repeated.")
    ] = None,
    file: Annotated[
        list[str] | None, typer.Option("--file", metavar="F", help="A UTF-8 file to show; may be repeated.")
    ] = None,
    sample: Annotated[
        list[str] | None,
        typer.Option(
            "--sample",
            metavar="NAME",
            help="A text that comes along (default: prose and numbers); may be repeated.",
            autocompletion=complete.samples,
        ),
    ] = None,
    corpus: Annotated[
        list[str] | None,
        typer.Option("--corpus", metavar="F...", help="Files to measure instead of the bundled samples, see `pair`."),
    ] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "-m",
            "--methods",
            metavar="M,...",
            help="Methods that align the texts; the first is compared with the others.",
            autocompletion=complete.aligning_methods,
        ),
    ] = None,
    vocabulary_map: Annotated[
        str,
        typer.Option(
            "--map",
            metavar="MAP",
            help=f"One of {', '.join(MAPS)}.",
            callback=one_of("map", MAPS),
            autocompletion=names_of(MAPS),
        ),
    ] = "pieces",
    runs: Annotated[
        list[str] | None,
        typer.Option(
            "--run",
            metavar="ID",
            help="A run to compare (default: all finished runs of the pair); may be repeated.",
            autocompletion=complete.runs,
        ),
    ] = None,
    no_runs: Annotated[bool, typer.Option("--no-runs", help="Leave runs out.")] = False,
    out: Annotated[str, typer.Option("--out", metavar="FILE", help="The HTML file.")] = OUT,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    runs_dir: RunsDir = None,
) -> Output:
    """Measure the pair and write the file; the document is `FullReport.to_dict` with path, bytes and runs."""
    from ctkd_core.figures.report_pair import pair_html
    from ctkd_core.pair.full_report import METHODS, check_methods, check_texts, full_report

    # Cheap mistakes are told before two tokenizers are loaded.
    first, second = _pair(names, student, teacher)
    chosen = check_methods([name.strip() for part in methods or METHODS for name in part.split(",") if name.strip()])
    if no_runs and runs:
        raise UsageError("--no-runs and --run contradict each other; give one of them.")
    path = new_file(out, force)
    texts = _texts(text, file, sample)
    check_texts(texts or {})
    domains = domains_of(corpus) if corpus else None
    ours, theirs = load_pair(first, second)
    sources = sources_of(first, second)
    found_runs = () if no_runs else _runs(runs_dir, runs, *sources)
    with Bar(1, tells_left=not domains) as bar, kept_if_stopped(bool(domains)):
        found = full_report(
            ours, theirs, texts, chosen, domains, vocabulary_map, bar.update, workers=None, keep=bool(domains)
        )
    named = sources_by_domain(corpus) if corpus else None
    data = pair_html(found, found_runs, sources, named).encode("utf-8", "replace")
    write_out("report", data, path)
    document: dict[str, Any] = found.to_dict() | {
        "path": str(path.absolute()),
        "bytes": len(data),
        "runs": [run.id for run in found_runs],
    }
    counts = ((found.texts, "text"), (chosen, "method"), (found_runs, "run"))
    holds = ", ".join(counted(len(each), unit) for each, unit in counts)
    return Output(lambda: document, lambda: [f"{len(data) / 1e6:.1f} MB in {out}: {holds}"])


def _pair(names: list[str] | None, student: str | None, teacher: str | None) -> tuple[str | None, str | None]:
    """(student, teacher) as two words or as flags."""
    if not names:
        return student, teacher
    if len(names) != 2 or student is not None or teacher is not None:
        raise UsageError("a pair is two words, TEACHER STUDENT, or -t TEACHER -s STUDENT; give one of these forms.")
    return names[1], names[0]


def _texts(text: list[str] | None, file: list[str] | None, sample: list[str] | None) -> dict[str, str] | None:
    """Texts by name; None where none is asked for."""
    found: dict[str, str] = {}
    given = [(None, None, name) for name in sample or ()] + [(None, name, None) for name in file or ()]
    for each in [*given, *((one, None, None) for one in text or ())]:
        read = read_text(*each)
        name = each[2] or (each[1] and Path(each[1]).name) or f"text {len(found) + 1}"
        found[name if name not in found else f"{name} ({len(found) + 1})"] = read
    return found or None


def _runs(folder: str | None, ids: list[str] | None, student: str, teacher: str) -> tuple[Run, ...]:
    """The runs that are named, else the newest finished ones of this pair."""
    from ctkd_core.distill.runs import RunStore

    store = RunStore(folder)
    if ids:
        return tuple(once_each(run_named(store, name) for name in ids))
    return store.finished_of(student, teacher)
