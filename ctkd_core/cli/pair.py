"""`ctkd pair`: what two vocabularies share, how they cut texts of several domains, and which method to train with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctkd_core.cli import complete
from ctkd_core.cli.common import Output, Student, Teacher, UsageError, load_pair, whole
from ctkd_core.cli.display import facts, table, visible
from ctkd_core.cli.progress import Bar

if TYPE_CHECKING:
    from rich.console import RenderableType

# Columns of the table of domains; --json holds every metric.
_COLUMNS = (
    ("texts", "texts"),
    ("student tokens/word", "student_fertility"),
    ("teacher", "teacher_fertility"),
    ("student bytes/token", "student_bytes_per_token"),
    ("teacher", "teacher_bytes_per_token"),
    ("1-1 of student tokens", "student_tokens_1_1"),
    ("largest group", "largest_group"),
)
_WAYS = (("raw strings", "exact"), ("canonical forms", "canonical"), ("bytes", "bytes"))


def run(
    student: Student = None,
    teacher: Teacher = None,
    corpus: Annotated[
        list[str] | None,
        typer.Option(
            "--corpus",
            metavar="F...",
            help="Files to measure instead of the bundled samples, one domain each: .txt, .md (paragraphs), .jsonl, "
            ".json or .parquet (text, prompt/completion or messages); NAME=F names the domain.",
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            "-m",
            "--method",
            metavar="METHOD",
            help="Aligns the texts.",
            autocompletion=complete.aligning_methods,
        ),
    ] = "sedi",
    workers: Annotated[int, typer.Option("--workers", metavar="N", parser=whole, help="Processes that measure.")] = 1,
) -> Output:
    """Measure the pair; the document is `PairReport.to_dict`."""
    from ctkd_core import methods
    from ctkd_core.errors import AlignmentError
    from ctkd_core.pair.corpus import MAX_WORKERS
    from ctkd_core.pair.report import pair_report

    # Cheap mistakes are told before two tokenizers are loaded.
    if not 1 <= workers <= MAX_WORKERS:
        raise UsageError(f"--workers takes a whole number from 1 to {MAX_WORKERS}; got {workers}.")
    if not methods.get(method, AlignmentError).can_align:
        able = ", ".join(m.name for m in methods.aligning())
        raise AlignmentError(f"method {method!r} has no alignment; choose one of {able}.")
    domains = domains_of(corpus) if corpus else None
    ours, theirs = load_pair(student, teacher)
    if domains is None:
        report = pair_report(ours, theirs, workers=workers, method=method)
    else:
        with Bar(len(domains)) as bar:
            report = pair_report(ours, theirs, domains, workers, bar.update, method)
    data = report.to_dict()
    return Output(lambda: data, lambda: _view(data))


def domains_of(names: list[str]) -> dict[str, Iterator[Any]]:
    """Texts by domain: the name before "=", else the file's name without its ending; every file is checked now."""
    from ctkd_core.pair.corpus import read_texts

    corpus: dict[str, Iterator[Any]] = {}
    for given in names:
        label, equals, path = given.partition("=")
        if not equals or Path(given).exists():  # a file name may hold "="
            label, path = Path(given).stem, given
        if label in corpus:
            raise UsageError(f"--corpus names the domain {label!r} twice; tell them apart with NAME={path}.")
        corpus[label] = read_texts(path)
    return corpus


def _view(data: dict[str, Any]) -> list[RenderableType]:
    vocabulary, advice = data["vocabulary"], data["advice"]
    shares = vocabulary["shares"]
    parts: list[RenderableType] = [
        f"student {data['student']} ({vocabulary['student_size']:,} tokens), "
        f"teacher {data['teacher']} ({vocabulary['teacher_size']:,} tokens)",
        table(
            ["shared by", "count", "of student", "of teacher", "of the smaller"],
            [
                [title, vocabulary[way], shares[way]["student"], shares[way]["teacher"], shares[way]["smaller"]]
                for title, way in _WAYS
            ],
        ),
        table(
            ["class of student tokens", "total", "shared", "share", "not shared, for example"],
            [_class_row(name, row, vocabulary["unmatched"]) for name, row in vocabulary["classes"].items()],
        ),
        table(
            ["domain", *(title for title, _ in _COLUMNS)],
            [[domain, *(row[key] for _, key in _COLUMNS)] for domain, row in data["corpus"].items()],
        ),
    ]
    from ctkd_core.pair.report import doubles_notes

    if doubles := doubles_notes(vocabulary):
        parts.append(facts([("doubles:", visible(note)) for note in doubles]))
    parts += _special(data["special_tokens"])
    skipped = [f"{d}: {n} x {reason}" for d, row in data["corpus"].items() for reason, n in row["skipped"].items()]
    if skipped:
        parts.append(f"skipped texts: {'; '.join(skipped)}")
    because = [("  because:", text) for text in advice["because"]]
    warnings = [("  warning:", text) for text in advice["warnings"]]
    given = [f"{name.rpartition('.')[2]}={value}" for name, value in advice["options"].items()]
    advised = ("advice:", " ".join([advice["method"], *given, f"(verdict {advice['verdict']})"]))
    tried = [("  tried:", _tried(finding)) for finding in advice["evidence"]]
    near = [("  confidence:", f"{advice['confidence']} (kind: {advice['kind']})")]
    return [*parts, facts([advised, *because, *near, *tried, *warnings])]


def _tried(finding: dict[str, Any]) -> str:
    from ctkd_core.pair.evidence import Finding

    return Finding(**finding).sentence


def _class_row(name: str, row: dict[str, int], unmatched: dict[str, list[str]]) -> list[Any]:
    share = row["matched"] / row["total"] if row["total"] else None
    examples = " ".join(_short(visible(token)) for token in unmatched.get(name, [])[:4])
    return [name, row["total"], row["matched"], share, examples]


def _special(rows: list[dict[str, Any]]) -> list[RenderableType]:
    """Special tokens by role, and what to look out for."""
    sides = ("student_id", "student", "teacher_id", "teacher")
    cells = [[row["role"], *(row[side] for side in sides)] for row in rows]
    notes = list(dict.fromkeys((f"  {row['role']}:", row["note"]) for row in rows if row["note"]))
    found = table(["special tokens", "student id", "student", "teacher id", "teacher"], cells)
    return [found, *([facts(notes)] if notes else [])]


def _short(shown: str, limit: int = 16) -> str:
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."
