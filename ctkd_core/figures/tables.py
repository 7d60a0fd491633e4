"""Table twins of the pictures: groups and disagreements with readable texts."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ctkd_core.alignment.base import Alignment
from ctkd_core.alignment.kinds import KIND_STYLES, KINDS, UNEQUAL
from ctkd_core.alignment.metrics import Agreement, health, hull_bytes
from ctkd_core.figures.card import group_at
from ctkd_core.figures.chips import differing_groups
from ctkd_core.markup.numbers import decimals, percent
from ctkd_core.markup.visible import counted, shorten, visible_bytes
from ctkd_core.tokenizers.encoding import Encoding

if TYPE_CHECKING:
    import pandas as pd

MAX_CHARACTERS = 60
HEALTH = (
    "verdict",
    "bytes facing equal bytes",
    "boundary F1",
    "largest group",
    "uncovered",
    "without a partner",
    "groups with equal text",
)
# What a spreadsheet may take for the beginning of a formula, full-width forms included.
FORMULA = tuple("=+-@\t\r\n＝＋－＠")


def shown_groups(
    alignment: Alignment, other: Alignment | None = None, rows: NDArray[np.int64] | None = None
) -> pd.DataFrame:
    """`metrics.group_table` for people: texts with visible whitespace, and whether `other` groups differently.

    Columns: group, kind, mark (≠ where the two sides don't spell the same bytes of the text), student, teacher,
    student_tokens, teacher_tokens, bytes, same_text and, with `other`, differs. `rows`: the groups to show, all for
    None; a page of a long table costs no more than a short one.
    """
    return _group_rows(alignment, other, [KIND_STYLES[kind].name for kind in KINDS], rows)


def groups_of_kinds(alignment: Alignment, kinds: Collection[str]) -> NDArray[np.int64]:
    """Groups of these kinds, UNEQUAL among them for those whose sides spell different bytes; all without any."""
    if not kinds:
        return np.arange(len(alignment))
    chosen = np.isin(alignment.kind_codes, [code for code, kind in enumerate(KINDS) if kind in kinds])
    return np.flatnonzero(chosen | alignment.unequal if UNEQUAL in kinds else chosen)


def _group_rows(
    alignment: Alignment, other: Alignment | None, kinds: Sequence[str], rows: NDArray[np.int64] | None = None
) -> pd.DataFrame:
    """`shown_groups` with the kinds called so."""
    import pandas as pd

    at = np.arange(len(alignment)) if rows is None else rows
    shown = {
        "group": at,
        "kind": [kinds[code] for code in alignment.kind_codes[at].tolist()],
        "mark": np.where(alignment.unequal[at], UNEQUAL, ""),
        "student": [_text(alignment.student_bytes(g)) for g in at.tolist()],
        "teacher": [_text(alignment.teacher_bytes(g)) for g in at.tolist()],
        "student_tokens": alignment.sizes[at, 0],
        "teacher_tokens": alignment.sizes[at, 1],
        "bytes": hull_bytes(alignment)[at],
        "same_text": (alignment.equal_texts & ~alignment.unequal)[at],
    }
    if other is not None:
        shown["differs"] = differing_groups(alignment, other)[at]
    return pd.DataFrame(shown)


def groups_csv(alignment: Alignment, other: Alignment | None = None) -> str:
    """`shown_groups` with the kinds' short names and the token ranges s0, s1, t0, t1 as CSV, safe in a spreadsheet."""
    table = _group_rows(alignment, other, KINDS)
    for column, values in zip(("s0", "s1", "t0", "t1"), alignment.groups.T):
        table[column] = values
    return safe_csv(table)


def safe_csv(table: pd.DataFrame) -> str:
    """The table as CSV in which no text begins a formula: = + - @ and the like get an apostrophe before them.

    Texts of tokens are untrusted, and a spreadsheet would run `=HYPERLINK(...)`. Numbers stay as they are.
    """
    safe = table.copy()
    for name in safe.columns:
        if safe[name].dtype.kind not in "biuf":
            safe[name] = [f"'{v}" if isinstance(v, str) and v.startswith(FORMULA) else v for v in safe[name]]
    safe.columns = [f"'{name}" if str(name).startswith(FORMULA) else name for name in safe.columns]
    # every text in quotes: a lone carriage return would end the row for some readers
    return str(safe.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC))


def page_of_row(groups: Sequence[int], group: int | None, rows: int) -> tuple[int, int]:
    """Number of pages of a table with `rows` rows a page, and the page with `group` or the first one after it.

    groups: the increasing group of each row. The first page when no group is given.
    """
    count = len(groups)
    at = 0 if group is None else min(int(np.searchsorted(np.asarray(groups), group)), max(0, count - 1))
    return max(1, -(-count // rows)), at // rows


def agreement_sentence(found: Agreement) -> str:
    """In how many stretches two alignments differ, and how much of the text lies outside. Not for equal ones."""
    count = len(found.differing)
    return (
        f"Between boundaries that both have, {count:,} {'stretch differs' if count == 1 else 'stretches differ'}. "
        f"Boundary F1 {decimals(found.boundary_f1)}; {percent(found.share)} of student tokens lie outside them."
    )


def disagreements(a: Alignment, b: Alignment, differing: NDArray[np.int32], limit: int = 500) -> pd.DataFrame:
    """The stretches on which two alignments differ, as `metrics.agreement` gives them, at most `limit` of them.

    Columns: group (first one of `a` in the stretch), and the groups that each method makes there as
    [student ~ teacher], tokens parted by │.
    """
    import pandas as pd

    names = [a.label, b.label]
    rows = [
        (group_at(a, int(region[0]), int(region[2])), groups_between(a, region), groups_between(b, region))
        for region in differing[:limit]
    ]
    return pd.DataFrame(rows, columns=["group", *names])


def health_table(alignments: Iterable[Alignment], rates: Iterable[Mapping[str, float]]) -> pd.DataFrame:
    """What is sound about each alignment and what isn't: one row a figure, one column a method, values as texts.

    rates: `Alignment.metrics()` of each. The first column names the figure.
    """
    import pandas as pd

    columns: dict[str, list[str]] = {"figure": list(HEALTH)}
    for one, rate in zip(alignments, rates, strict=True):
        found = health(one)
        columns[one.label] = [
            found.verdict,
            percent(found.byte_match_rate),
            decimals(found.boundary_f1),
            counted(found.largest_group, "token"),
            counted(found.uncovered_bytes, "byte"),
            counted(found.orphans, "token"),
            percent(rate["text_match_rate"]),
        ]
    return pd.DataFrame(columns)


def groups_between(alignment: Alignment, region: NDArray[np.int32]) -> str:
    """The groups that reach into a stretch s0, s1, t0, t1 as [student ~ teacher], at most six of them."""
    s0, s1, t0, t1 = (int(v) for v in region)
    g = alignment.groups
    inside = ((g[:, 0] < s1) & (g[:, 1] > s0)) | ((g[:, 2] < t1) & (g[:, 3] > t0))
    rows = g[inside]
    parts = [
        f"[{_tokens(alignment.student, a, b)} ~ {_tokens(alignment.teacher, c, d)}]" for a, b, c, d in rows[:6].tolist()
    ]
    return " ".join(parts) + (f" … {len(rows) - 6} more" if len(rows) > 6 else "")


def _tokens(encoding: Encoding, start: int, end: int) -> str:
    return shorten("│".join(map(visible_bytes, encoding.token_bytes[start:end])), 32) or "∅"


def _text(data: bytes, limit: int = MAX_CHARACTERS) -> str:
    return shorten(visible_bytes(data), limit)
