"""`ctkd compare`: several methods on one text, with the stretches where they disagree."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctkd_core import methods
from ctkd_core.cli import complete
from ctkd_core.cli.align import metric_table, option_help
from ctkd_core.cli.common import (
    File,
    MethodOptions,
    Output,
    Sample,
    Student,
    Teacher,
    Text,
    load_pair,
    parse_method_options,
    read_text,
)
from ctkd_core.cli.display import table, visible_bytes
from ctkd_core.errors import AlignmentError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ctkd_core.alignment import Alignment

SHOWN_REGIONS = 6  # of each pair of methods
SHOWN_GROUPS = 10  # of each region


def run(
    student: Student = None,
    teacher: Teacher = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "-m",
            "--method",
            metavar="METHOD",
            help="A method; repeat it (default: all that align).",
            autocompletion=complete.aligning_methods,
        ),
    ] = None,
    option: MethodOptions = None,
    text: Text = None,
    file: File = None,
    sample: Sample = None,
) -> Output:
    """Align with every method; disagreements are regions where not all methods have the same groups."""
    from ctkd_core.alignment import align
    from ctkd_core.alignment.metrics import agreement

    names = list(dict.fromkeys(method or [m.name for m in methods.aligning()]))
    options = _options(option, names)
    whole = read_text(text, file, sample)
    ours, theirs = load_pair(student, teacher)
    found = {name: align(whole, student=ours, teacher=theirs, method=name, **options[name]) for name in names}
    pairs = []
    for a, b in combinations(names, 2):
        result = agreement(found[a], found[b])
        pairs.append(
            {
                "a": a,
                "b": b,
                "boundary_f1": float(result.boundary_f1),
                "share": float(result.share),
                "disagreements": result.differing.tolist(),
            }
        )
    regions = merge_regions([region for pair in pairs for region in pair["disagreements"]])
    first = found[names[0]]
    data = {
        "student": {"name": first.student.tokenizer, "tokens": len(first.student)},
        "teacher": {"name": first.teacher.tokenizer, "tokens": len(first.teacher)},
        "methods": {name: alignment.metrics() for name, alignment in found.items()},
        "agreement": pairs,
        "disagreements": regions,
        "notes": list(dict.fromkeys(note for alignment in found.values() for note in alignment.notes)),
    }
    return Output(lambda: data, lambda: _view(data, found))


def after_help() -> list[RenderableType]:
    """The options of every aligning method."""
    return [option_help(((row.name, row.align_options) for row in methods.aligning()), "METHOD.NAME=VALUE")]


def _options(given: list[str] | None, names: list[str]) -> dict[str, dict[str, Any]]:
    """`METHOD.NAME=VALUE` flags sorted by method, names checked, values still as given."""
    for name in names:
        methods.aligner(name, AlignmentError)
    sorted_options: dict[str, dict[str, Any]] = {**parse_method_options(given, names)}
    for name, chosen in sorted_options.items():
        methods.get(name).resolve_align(chosen, AlignmentError)
    return sorted_options


def merge_regions(regions: list[list[int]]) -> list[list[int]]:
    """The union of [s0, s1, t0, t1] regions: those that share tokens on either side become one.

    Both sides of every region grow in the same order, so one pass over the sorted list is enough.
    """
    merged: list[list[int]] = []
    for s0, s1, t0, t1 in sorted(map(list, regions)):
        if merged and (s0 < merged[-1][1] or t0 < merged[-1][3]):
            last = merged[-1]
            merged[-1] = [last[0], max(last[1], s1), min(last[2], t0), max(last[3], t1)]
        else:
            merged.append([s0, s1, t0, t1])
    return merged


def _view(data: dict[str, Any], found: dict[str, Alignment]) -> list[RenderableType]:
    parts: list[RenderableType] = [metric_table(data["methods"])]
    if data["agreement"]:
        parts.append(
            table(
                ["a", "b", "boundary_f1", "share of equal tokens", "disagreements"],
                [[p["a"], p["b"], p["boundary_f1"], p["share"], len(p["disagreements"])] for p in data["agreement"]],
            )
        )
    for pair in data["agreement"]:
        regions = pair["disagreements"]
        two = {name: found[name] for name in (pair["a"], pair["b"])}
        parts += [_region(region, two) for region in regions[:SHOWN_REGIONS]]
        if len(regions) > SHOWN_REGIONS:
            parts.append(f"... {len(regions) - SHOWN_REGIONS} more between {' and '.join(two)}; --json holds them.")
    regions = data["disagreements"]
    if not regions and len(found) > 1:
        parts.append("The methods agree on every group.")
    parts += [f"note: {note}" for note in data["notes"]]
    return parts


def _region(region: list[int], found: dict[str, Alignment]) -> str:
    s0, s1, t0, t1 = region
    lines = [f"student {s0}..{s1}, teacher {t0}..{t1}"]
    longest = max(map(len, found))
    for name, alignment in found.items():
        cells = []
        for a, b, c, d in alignment.groups.tolist():
            # A group with an empty side belongs here when its other side does.
            if (a < s1 and b > s0) or (c < t1 and d > t0):
                student = "|".join(visible_bytes(x) for x in alignment.student.token_bytes[a:b])
                teacher = "|".join(visible_bytes(x) for x in alignment.teacher.token_bytes[c:d])
                cells.append(f"[{student or '-'} ~ {teacher or '-'}]")
        more = f" ... {len(cells) - SHOWN_GROUPS} more" if len(cells) > SHOWN_GROUPS else ""
        lines.append(f"  {name:<{longest}}  {' '.join(cells[:SHOWN_GROUPS])}{more}")
    return "\n".join(lines)
