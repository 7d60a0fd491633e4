"""Several methods under one text: a lane for each, and a lane that says where they disagree.

The student's tokens stand above. Under each of them a method's lane has the group that holds it, with the teacher
tokens that it faces; the last lane has the number of different groups that the methods put the token in. Units are the
least stretches of student tokens that no method's group leaves: they stay together where lines break.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.alignment.base import Alignment
from ctkd_core.alignment.kinds import KIND_STYLES, KINDS, UNEQUAL, UNEQUAL_MEANING
from ctkd_core.alignment.opinions import common_cuts, disputed, group_of_tokens, opinions
from ctkd_core.figures.tables import groups_between
from ctkd_core.markup.colours import VERMILLION
from ctkd_core.markup.visible import hex_bytes, shorten, visible_bytes

if TYPE_CHECKING:
    import pandas as pd

MOST_METHODS = 6  # lanes that a screen has room for
PAGE_TOKENS = 100
MOST_OF_A_UNIT = 40  # student tokens of one unit that are drawn; a super-group has thousands
CHARACTERS = 20


def unit_pages(alignments: Sequence[Alignment]) -> NDArray[np.int64]:
    """First student token of each page and the end of the last one, int64 [P + 1]; a page holds whole units."""
    cuts = common_cuts(alignments)
    starts = [0]
    while starts[-1] < cuts[-1]:
        after = cuts[cuts > starts[-1]]
        fitting = after[after <= starts[-1] + PAGE_TOKENS]
        starts.append(int(fitting[-1] if len(fitting) else after[0]))
    return np.array(starts if len(starts) > 1 else [0, 0], dtype=np.int64)


def page_of_token(pages: NDArray[np.int64], token: int) -> int:
    """The page that shows a student token, counted from 0."""
    return int(np.clip(np.searchsorted(pages, token, side="right") - 1, 0, len(pages) - 2))


def stack_page(alignments: Sequence[Alignment], page: int = 0) -> dict[str, Any]:
    """One page for the component, as plain data.

    Keys: teacher, student (names), methods (labels), kinds (style of each), unequal, mark, units (list of {s, lanes, o,
    more}): s are student tokens as [index, id, text, hex, group of the first method or -1], lanes one list a method of
    {w: tokens it is wide, t: text of the teacher tokens, n: their number, k: kind, x: whether the two sides spell
    different bytes, same: names of the other methods with that very group}, o the number of different groups at each
    token, more: tokens that aren't drawn. first, last, total count student tokens; alone: teacher tokens that face
    nothing, by method.
    """
    pages = unit_pages(alignments)
    page = min(max(page, 0), len(pages) - 2)
    first, last = int(pages[page]), int(pages[page + 1])
    found = opinions(alignments)
    cuts = common_cuts(alignments)
    edges = cuts[(cuts >= first) & (cuts <= last)].tolist()
    owners = [group_of_tokens(one, "student") for one in alignments]
    units = [_unit(alignments, owners, found, a, b) for a, b in itertools.pairwise(edges)]
    return {
        "teacher": alignments[0].teacher.tokenizer,
        "student": alignments[0].student.tokenizer,
        "methods": [one.label for one in alignments],
        "units": units,
        "kinds": [
            {"label": s.name, "colour": s.colour, "border": s.border} for s in map(KIND_STYLES.__getitem__, KINDS)
        ],
        "unequal": {"mark": UNEQUAL, "why": UNEQUAL_MEANING},
        "mark": VERMILLION,
        "first": first,
        "last": last,
        "total": len(alignments[0].student),
        "alone": {one.label: number for one in alignments if (number := _alone(one))},
    }


def stack_sentence(alignments: Sequence[Alignment]) -> str:
    """How much of the text the methods agree on, in one sentence."""
    found = opinions(alignments)
    counted = int((found >= 0).any(axis=1).sum())
    stretches = disputed(found)
    if not len(stretches):
        return f"All {len(alignments)} methods make the same groups of this text."
    tokens = int((stretches[:, 1] - stretches[:, 0]).sum())
    places = f"{len(stretches):,} {'run' if len(stretches) == 1 else 'runs'} of neighbouring tokens"
    return f"The {len(alignments)} methods disagree on {tokens:,} of {counted:,} student tokens, in {places}."


def stack_table(alignments: Sequence[Alignment], limit: int = 500) -> pd.DataFrame:
    """The lane of disagreements as rows, at most `limit`: where methods differ, and what each makes of it.

    Columns: group (the first method's), bytes (first to last of the text, counted from 0), opinions (the most at one
    token), and the groups of each method as [student ~ teacher].
    """
    import pandas as pd

    found = opinions(alignments)
    owner, spans = group_of_tokens(alignments[0], "student"), alignments[0].student.spans
    rows: list[dict[str, Any]] = []
    for a, b in disputed(found)[:limit].tolist():
        region = np.array([a, b, 0, 0], dtype=np.int32)
        first, last = int(spans[a:b, 0].min()), int(spans[a:b, 1].max())
        row = {
            "group": int(owner[a]),
            "bytes": f"{first:,} to {max(first, last - 1):,}",
            "opinions": int(found[a:b].max()) + 1,
        }
        rows.append(row | {one.label: groups_between(one, region) for one in alignments})
    return pd.DataFrame(rows, columns=["group", "bytes", "opinions", *(one.label for one in alignments)])


def _unit(
    alignments: Sequence[Alignment],
    owners: list[NDArray[np.int64]],
    found: NDArray[np.int8],
    start: int,
    end: int,
) -> dict[str, Any]:
    shown = min(end, start + MOST_OF_A_UNIT)
    student = alignments[0].student
    tokens = [
        [
            k,
            int(student.ids[k]),
            shorten(visible_bytes(student.token_bytes[k]), CHARACTERS) or "∅",
            hex_bytes(student.token_bytes[k]),
            int(owners[0][k]),
        ]
        for k in range(start, shown)
    ]
    lanes = [_lane(alignments, m, owners[m], found, start, shown) for m in range(len(alignments))]
    counts = (found[start:shown].max(axis=1) + 1).tolist()
    return {"s": tokens, "lanes": lanes, "o": counts, "more": end - shown}


def _lane(
    alignments: Sequence[Alignment],
    method: int,
    owner: NDArray[np.int64],
    found: NDArray[np.int8],
    start: int,
    end: int,
) -> list[dict[str, Any]]:
    """The cells of one method over student tokens start..end."""
    one, cells, at = alignments[method], [], start
    while at < end:
        group = int(owner[at])
        if group < 0:  # a special token
            cells.append({"w": 1, "t": "", "n": 0, "k": -1, "x": False, "same": []})
            at += 1
            continue
        _, s1, t0, t1 = one.groups[group].tolist()
        width = min(s1, end) - at
        text = "│".join(map(visible_bytes, one.teacher.token_bytes[t0 : min(t1, t0 + MOST_OF_A_UNIT)]))
        agreeing = [
            other.label for m, other in enumerate(alignments) if m != method and found[at, m] == found[at, method]
        ]
        cells.append(
            {
                "w": width,
                "t": shorten(text, CHARACTERS + 4 * width) or "∅",
                "n": t1 - t0,
                "k": int(one.kind_codes[group]),
                "x": bool(one.unequal[group]),
                "same": agreeing,
            }
        )
        at += width
    return cells


def _alone(alignment: Alignment) -> int:
    """Teacher tokens in groups without a student token."""
    return int(alignment.sizes[alignment.sizes[:, 0] == 0, 1].sum())
