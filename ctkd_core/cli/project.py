"""`ctkd project`: the map from the student's vocabulary to the teacher's, in numbers, by token, as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctkd_core.cli.align import option_help
from ctkd_core.cli.common import (
    Options,
    Output,
    Student,
    Teacher,
    UsageError,
    load_pair,
    names_of,
    one_of,
    parse_assignments,
    whole,
)
from ctkd_core.cli.display import table, visible_bytes
from ctkd_core.methods.row import VARIANTS
from ctkd_core.vocabulary import MAPS, map_options
from ctkd_core.vocabulary.export import LAYOUTS

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType

    from ctkd_core.tokenizers.tokenizer import Tokenizer
    from ctkd_core.vocabulary.projection import Projection


def run(
    student: Student = None,
    teacher: Teacher = None,
    method: Annotated[
        str,
        typer.Option("-m", "--method", metavar="MAP", help=f"One of {', '.join(MAPS)}.", autocompletion=names_of(MAPS)),
    ] = "pieces",
    variant: Annotated[
        str,
        typer.Option(
            "--variant",
            metavar="V",
            callback=one_of("variant", VARIANTS),
            help="clean, or released: the public tools.",
            autocompletion=names_of(VARIANTS),
        ),
    ] = "clean",
    option: Options = None,
    token: Annotated[
        str | None,
        typer.Option("--token", metavar="STR", help="Row of the student token that spells STR (or #643, an id)."),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option("--column", metavar="STR", help="Who points at the teacher token that spells STR (or an id)."),
    ] = None,
    top_k: Annotated[int, typer.Option("--top-k", metavar="K", parser=whole, help="Entries shown of each.")] = 20,
    student_width: Annotated[
        int | None,
        typer.Option(
            "--student-width",
            metavar="N",
            parser=whole,
            help="Rows of the student model's output layer, where they are more than its tokenizer's ids.",
        ),
    ] = None,
    teacher_width: Annotated[
        int | None,
        typer.Option(
            "--teacher-width",
            metavar="N",
            parser=whole,
            help="Rows of the teacher model's output layer, where they are more than its tokenizer's ids.",
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="FOLDER", help="Keep the map there (safetensors and a manifest)."),
    ] = None,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="Write the map for another program.")
    ] = None,
    layout: Annotated[
        str,
        typer.Option(
            "--layout",
            metavar="LAYOUT",
            callback=one_of("layout", LAYOUTS),
            help=f"{', '.join(LAYOUTS)}.",
            autocompletion=names_of(LAYOUTS),
        ),
    ] = "nemo-rl",
) -> Output:
    """Build the map (or take it from the cache) and report it."""
    from ctkd_core.figures.find_token import find_token
    from ctkd_core.vocabulary import export as exports
    from ctkd_core.vocabulary.store import cached_project
    from ctkd_core.vocabulary.store import save as store

    if top_k < 1:
        raise UsageError(f"--top-k takes a whole number of at least 1; got {top_k}.")
    given: dict[str, Any] = dict(parse_assignments(option))
    map_options(method, given, variant)  # names are checked before tokenizers are loaded
    ours, theirs = load_pair(student, teacher)
    row_id = None if token is None else find_token(ours, token)
    column_id = None if column is None else find_token(theirs, column)
    projection = cached_project(ours, theirs, method, variant=variant, **given)
    projection = projection.widen(student_width, teacher_width)
    data = facts_of(projection) | {"variant": variant}
    if row_id is not None:
        data["token"] = row_of(projection, row_id, top_k)
    if column_id is not None:
        data["column"] = column_of(projection, column_id, top_k)
    if save is not None:
        data["saved"] = str(store(projection, save))
    if export is not None:
        data["exported"] = str(exports.export(projection, export, layout))
    return Output(lambda: data, lambda: _view(data))


def after_help() -> list[RenderableType]:
    """The options of every map."""
    return [option_help((name, row.options) for name, row in MAPS.items())]


def facts_of(projection: Projection) -> dict[str, Any]:
    """What a map is, as plain data."""
    return {
        "student": projection.student.name,
        "teacher": projection.teacher.name,
        "method": projection.method,
        "options": dict(projection.options),
        "shape": list(projection.shape),
        "padding": list(projection.padding),
        "nnz": int(projection.matrix.nnz),
        "rows": projection.rows(),
        "row_sum_error": projection.row_sum_error,
        "classes": projection.audit(),
    }


def row_of(projection: Projection, token_id: int, top_k: int) -> dict[str, Any]:
    """One row of the map as plain data, heaviest entries first."""
    return _token(projection.student, token_id, projection.explain(token_id), "teacher", top_k)


def column_of(projection: Projection, token_id: int, top_k: int) -> dict[str, Any]:
    """One column of the map as plain data, heaviest entries first."""
    return _token(projection.teacher, token_id, projection.column(token_id), "student", top_k)


def _token(tokenizer: Tokenizer, token_id: int, frame: pd.DataFrame, side: str, top_k: int) -> dict[str, Any]:
    return {
        "id": token_id,
        "text": visible_bytes(tokenizer.token_bytes(token_id)),
        "count": len(frame),
        "entries": [
            {
                f"{side}_id": int(entry[f"{side}_id"]),
                "text": visible_bytes(entry[f"{side}_bytes"]),
                "weight": float(entry["weight"]),
                "reason": str(entry["reason"]),
            }
            for entry in frame.head(top_k).to_dict("records")
        ],
    }


def _view(data: dict[str, Any]) -> list[RenderableType]:
    parts: list[RenderableType] = [
        f"{data['method']}: {data['student']} ({data['shape'][0]} ids) -> {data['teacher']} ({data['shape'][1]} ids), "
        f"{data['nnz']} entries, largest row-sum error {data['row_sum_error']:.2g}",
        table(["rows", "count"], list(data["rows"].items())),
        table(
            ["class", "total", "one teacher token", "share"],
            [
                [name, c["total"], c["matched"], c["matched"] / c["total"] if c["total"] else None]
                for name, c in data["classes"].items()
            ],
        ),
    ]
    for key, own, other in (("token", "student", "teacher"), ("column", "teacher", "student")):
        if key in data:
            parts += _token_text(data[key], own, other)
    parts += [f"{key} {data[key]}" for key in ("saved", "exported") if key in data]
    return parts


def _token_text(token: dict[str, Any], own: str, other: str) -> list[RenderableType]:
    entries = [[e[f"{other}_id"], e["text"], e["weight"], e["reason"]] for e in token["entries"]]
    shown = f"; {len(entries)} of {token['count']} entries" if len(entries) < token["count"] else ""
    nothing = "maps to nothing" if own == "student" else "nobody points at it"
    return [
        f"{own} token {token['id']} {token['text']}{shown}",
        table([f"{other} id", "text", "weight", "reason"], entries) if entries else nothing,
    ]
