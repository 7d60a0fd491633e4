"""The path of a dynamic time warping, step by step: a few cells at a time, each with what the recurrence chose from.

A page holds 16 cells of the path, so it spans at most 16 tokens of either side; the next page begins with the cell that
ends this one. The component draws it and plays it in the browser.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.alignment.base import Alignment
from ctkd_core.figures.dtw import cell_groups, path_of, surface_of
from ctkd_core.markup.colours import ORANGE, VERMILLION
from ctkd_core.markup.visible import shorten, visible_bytes

if TYPE_CHECKING:
    import pandas as pd

    from ctkd_core.tokenizers.encoding import Encoding

STEPS = 16  # cells of the path on a page
LABEL_CHARACTERS = 12
# The candidates in the order of `CostSurface.candidates`: what has moved on since the cell before.
CANDIDATES = ("both", "teacher alone", "student alone")


def step_pages(alignment: Alignment) -> int:
    """How many pages the path has, one at least. Raises AlignmentError for a method without costs."""
    return max(1, -(-(len(path_of(alignment)) - 1) // (STEPS - 1)))


def page_of_group(alignment: Alignment, group: int) -> int:
    """The page on which the path enters a group, counted from 0; the first for a group that it never enters."""
    s0, s1, t0, t1 = alignment.groups[group]
    path = path_of(alignment)
    inside = (path[:, 0] >= s0) & (path[:, 0] < s1) & (path[:, 1] >= t0) & (path[:, 1] < t1)
    at = int(np.argmax(inside)) if inside.any() else 0
    return min(at // (STEPS - 1), step_pages(alignment) - 1)


def step_page(alignment: Alignment, page: int = 0) -> dict[str, Any]:
    """One page as plain data for the component.

    Keys: student, teacher ([position, text] of each), names, cells (teacher rows of student columns; a cell is [group,
    local cost, accumulated cost, the three candidates, which of them is taken], None where nothing was searched),
    reach (teacher tokens of each group, from and to), path ([column, row] of each step), first, total (steps are
    counted from 0), unit, candidates (their names), colours.

    Raises AlignmentError for a method without costs, and for a stretch too large to show its accumulated costs.
    """
    surface, path = surface_of(alignment), path_of(alignment)
    first, steps = _steps(alignment, page)
    rows, columns = _span(steps[:, 0]), _span(steps[:, 1])
    x, y = np.arange(rows.start, rows.stop), np.arange(columns.start, columns.stop)
    local, total = surface.window("local", rows, columns), surface.window("accumulated", rows, columns)
    before = surface.candidates(rows, columns)
    taken = surface.taken(before)
    owner = cell_groups(alignment, x, y).reshape(len(x), len(y))
    cells = [
        [
            [int(owner[i, j]), *map(_number, (local[i, j], total[i, j], *before[:, i, j])), int(taken[i, j])]
            for i in range(len(x))
        ]
        for j in range(len(y))
    ]
    return {
        "student": _labels(alignment.student, x),
        "teacher": _labels(alignment.teacher, y),
        "names": [alignment.student.tokenizer, alignment.teacher.tokenizer],
        "cells": cells,
        "reach": {str(g): alignment.groups[g, 2:].tolist() for g in np.unique(owner[owner >= 0]).tolist()},
        "path": (steps - [rows.start, columns.start]).tolist() if len(steps) else [],
        "first": first,
        "total": len(path),
        "unit": surface.unit,
        "candidates": list(CANDIDATES),
        "path_colour": VERMILLION,
        "pin_colour": ORANGE,
    }


def step_table(alignment: Alignment, page: int = 0) -> pd.DataFrame:
    """The twin of a page for those who can't see it: one row a step of the path.

    Columns: step, group, student, teacher (texts), cost (of the cell), one for each candidate, taken, and accumulated.
    """
    import pandas as pd

    data = step_page(alignment, page)
    rows = []
    for k, (x, y) in enumerate(data["path"]):
        group, local, total, *before, taken = data["cells"][y][x]
        rows.append(
            {
                "step": data["first"] + k,
                "group": group,
                "student": data["student"][x][1],
                "teacher": data["teacher"][y][1],
                "cost": local,
                **dict(zip(CANDIDATES, before)),
                "taken": CANDIDATES[taken] if taken >= 0 else "",
                "accumulated": total,
            }
        )
    return pd.DataFrame(
        rows, columns=["step", "group", "student", "teacher", "cost", *CANDIDATES, "taken", "accumulated"]
    )


def _steps(alignment: Alignment, page: int) -> tuple[int, NDArray[np.int32]]:
    """Number of the first step of a page, and its steps int32 [k, 2]."""
    path = path_of(alignment)
    first = min(max(page, 0), step_pages(alignment) - 1) * (STEPS - 1)
    return first, path[first : first + STEPS]


def _span(positions: NDArray[np.int32]) -> slice:
    return slice(int(positions[0]), int(positions[-1]) + 1) if len(positions) else slice(0, 0)


def _labels(encoding: Encoding, at: NDArray[np.int64]) -> list[list[Any]]:
    return [[int(k), shorten(visible_bytes(encoding.token_bytes[k]), LABEL_CHARACTERS) or "∅"] for k in at.tolist()]


def _number(value: np.float32) -> float | None:
    """A cost as it is shown; None where nothing was searched."""
    return round(float(value), 2) if np.isfinite(value) else None
