"""Table twins of the pictures: groups and disagreements with readable texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ctkd_core.alignment.base import KINDS, Alignment
from ctkd_core.figures.card import group_at
from ctkd_core.figures.chips import differing_groups
from ctkd_core.figures.visible import shorten, visible_bytes

if TYPE_CHECKING:
    import pandas as pd

MAX_CHARACTERS = 60


def shown_groups(alignment: Alignment, other: Alignment | None = None) -> pd.DataFrame:
    """`metrics.group_table` for people: texts with visible whitespace, and whether `other` groups differently.

    Columns: group, kind, student, teacher, student_tokens, teacher_tokens, bytes, same_text and, with `other`, differs.
    """
    from ctkd_core.metrics import group_table

    table = group_table(alignment)
    shown = table[["group", "kind"]].copy()
    shown["student"] = [_text(alignment.student_bytes(g)) for g in range(len(alignment))]
    shown["teacher"] = [_text(alignment.teacher_bytes(g)) for g in range(len(alignment))]
    shown["student_tokens"], shown["teacher_tokens"] = alignment.sizes.T
    shown["bytes"] = table["bytes"]
    shown["same_text"] = table["text_equal"]
    if other is not None:
        shown["differs"] = differing_groups(alignment, other)
    return shown


def kind_counts(alignment: Alignment) -> dict[str, int]:
    """Number of groups of each kind that occurs."""
    counts = np.bincount(alignment.kind_codes, minlength=len(KINDS))
    return {name: int(counts[code]) for code, name in enumerate(KINDS) if counts[code]}


def disagreements(a: Alignment, b: Alignment, differing: NDArray[np.int32], limit: int = 500) -> pd.DataFrame:
    """The stretches on which two alignments differ, as `metrics.agreement` gives them, at most `limit` of them.

    Columns: group (first one of `a` in the stretch), and the pairs that each method makes there.
    """
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "group": group_at(a, int(region[0]), int(region[2])),
                a.method: _pairs(a, region),
                f"{b.method} ": _pairs(b, region),  # the two may be variants of one method
            }
            for region in differing[:limit]
        ],
        columns=["group", a.method, f"{b.method} "],
    )


def _pairs(alignment: Alignment, region: NDArray[np.int32]) -> str:
    s0, s1, t0, t1 = (int(v) for v in region)
    g = alignment.groups
    inside = ((g[:, 0] < s1) & (g[:, 1] > s0)) | ((g[:, 2] < t1) & (g[:, 3] > t0))
    rows = g[inside]
    parts = [
        f"[{_text(b''.join(alignment.student.token_bytes[a:b]), 24) or '∅'} ~ "
        f"{_text(b''.join(alignment.teacher.token_bytes[c:d]), 24) or '∅'}]"
        for a, b, c, d in rows[:6].tolist()
    ]
    return " ".join(parts) + (f" … {len(rows) - 6} more" if len(rows) > 6 else "")


def _text(data: bytes, limit: int = MAX_CHARACTERS) -> str:
    return shorten(visible_bytes(data), limit)
