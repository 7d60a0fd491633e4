"""`ctkd align`: one text under two tokenizers, printed as two rows of tokens that share group columns."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ctkd_core import methods
from ctkd_core.cli.common import (
    Answer,
    UsageError,
    add_pair,
    add_text,
    load_pair,
    parse_assignments,
    read_text,
    say,
)
from ctkd_core.cli.display import table, terminal_columns, token_rows, visible_bytes
from ctkd_core.markup.visible import counted

if TYPE_CHECKING:
    from ctkd_core.alignment import Alignment

# Printing more than this helps nobody; --json and --all give everything.
SHOWN_GROUPS = 400


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `ctkd align`."""
    add_pair(parser)
    names = ", ".join(m.name for m in methods.aligning())
    parser.add_argument("-m", "--method", default="sedi", metavar="METHOD", help=f"one of {names} (default: sedi)")
    parser.add_argument("--variant", default="clean", help="clean (default) or released, where a method has both")
    parser.add_argument(
        "-o", "--option", action="append", metavar="NAME=VALUE", help="an option of the method; may be repeated"
    )
    parser.add_argument("--special-tokens", action="store_true", help="encode with BOS, EOS and the like")
    parser.add_argument("--html", metavar="FILE", help="write a report that opens offline (5 MB with a cost figure)")
    parser.add_argument("--all", action="store_true", help=f"print every group, not the first {SHOWN_GROUPS}")
    add_text(parser)
    parser.epilog = option_help()


def option_help() -> str:
    """The options of every aligning method, generated from the table."""
    lines = ["options of the methods (-o NAME=VALUE):"]
    for row in methods.aligning():
        for option in row.align_options:
            lines.append(f"  {row.name}: {option.name}  {option.expected()} (default {option.default}). {option.help}")
    return "\n".join(lines)


def run(args: argparse.Namespace) -> Answer:
    """Align the text; the document is `Alignment.to_dict`."""
    from ctkd_core.alignment import align
    from ctkd_core.errors import AlignmentError

    # Cheap mistakes are told before two tokenizers are loaded.
    row = methods.get(args.method, AlignmentError)
    given = parse_assignments(args.option)
    if row.can_align:
        row.check_variant(args.variant, AlignmentError)
        row.resolve_align(given, AlignmentError)
    text = read_text(args)
    student, teacher = load_pair(args)
    alignment = align(
        text,
        student=student,
        teacher=teacher,
        method=args.method,
        variant=args.variant,
        special_tokens=args.special_tokens,
        **given,
    )
    if args.html is not None:
        _write_report(alignment, args.html)
    return Answer(alignment.to_dict, lambda: describe(alignment, None if args.all else SHOWN_GROUPS))


def _write_report(alignment: Alignment, path: str) -> None:
    from ctkd_core.figures.report_alignment import alignment_html

    data = alignment_html(alignment).encode()
    try:
        Path(path).write_bytes(data)
    except OSError as fault:
        raise UsageError(f"the report can't be written to {path!r}: {fault.strerror}; give another file.") from None
    say(f"report: {path} ({len(data) / 1e6:.1f} MB)")


def describe(alignment: Alignment, shown: int | None = SHOWN_GROUPS) -> str:
    """The alignment as text: groups in columns, then notes, then metrics."""
    count = len(alignment) if shown is None else min(shown, len(alignment))
    columns = []
    for g in range(count):
        s0, s1, t0, t1 = (int(v) for v in alignment.groups[g])
        student = "|".join(visible_bytes(b) for b in alignment.student.token_bytes[s0:s1])
        teacher = "|".join(visible_bytes(b) for b in alignment.teacher.token_bytes[t0:t1])
        columns.append((str(g), teacher or "-", student or "-"))
    names = ("group", alignment.teacher.tokenizer, alignment.student.tokenizer)
    both = int((alignment.sizes > 0).all(axis=1).sum())
    parts = [
        f"{alignment.method} ({alignment.variant}): teacher {names[1]}, student {names[2]}; "
        f"{counted(len(alignment.teacher), 'token')} and {counted(len(alignment.student), 'token')} in "
        f"{counted(len(alignment), 'group')}" + (f", {both} of them two-sided" if both < len(alignment) else ""),
        token_rows(columns, names, terminal_columns()) if columns else "no groups",
    ]
    if count < len(alignment):
        parts.append(f"... {len(alignment) - count} more groups; --all prints them, --json holds them.")
    notes = dict.fromkeys([*alignment.notes, *alignment.student.notes, *alignment.teacher.notes])
    if notes:
        parts.append("\n".join(f"note: {note}" for note in notes))
    parts.append(metric_table({alignment.method: alignment.metrics()}))
    return "\n\n".join(parts)


def metric_table(by_method: Mapping[str, Mapping[str, float]]) -> str:
    """Metrics as rows, methods as columns."""
    names = list(dict.fromkeys(key for metrics in by_method.values() for key in metrics))
    rows = [[name, *(_number(metrics.get(name)) for metrics in by_method.values())] for name in names]
    return table(["metric", *by_method], rows)


def _number(value: float | None) -> float | int | None:
    if value is None:
        return None
    return int(value) if float(value).is_integer() and abs(value) > 1 else float(value)
