"""Numbers about alignments: shares of group shapes, coverage, agreement of two alignments, health.

Everything is vectorised over groups and tokens; 100,000 tokens take some milliseconds. Names are a contract.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ctkd_core.alignment.components import check_same_text, smallest_groups
from ctkd_core.alignment.kinds import KINDS, kinds_of
from ctkd_core.errors import AlignmentError
from ctkd_core.markup.numbers import decimals, percent
from ctkd_core.markup.visible import counted
from ctkd_core.tokenizers.encoding import Encoding

if TYPE_CHECKING:
    import pandas as pd

    from ctkd_core.alignment.base import Alignment

# A group with more tokens than this on one side is a super-group: its inside is not aligned at all.
LARGE_GROUP = 16


@dataclass(frozen=True, eq=False)
class Agreement:
    """How far two alignments of one pair of encodings agree.

    boundary_f1  F1 of their group boundaries, 1 = the same boundaries
    share        share of the student's content tokens that lie outside `differing`
    differing    int32 [k, 4]: smallest stretches (s0, s1, t0, t1) on which the groups differ
    """

    boundary_f1: float
    share: float
    differing: NDArray[np.int32]


@dataclass(frozen=True)
class Health:
    """One sentence about an alignment, and what it rests on. `level` is "ok", "warn" or "bad", `verdict` its word."""

    sentence: str
    level: str
    verdict: str
    byte_match_rate: float
    boundary_f1: float
    largest_group: int  # tokens on its larger side
    uncovered_bytes: int
    orphans: int


def alignment_metrics(alignment: Alignment) -> dict[str, float]:
    """Rates of one alignment, over two-sided groups; special tokens never count. Shares of nothing are 0.

    n_groups                      two-sided groups
    share_1_1 ... share_n_m       share of groups by shape, student side first; they sum to 1
    student_tokens_1_1, teacher_* share of that side's tokens that are in 1-1 groups
    byte_coverage                 share of the text's bytes under student tokens of two-sided groups
    byte_match_rate               share of the text's bytes that face equal bytes: student tokens of groups whose two
                                  sides spell the same bytes of the text (`faces_equal`)
    orphan_student, orphan_teacher  tokens in one-sided groups
    largest_group                 most tokens on one side of a group
    mean_group_size               mean of (student tokens + teacher tokens) / 2
    text_match_rate               share of groups whose student bytes equal their teacher bytes (a space that a
                                  tokenizer puts before the text doesn't count)
    student_text_match_rate       share of student tokens inside such groups
    boundary_f1                   agreement of group boundaries with the span components on bytes (the ground truth)
    """
    return rates(alignment.counts)


def alignment_counts(alignment: Alignment) -> dict[str, int]:
    """What the rates of `alignment_metrics` are made of, as whole numbers; `Alignment.counts` keeps them.

    All but `largest_group` may be added over several texts; `rates` of the sums are the rates of the texts together.
    """
    sizes = content_sizes(alignment)
    both = _two_sided(alignment)
    kinds = np.bincount(kinds_of(sizes[both]), minlength=len(KINDS)).tolist()
    equal = alignment.equal_texts
    cuts = _boundaries(alignment, alignment.groups)
    truth = _boundaries(alignment, smallest_groups(alignment.student, alignment.teacher))
    return {
        "texts": 1,
        "bytes": alignment.student.n_bytes,
        "student_tokens": _content_count(alignment.student),
        "teacher_tokens": _content_count(alignment.teacher),
        "groups": int(both.sum()),
        **dict(zip(("1_1", "1_n", "n_1", "n_m"), kinds)),
        "covered_bytes": _covered(alignment, both),
        "matched_bytes": _covered(alignment, faces_equal(alignment)),
        "orphan_student": int(sizes[~both, 0].sum()),
        "orphan_teacher": int(sizes[~both, 1].sum()),
        "largest_group": int(sizes[both].max(initial=0)),
        "grouped_tokens": int(sizes[both].sum()),
        "equal_groups": int(equal.sum()),
        "equal_student_tokens": int(sizes[equal, 0].sum()),
        "boundaries": len(cuts) + len(truth),
        "common_boundaries": len(_common(cuts, truth)),
    }


def rates(counts: Mapping[str, int]) -> dict[str, float]:
    """The rates of `alignment_metrics` from counts of one text or sums over many."""
    groups = counts["groups"]
    return {
        "n_groups": groups,
        **{f"share_{kind}": ratio(counts[kind], groups) for kind in ("1_1", "1_n", "n_1", "n_m")},
        "student_tokens_1_1": ratio(counts["1_1"], counts["student_tokens"]),
        "teacher_tokens_1_1": ratio(counts["1_1"], counts["teacher_tokens"]),
        "byte_coverage": ratio(counts["covered_bytes"], counts["bytes"]),
        "byte_match_rate": ratio(counts["matched_bytes"], counts["bytes"]),
        "orphan_student": counts["orphan_student"],
        "orphan_teacher": counts["orphan_teacher"],
        "largest_group": counts["largest_group"],
        "mean_group_size": ratio(counts["grouped_tokens"] / 2, groups),
        "text_match_rate": ratio(counts["equal_groups"], groups),
        "student_text_match_rate": ratio(counts["equal_student_tokens"], counts["student_tokens"]),
        "boundary_f1": 2.0 * counts["common_boundaries"] / counts["boundaries"] if counts["boundaries"] else 1.0,
    }


def content_sizes(alignment: Alignment) -> NDArray[np.int64]:
    """int64 [G, 2]: student and teacher tokens of each group, special tokens not counted."""
    s, t = _content_before(alignment.student), _content_before(alignment.teacher)
    g = alignment.groups
    return np.stack([s[g[:, 1]] - s[g[:, 0]], t[g[:, 3]] - t[g[:, 2]]], axis=1)


def texts_equal(alignment: Alignment) -> NDArray[np.bool_]:
    """bool [G]: two-sided groups whose student tokens spell the same bytes as their teacher tokens, anew.

    `Alignment.equal_texts` keeps it. Special tokens spell nothing, nor does a blank that a tokenizer puts before a
    text.
    """
    groups = alignment.groups
    s_text, s_at = alignment.student.content_bytes
    t_text, t_at = alignment.teacher.content_bytes
    s_start, t_start = s_at[groups[:, 0]], t_at[groups[:, 2]]
    length = s_at[groups[:, 1]] - s_start
    equal = _two_sided(alignment) & (length == t_at[groups[:, 3]] - t_start)
    candidates = np.flatnonzero(equal & (length > 0))
    if len(candidates):
        size = length[candidates]
        first = np.cumsum(size) - size
        inside = np.arange(int(size.sum())) - np.repeat(first, size)
        same = (
            s_text[np.repeat(s_start[candidates], size) + inside]
            == t_text[np.repeat(t_start[candidates], size) + inside]
        )
        equal[candidates] = np.logical_and.reduceat(same, first)
    return equal


def faces_equal(alignment: Alignment) -> NDArray[np.bool_]:
    """bool [G]: two-sided groups whose sides spell the same bytes, and spell them at one place of the text.

    By chance a token may face the same word a few places on; that is no match.
    """
    return alignment.equal_texts & alignment.places.shared


def faces_other(alignment: Alignment) -> NDArray[np.bool_]:
    """bool [G]: two-sided groups whose sides don't spell the same bytes of the text: what is marked with a ≠."""
    return _two_sided(alignment) & ~faces_equal(alignment)


def agreement(a: Alignment, b: Alignment) -> Agreement:
    """Compare two alignments of the same two encodings.

    Stretches run between boundaries that both have; one differs when either alignment divides it further.
    Raises AlignmentError when they are of different texts or tokens.
    """
    check_same_text(a.student, b.student)
    for side in ("student", "teacher"):
        one, other = (x.ids[~x.special] for x in (getattr(a, side), getattr(b, side)))
        if not np.array_equal(one, other):
            raise AlignmentError(
                f"the two alignments have different {side} tokens ({getattr(a, side).tokenizer} and "
                f"{getattr(b, side).tokenizer}); only alignments of one pair of tokenizers can be compared."
            )
    cuts_a, cuts_b = _boundaries(a, a.groups), _boundaries(b, b.groups)
    s_at, t_at = np.flatnonzero(~a.student.special), np.flatnonzero(~a.teacher.special)
    n, m = len(s_at), len(t_at)
    common = _common(cuts_a, cuts_b)
    edges = np.concatenate([[0], common, [n * (m + 1) + m]])
    inner = np.searchsorted(cuts_a, edges), np.searchsorted(cuts_b, edges)
    # a boundary between two edges that isn't common divides the stretch on one side only
    more_a = inner[0][1:] - np.searchsorted(cuts_a, edges[:-1], side="right")
    more_b = inner[1][1:] - np.searchsorted(cuts_b, edges[:-1], side="right")
    differs = (more_a > 0) | (more_b > 0)
    s, t = edges // (m + 1), edges % (m + 1)
    ranges = np.stack([s[:-1], s[1:], t[:-1], t[1:]], axis=1)[differs]
    share = 1.0 - ratio((ranges[:, 1] - ranges[:, 0]).sum(), n) if n else float(not differs.any())
    return Agreement(_f1(cuts_a, cuts_b), share, _to_tokens(ranges, s_at, t_at))


def kind_counts(alignment: Alignment) -> dict[str, int]:
    """Number of groups of each kind that occurs."""
    counts = np.bincount(alignment.kind_codes, minlength=len(KINDS))
    return {name: int(counts[code]) for code, name in enumerate(KINDS) if counts[code]}


def group_table(alignment: Alignment) -> pd.DataFrame:
    """One row a group: group, kind, student_text, teacher_text, bytes, s0, s1, t0, t1, text_equal.

    `bytes` counts what the group covers of the text; texts are decoded for display, with U+FFFD for cut characters.
    """
    import pandas as pd

    groups = alignment.groups
    return pd.DataFrame(
        {
            "group": np.arange(len(groups)),
            "kind": [KINDS[code] for code in alignment.kind_codes],
            "student_text": [alignment.student_bytes(g).decode("utf-8", "replace") for g in range(len(groups))],
            "teacher_text": [alignment.teacher_bytes(g).decode("utf-8", "replace") for g in range(len(groups))],
            "bytes": hull_bytes(alignment),
            "s0": groups[:, 0],
            "s1": groups[:, 1],
            "t0": groups[:, 2],
            "t1": groups[:, 3],
            "text_equal": alignment.equal_texts,
        }
    )


def health(alignment: Alignment) -> Health:
    """The sentence a user should read first, and whether to worry, by one rule for texts of every length.

    ok    exact and fine: every byte of the text faces itself, in groups that can't be parted
    warn  exact but coarse: a group could be parted, or has more than 16 tokens on a side (a super-group); or exact, but
          bytes or tokens face nothing, or a normaliser spells a side differently
    bad   wrong: a byte faces another place of the text, or nothing faces anything
    """
    counts, found, uncovered = alignment.counts, alignment.places, _uncovered(alignment)
    rate = rates(counts)
    share, f1, largest = rate["byte_match_rate"], rate["boundary_f1"], counts["largest_group"]
    orphans = counts["orphan_student"] + counts["orphan_teacher"]
    other = int(alignment.unequal.sum())
    level, verdict = next(
        (level, word)
        for level, word, holds in (
            ("bad", "nothing faces anything", counts["bytes"] > 0 and not counts["groups"]),
            ("bad", "wrong", found.misplaced > 0),
            ("warn", "exact but coarse", found.divisible > 0 or largest > LARGE_GROUP),
            ("warn", "exact, with gaps", uncovered + orphans > 0),
            ("warn", "exact, spelt differently", other > 0),
            ("ok", "exact and fine", True),
        )
        if holds
    )
    parts = [
        f"{percent(share)} of bytes face equal bytes",
        f"boundary F1 {decimals(f1)}",
        f"largest group {counted(largest, 'token')}",
        counted(uncovered, "uncovered byte") if uncovered else "no uncovered bytes",
    ]
    if other:
        parts.append(f"{percent(ratio(other, counts['groups']))} of groups spell different bytes")
    if orphans:
        parts.append(f"{counted(orphans, 'token')} without a partner")
    return Health("; ".join(parts), level, verdict, share, f1, largest, uncovered, orphans)


def ratio(part: float, whole: float) -> float:
    """A part of a whole; 0 of nothing."""
    return float(part) / float(whole) if whole else 0.0


def _two_sided(alignment: Alignment) -> NDArray[np.bool_]:
    return np.asarray((content_sizes(alignment) > 0).all(axis=1))


def _content_count(encoding: Encoding) -> int:
    return int((~encoding.special).sum())


def _covered(alignment: Alignment, chosen: NDArray[np.bool_]) -> int:
    """Bytes of the text under student tokens of the chosen groups, each counted once."""
    groups, n = alignment.groups[chosen], len(alignment.student)
    steps = np.bincount(groups[:, 0], minlength=n + 1) - np.bincount(groups[:, 1], minlength=n + 1)
    spans = alignment.student.spans[np.cumsum(steps)[:-1] > 0]
    if not len(spans):
        return 0
    spans = spans[np.argsort(spans[:, 0], kind="stable")]
    reached = np.concatenate([[0], np.maximum.accumulate(spans[:, 1])[:-1]])
    return int(np.maximum(spans[:, 1] - np.maximum(spans[:, 0], reached), 0).sum())


def hull_bytes(alignment: Alignment) -> NDArray[np.int64]:
    """int64 [G]: bytes from the first to the last one that either side of a group covers."""
    low = np.full(len(alignment.groups), np.iinfo(np.int64).max)
    high = np.zeros(len(alignment.groups), dtype=np.int64)
    for encoding, column in ((alignment.student, 0), (alignment.teacher, 2)):
        start, end = alignment.groups[:, column], alignment.groups[:, column + 1]
        some = np.flatnonzero(end > start)
        if len(some):
            low[some] = np.minimum(low[some], encoding.spans[start[some], 0])
            high[some] = np.maximum(high[some], encoding.spans[end[some] - 1, 1])
    return np.maximum(high - low, 0)


def _uncovered(alignment: Alignment) -> int:
    """Bytes that at least one side leaves uncovered."""
    gaps = np.concatenate([alignment.student.uncovered, alignment.teacher.uncovered])
    if not len(gaps):
        return 0
    gaps = gaps[np.argsort(gaps[:, 0], kind="stable")]
    reached = np.concatenate([[0], np.maximum.accumulate(gaps[:, 1])[:-1]])
    return int(np.maximum(gaps[:, 1] - np.maximum(gaps[:, 0], reached), 0).sum())


def _boundaries(alignment: Alignment, groups: NDArray[np.int32]) -> NDArray[np.int64]:
    """Inner group boundaries as increasing numbers s * (m + 1) + t, in content tokens (special ones don't count)."""
    s_before, t_before = _content_before(alignment.student), _content_before(alignment.teacher)
    n, m = int(s_before[-1]), int(t_before[-1])
    cuts = s_before[groups[:-1, 1]] * (m + 1) + t_before[groups[:-1, 3]]
    return _distinct(cuts[(cuts > 0) & (cuts < n * (m + 1) + m)])  # groups of special tokens divide nothing


def _distinct(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each number once, increasing; groups in the order of the text need no sorting."""
    steps = np.diff(numbers)
    return np.unique(numbers) if (steps < 0).any() else numbers[np.concatenate([[True], steps > 0])[: len(numbers)]]


def _content_before(encoding: Encoding) -> NDArray[np.int64]:
    """int64 [n + 1]: content tokens before each position."""
    return np.concatenate([[0], np.cumsum(~encoding.special)])


def _common(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers in both of two increasing lists."""
    return a[np.append(b, -1)[np.searchsorted(b, a)] == a]


def _f1(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    if not len(a) and not len(b):
        return 1.0
    return 2.0 * len(_common(a, b)) / (len(a) + len(b))


def _to_tokens(ranges: NDArray[np.int64], s_at: NDArray[np.int64], t_at: NDArray[np.int64]) -> NDArray[np.int32]:
    """Ranges over content tokens as ranges over all tokens."""
    out = np.zeros((len(ranges), 4), dtype=np.int32)
    for column, at in ((0, s_at), (2, t_at)):
        after = np.concatenate([[0], at + 1])
        start, end = ranges[:, column], ranges[:, column + 1]
        out[:, column] = np.where(start < end, np.append(at, 0)[start], after[start])
        out[:, column + 1] = after[end]
    return out
