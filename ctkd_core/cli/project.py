"""`ctkd project`: the map from the student's vocabulary to the teacher's, in numbers, by token, as files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctkd_core.cli.common import Answer, UsageError, add_pair, load_pair, parse_assignments
from ctkd_core.cli.display import table, visible, visible_bytes

if TYPE_CHECKING:
    import pandas as pd

    from ctkd_core.tokenizers.tokenizer import Tokenizer
    from ctkd_core.vocabulary.projection import Projection


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `ctkd project`."""
    from ctkd_core.methods.row import VARIANTS
    from ctkd_core.vocabulary import MAPS
    from ctkd_core.vocabulary.export import LAYOUTS

    add_pair(parser)
    parser.add_argument("-m", "--method", default="pieces", metavar="MAP", help=f"{', '.join(MAPS)} (default: pieces)")
    parser.add_argument(
        "--variant",
        default="clean",
        choices=VARIANTS,
        metavar="V",
        help="clean (default) or released: the public tools",
    )
    parser.add_argument("-o", "--option", action="append", metavar="NAME=VALUE", help="an option of the map")
    parser.add_argument("--token", metavar="STR", help="row of the student token that spells STR (or #643, an id)")
    parser.add_argument("--column", metavar="STR", help="who points at the teacher token that spells STR (or an id)")
    parser.add_argument("--top-k", type=int, default=20, metavar="K", help="entries shown of each (default 20)")
    for side in ("student", "teacher"):
        help_text = f"rows of the {side} model's output layer, where they are more than its tokenizer's ids"
        parser.add_argument(f"--{side}-width", type=int, metavar="N", help=help_text)
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="keep the map there (safetensors and a manifest)")
    parser.add_argument("--export", type=Path, metavar="FILE", help="write the map for another program")
    parser.add_argument(
        "--layout",
        default="nemo-rl",
        choices=list(LAYOUTS),
        metavar="LAYOUT",
        help=f"{', '.join(LAYOUTS)} (default: nemo-rl)",
    )
    lines = [
        f"  {row.name}: {option.name}  {option.expected()} (default {option.default}). {option.help}"
        for row in MAPS.values()
        for option in row.options
    ]
    parser.epilog = "\n".join(["options of the maps (-o NAME=VALUE):", *lines])


def run(args: argparse.Namespace) -> Answer:
    """Build the map (or take it from the cache) and report it."""
    from ctkd_core.figures.find_token import find_token
    from ctkd_core.vocabulary import map_options
    from ctkd_core.vocabulary.store import cached_project

    if args.top_k < 1:
        raise UsageError(f"--top-k takes a whole number of at least 1; got {args.top_k}.")
    given: dict[str, Any] = dict(parse_assignments(args.option))
    map_options(args.method, given, args.variant)  # names are checked before tokenizers are loaded
    student, teacher = load_pair(args)
    row_id = None if args.token is None else find_token(student, args.token)
    column_id = None if args.column is None else find_token(teacher, args.column)
    projection = cached_project(student, teacher, args.method, variant=args.variant, **given)
    projection = projection.widen(args.student_width, args.teacher_width)
    data = facts(projection) | {"variant": args.variant}
    if row_id is not None:
        data["token"] = row_of(projection, row_id, args.top_k)
    if column_id is not None:
        data["column"] = column_of(projection, column_id, args.top_k)
    if args.save is not None:
        from ctkd_core.vocabulary.store import save

        data["saved"] = str(save(projection, args.save))
    if args.export is not None:
        from ctkd_core.vocabulary.export import export

        data["exported"] = str(export(projection, args.export, args.layout))
    return Answer(lambda: data, lambda: _text(data))


def facts(projection: Projection) -> dict[str, Any]:
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


def _text(data: dict[str, Any]) -> str:
    parts = [
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
    return "\n\n".join(parts)


def _token_text(token: dict[str, Any], own: str, other: str) -> list[str]:
    entries = [[e[f"{other}_id"], visible(e["text"]), e["weight"], e["reason"]] for e in token["entries"]]
    shown = f"; {len(entries)} of {token['count']} entries" if len(entries) < token["count"] else ""
    nothing = "maps to nothing" if own == "student" else "nobody points at it"
    return [
        f"{own} token {token['id']} {token['text']}{shown}",
        table([f"{other} id", "text", "weight", "reason"], entries) if entries else nothing,
    ]
