"""`ctkd align`: one text under two tokenizers, printed as two rows of tokens that share group columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctkd_core import methods
from ctkd_core.cli import complete
from ctkd_core.cli.common import (
    File,
    Options,
    Output,
    Sample,
    Student,
    Teacher,
    Text,
    inform,
    load_pair,
    names_of,
    parse_assignments,
    read_text,
    write_out,
)
from ctkd_core.cli.display import TokenRows, table, visible_bytes
from ctkd_core.markup.visible import counted

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ctkd_core.alignment import Alignment
    from ctkd_core.methods.options import Option

# Printing more than this helps nobody; --json and --all give everything.
SHOWN_GROUPS = 400

_NAMES = ", ".join(row.name for row in methods.aligning())


def run(
    student: Student = None,
    teacher: Teacher = None,
    method: Annotated[
        str,
        typer.Option(
            "-m", "--method", metavar="METHOD", help=f"One of {_NAMES}.", autocompletion=complete.aligning_methods
        ),
    ] = "sedi",
    variant: Annotated[
        str,
        typer.Option(
            "--variant",
            metavar="V",
            help="clean, or released where a method has both.",
            autocompletion=names_of(methods.VARIANTS),
        ),
    ] = "clean",
    option: Options = None,
    special_tokens: Annotated[
        bool, typer.Option("--special-tokens", help="Encode with BOS, EOS and the like.")
    ] = False,
    html: Annotated[
        str | None,
        typer.Option("--html", metavar="FILE", help="Write a report that opens offline (5 MB with a cost figure)."),
    ] = None,
    svg: Annotated[
        str | None, typer.Option("--svg", metavar="FILE", help="Write the picture of the tokens and groups as SVG.")
    ] = None,
    show_all: Annotated[bool, typer.Option("--all", help=f"Print every group, not the first {SHOWN_GROUPS}.")] = False,
    text: Text = None,
    file: File = None,
    sample: Sample = None,
) -> Output:
    """Align the text; the document is `Alignment.to_dict`."""
    from ctkd_core.alignment import align
    from ctkd_core.errors import AlignmentError

    # Cheap mistakes are told before two tokenizers are loaded.
    row = methods.get(method, AlignmentError)
    given = parse_assignments(option)
    if row.can_align:
        row.check_variant(variant, AlignmentError)
        row.resolve_align(given, AlignmentError, variant)
    whole = read_text(text, file, sample)
    ours, theirs = load_pair(student, teacher)
    alignment = align(
        whole,
        student=ours,
        teacher=theirs,
        method=method,
        variant=variant,
        special_tokens=special_tokens,
        **given,
    )
    if html is not None:
        _write_report(alignment, html)
    if svg is not None:
        _write_picture(alignment, svg)
    return Output(alignment.to_dict, lambda: describe(alignment, None if show_all else SHOWN_GROUPS))


def after_help() -> list[RenderableType]:
    """The options of every aligning method, generated from the table."""
    return [option_help((row.name, row.align_options) for row in methods.aligning())]


def _write_report(alignment: Alignment, path: str) -> None:
    from ctkd_core.figures.report_alignment import alignment_html

    _write("report", alignment_html(alignment).encode(), path)


def _write_picture(alignment: Alignment, path: str) -> None:
    from ctkd_core.figures.chips_svg import chips_svg

    _write("picture", chips_svg(alignment).encode(), path)


def _write(what: str, data: bytes, path: str) -> None:
    write_out(what, data, Path(path))
    inform(f"{what}: {path} ({len(data) / 1e6:.1f} MB)")


def describe(alignment: Alignment, shown: int | None = SHOWN_GROUPS) -> list[RenderableType]:
    """The alignment as people read it: groups in columns, then notes, then metrics."""
    from ctkd_core.alignment.kinds import UNEQUAL, UNEQUAL_MEANING
    from ctkd_core.alignment.metrics import health

    count = len(alignment) if shown is None else min(shown, len(alignment))
    columns = []
    for g in range(count):
        s0, s1, t0, t1 = (int(v) for v in alignment.groups[g])
        student = "|".join(visible_bytes(b) for b in alignment.student.token_bytes[s0:s1])
        teacher = "|".join(visible_bytes(b) for b in alignment.teacher.token_bytes[t0:t1])
        columns.append((f"{g}{UNEQUAL * bool(alignment.unequal[g])}", teacher or "-", student or "-"))
    found, names = health(alignment), ("group", alignment.teacher.tokenizer, alignment.student.tokenizer)
    both = int((alignment.sizes > 0).all(axis=1).sum())
    parts: list[RenderableType] = [
        f"{alignment.method} ({alignment.variant}): teacher {names[1]}, student {names[2]}; "
        f"{counted(len(alignment.teacher), 'token')} and {counted(len(alignment.student), 'token')} in "
        f"{counted(len(alignment), 'group')}" + (f", {both} of them two-sided" if both < len(alignment) else ""),
        TokenRows(columns, names) if columns else "no groups",
        f"{found.verdict}: {found.sentence}",
    ]
    if marked := int(alignment.unequal.sum()):
        parts.append(f"{UNEQUAL} {UNEQUAL_MEANING} ({counted(marked, 'group')})")
    if count < len(alignment):
        parts.append(f"... {len(alignment) - count} more groups; --all prints them, --json holds them.")
    notes = dict.fromkeys([*alignment.notes, *alignment.student.notes, *alignment.teacher.notes])
    if notes:
        parts.append("\n".join(f"note: {note}" for note in notes))
    parts.append(metric_table({alignment.method: alignment.metrics()}))
    return parts


def option_help(owners: Iterable[tuple[str, Sequence[Option]]], form: str = "NAME=VALUE") -> RenderableType:
    """Options by whom they belong to, as `--help` shows them."""
    rows = [
        [name, option.name, option.expected(), "none" if option.default is None else str(option.default), option.help]
        for name, options in owners
        for option in options
    ]
    return table([f"-o {form} of", "name", "takes", "default", "meaning"], rows)


def metric_table(by_method: Mapping[str, Mapping[str, float]]) -> RenderableType:
    """Metrics as rows, methods as columns."""
    names = list(dict.fromkeys(key for metrics in by_method.values() for key in metrics))
    rows = [[name, *(_number(metrics.get(name)) for metrics in by_method.values())] for name in names]
    return table(["metric", *by_method], rows)


def _number(value: float | None) -> float | int | None:
    if value is None:
        return None
    return int(value) if float(value).is_integer() and abs(value) > 1 else float(value)
