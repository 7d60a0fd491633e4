"""A run on one line, and as HTML for notebooks: where it stands, its figures, and its curves as inline SVG.

A folder that is damaged shows what is wrong with it: looking at a run never raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ctkd_core.distill.headline import held_out_text
from ctkd_core.markup import blocks
from ctkd_core.markup.colours import BLUE, GREY, VERMILLION
from ctkd_core.markup.curves import Curve, curves_svg
from ctkd_core.markup.visible import one_line, shorten

if TYPE_CHECKING:
    from ctkd_core.distill.runs import Run

MAX_NAME = 60
# What reading the files of a run may raise whatever stands in them; CtkdError is a ValueError.
FAULTS = (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError)


def run_line(run: Run) -> str:
    """Its id, state, steps, method and models, in one line."""
    try:
        status = run.status()
        if status.state == "damaged":
            return f"<Run {one_line(run.id)}: {shorten(one_line(status.message), 3 * MAX_NAME)}>"
        config = run.config
        sides = (shorten(one_line(name), MAX_NAME) for name in (config.teacher, config.student))
        return (
            f"<Run {one_line(run.id)}: {one_line(status.state)}, step {status.step:,} of {config.steps:,}, "
            f"{one_line(config.method)}, {' → '.join(sides)}>"
        )
    except FAULTS as fault:
        return f"<Run {one_line(run.id)}: damaged, {shorten(one_line(str(fault)), 3 * MAX_NAME)}>"


def run_card(run: Run) -> str:
    """State, figures, and the curves of loss and bits per byte."""
    try:
        found = run.summary()
        unknown = found["step"] is None or found["steps"] is None
        if found["status"] == "damaged" and unknown:  # the message begins with that word and says which file
            return blocks.card(found["name"] or run.id, f"<p>This run is {blocks.text(found['message'], 400)}</p>")
        rows = run.metric_rows()
        title = f"{found['name'] or run.id}: {found['method']}, {found['teacher']} → {found['student']}"
        return blocks.card(title, *_parts(found, rows))
    except FAULTS as fault:
        return blocks.card(run.id, f"<p>This run is damaged: {blocks.text(str(fault), 400)}</p>")


def _parts(found: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    metrics = found["metrics"]
    return [
        blocks.facts(
            {
                "state": found["status"],
                "step": f"{found['step']:,} of {found['steps']:,}",
                "student model": found["student_model"],
                "seed": found["seed"],
                "loss": _change(metrics["loss_first"], metrics["loss_last"]),
                "bits per byte": _change(metrics["bits_per_byte_before"], metrics["bits_per_byte_after"]),
                "teacher's bits per byte": _change(None, metrics["teacher_bits_per_byte"]),
                "held-out text": held_out_text(metrics),
                "seconds": None if found["seconds"] is None else round(found["seconds"]),
                "folder": found["run_dir"],
            }
        ),
        *([blocks.note(found["message"])] if found["message"] else []),
        curves_svg("Loss", [Curve("loss", *_points(rows, "train", "loss"), BLUE)]),
        curves_svg("Bits per byte", _bits(rows, metrics["teacher_bits_per_byte"])),
    ]


def _bits(rows: list[dict[str, Any]], teacher: float | None) -> list[Curve]:
    x, y = _points(rows, "eval", "bits_per_byte")
    level = np.full(len(x), np.nan if teacher is None else teacher)
    return [Curve("student", x, y, VERMILLION), Curve("teacher", x, level, GREY, "4 3")]


def _points(rows: list[dict[str, Any]], kind: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    chosen = [row for row in rows if row.get("kind") == kind and row.get(name) is not None]
    return np.array([row["step"] for row in chosen], dtype=float), np.array([row[name] for row in chosen], dtype=float)


def _change(first: float | None, last: float | None) -> str:
    shown = [f"{value:.3f}" for value in (first, last) if value is not None]
    return " → ".join(shown)
