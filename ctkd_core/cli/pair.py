"""`ctkd pair`: what two vocabularies share, how they cut texts of several domains, and which method to train with."""

from __future__ import annotations

import argparse
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ctkd_core.cli.common import Answer, UsageError, add_pair, load_pair
from ctkd_core.cli.display import table, terminal_columns, visible
from ctkd_core.cli.progress import LINE_EVERY, Bar

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


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `ctkd pair`."""
    add_pair(parser)
    parser.add_argument(
        "--corpus",
        action="append",
        nargs="+",
        metavar="F",
        help="files to measure instead of the bundled samples, one domain each: .txt, .md (paragraphs) or .jsonl "
        "(text, prompt/completion or messages); NAME=F names the domain",
    )
    parser.add_argument("-m", "--method", default="sedi", metavar="METHOD", help="aligns the texts (default: sedi)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes that measure (default 1)")


def run(args: argparse.Namespace) -> Answer:
    """Measure the pair; the document is `PairReport.to_dict`."""
    from ctkd_core import methods
    from ctkd_core.errors import AlignmentError
    from ctkd_core.pair.corpus import MAX_WORKERS
    from ctkd_core.pair.report import pair_report

    # Cheap mistakes are told before two tokenizers are loaded.
    if not 1 <= args.workers <= MAX_WORKERS:
        raise UsageError(f"--workers takes a whole number from 1 to {MAX_WORKERS}; got {args.workers}.")
    if not methods.get(args.method, AlignmentError).can_align:
        able = ", ".join(m.name for m in methods.aligning())
        raise AlignmentError(f"method {args.method!r} has no alignment; choose one of {able}.")
    corpus = None if args.corpus is None else _domains([name for names in args.corpus for name in names])
    student, teacher = load_pair(args)
    if corpus is None:
        report = pair_report(student, teacher, workers=args.workers, method=args.method)
    else:
        with Bar(len(corpus)) as bar:
            report = pair_report(student, teacher, corpus, args.workers, _news(bar), args.method)
    data = report.to_dict()
    return Answer(lambda: data, lambda: _text(data))


def _news(bar: Bar) -> Callable[[float, str], None]:
    """Draws the bar now and then: a large corpus has many batches."""
    shown = float("-inf")

    def show(share: float, sentence: str) -> None:
        nonlocal shown
        if time.monotonic() - shown >= (0.1 if bar.terminal else LINE_EVERY):
            bar.done = int(share * bar.total)
            bar.show(sentence)
            shown = time.monotonic()

    return show


def _domains(names: list[str]) -> dict[str, Iterator[Any]]:
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


def _text(data: dict[str, Any]) -> str:
    vocabulary, advice = data["vocabulary"], data["advice"]
    shares = vocabulary["shares"]
    parts = [
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
    parts += _special(data["special_tokens"])
    skipped = [f"{d}: {n} x {reason}" for d, row in data["corpus"].items() for reason, n in row["skipped"].items()]
    if skipped:
        parts.append(f"skipped texts: {'; '.join(skipped)}")
    lines = [f"advice: {advice['method']} (verdict {advice['verdict']})"]
    lines += [_wrapped("because: ", sentence) for sentence in advice["because"]]
    lines += [_wrapped("warning: ", sentence) for sentence in advice["warnings"]]
    return "\n\n".join([*parts, "\n".join(lines)])


def _class_row(name: str, row: dict[str, int], unmatched: dict[str, list[str]]) -> list[Any]:
    share = row["matched"] / row["total"] if row["total"] else None
    examples = " ".join(_short(visible(token)) for token in unmatched.get(name, [])[:4])
    return [name, row["total"], row["matched"], share, examples]


def _special(rows: list[dict[str, Any]]) -> list[str]:
    """Special tokens by role, and what to look out for."""
    sides = ("student_id", "student", "teacher_id", "teacher")
    cells = [[row["role"], *(row[side] for side in sides)] for row in rows]
    notes = dict.fromkeys(_wrapped(f"{row['role']}: ", row["note"]) for row in rows if row["note"])
    return [table(["special tokens", "student id", "student", "teacher id", "teacher"], cells), "\n".join(notes)]


def _short(shown: str, limit: int = 16) -> str:
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


def _wrapped(label: str, sentence: str) -> str:
    kept = visible(sentence).replace("·", " ").replace(" %", "\u00a0%")  # a line doesn't begin with a per cent sign
    lines = textwrap.fill(
        kept, terminal_columns(), initial_indent=f"  {label}", subsequent_indent=" " * (len(label) + 2)
    )
    return lines.replace("\u00a0", " ")
