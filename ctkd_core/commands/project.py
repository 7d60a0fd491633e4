"""`ctkd project`: the map from the student's vocabulary to the teacher's, in numbers or one row of it."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any

from ctkd_core.commands.common import Answer, UsageError, add_pair, load_pair, parse_assignments
from ctkd_core.commands.display import table, visible, visible_bytes
from ctkd_core.errors import ProjectionError, unknown
from ctkd_core.options import resolve

if TYPE_CHECKING:
    from ctkd_core.encoding import Tokenizer
    from ctkd_core.vocabulary.projection import Projection

# Classes of student tokens by their bytes, a leading space set aside; the first that fits counts.
_CLASSES: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    ("digits_1", re.compile(rb"[0-9]")),
    ("digits_2", re.compile(rb"[0-9]{2}")),
    ("digits_3", re.compile(rb"[0-9]{3}")),
    ("letters", re.compile(rb"[A-Za-z]+")),
    ("whitespace", re.compile(rb"\s*")),
    ("punctuation", re.compile(rb"[!-/:-@\[-`{-~]+")),
    ("multibyte", re.compile(rb".*[\x80-\xff].*", re.DOTALL)),
)
CLASSES = (*(name for name, _ in _CLASSES), "special", "other")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `ctkd project`."""
    from ctkd_core.vocabulary import MAPS

    add_pair(parser)
    parser.add_argument("-m", "--method", default="pieces", metavar="MAP", help=f"{', '.join(MAPS)} (default: pieces)")
    parser.add_argument("-o", "--option", action="append", metavar="NAME=VALUE", help="an option of the map")
    parser.add_argument("--token", metavar="STR", help="show the row of the student token that spells STR")
    parser.add_argument("--top-k", type=int, default=20, metavar="K", help="entries of that row to show (default 20)")
    lines = [
        f"  {row.name}: {option.name}  {option.expected()} (default {option.default}). {option.help}"
        for row in MAPS.values()
        for option in row.options
    ]
    parser.epilog = "\n".join(["options of the maps (-o NAME=VALUE):", *lines])


def run(args: argparse.Namespace) -> Answer:
    """Build the map (both vocabularies whole, some seconds) and report it."""
    from ctkd_core.vocabulary import MAPS, project

    if args.method not in MAPS:
        raise unknown("vocabulary map", args.method, MAPS, ProjectionError)
    if args.top_k < 1:
        raise UsageError(f"--top-k takes a whole number of at least 1; got {args.top_k}.")
    given = parse_assignments(args.option)
    resolve(MAPS[args.method].options, given, f"vocabulary map {args.method!r}", ProjectionError)
    student, teacher = load_pair(args)
    token_id = None if args.token is None else find_token(student, args.token)
    projection = project(student, teacher, method=args.method, **given)
    data: dict[str, Any] = {
        "student": student.name,
        "teacher": teacher.name,
        "method": args.method,
        "shape": list(projection.shape),
        "nnz": int(projection.matrix.nnz),
        "rows": {"exact": 0, "canonical": 0, "pieces": 0, "nearest": 0, "empty": 0} | projection.rows(),
        "row_sum_error": projection.row_sum_error,
        "classes": classes(projection),
    }
    if token_id is not None:
        data["token"] = row_of(projection, token_id, args.top_k)
    return Answer(lambda: data, lambda: _text(data))


def find_token(student: Tokenizer, text: str) -> int:
    """Id of the student token whose bytes are `text`, or whose raw vocabulary string it is."""
    data = text.encode("utf-8", errors="surrogateescape")
    try:
        return student.all_token_bytes().index(data)
    except ValueError:
        found = student.id_of(text)
    if found is None:
        pieces = [visible_bytes(student.token_bytes(i)) for i in student.encode_pieces([data])[0]]
        raise ProjectionError(
            f"no token of {student.name!r} spells {text!r}; it is cut into {' | '.join(pieces) or 'nothing'}."
        )
    return found


def row_of(projection: Projection, token_id: int, top_k: int) -> dict[str, Any]:
    """One row of the map as plain data, heaviest entries first."""
    frame = projection.explain(token_id).head(top_k)
    return {
        "id": token_id,
        "text": visible_bytes(projection.student.token_bytes(token_id)),
        "entries": [
            {
                "teacher_id": int(entry["teacher_id"]),
                "text": visible_bytes(entry["teacher_bytes"]),
                "weight": float(entry["weight"]),
                "reason": str(entry["reason"]),
            }
            for entry in frame.to_dict("records")
        ],
    }


def classes(projection: Projection) -> dict[str, dict[str, int]]:
    """Student tokens per class, and how many of them one teacher token says alone (equal bytes or equal role)."""
    import numpy as np

    from ctkd_core.vocabulary.projection import EXACT, ROLE

    # Not "rows with one entry": "22" cut into 2 and 2 has one entry too.
    alone = np.isin(projection.row_reason, (EXACT, ROLE))
    counts = {name: {"total": 0, "matched": 0} for name in CLASSES}
    special = projection.student.special_ids
    for token_id, data in enumerate(projection.student.all_token_bytes()):
        if not data:  # an id that the vocabulary leaves out
            continue
        name = "special" if token_id in special else token_class(data)
        counts[name]["total"] += 1
        counts[name]["matched"] += int(alone[token_id])
    return counts


def token_class(data: bytes) -> str:
    """The class of a token that isn't special."""
    bare = data[1:] if data[:1] == b" " and len(data) > 1 else data
    return next((name for name, pattern in _CLASSES if pattern.fullmatch(bare)), "other")


def _text(data: dict[str, Any]) -> str:
    rows = data["rows"]
    parts = [
        f"{data['method']}: {data['student']} ({data['shape'][0]} ids) -> {data['teacher']} ({data['shape'][1]} ids), "
        f"{data['nnz']} entries, largest row-sum error {data['row_sum_error']:.2g}",
        table(["rows", "count"], list(rows.items())),
        table(
            ["class", "total", "one teacher token", "share"],
            [
                [name, c["total"], c["matched"], c["matched"] / c["total"] if c["total"] else None]
                for name, c in data["classes"].items()
            ],
        ),
    ]
    if "token" in data:
        token = data["token"]
        entries = [[e["teacher_id"], visible(e["text"]), e["weight"], e["reason"]] for e in token["entries"]]
        parts.append(f"student token {token['id']} {token['text']}")
        parts.append(table(["teacher id", "text", "weight", "reason"], entries) if entries else "maps to nothing")
    return "\n\n".join(parts)
