"""Connected components of span overlap, and what every aligner does around its groups."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ctkd_core.errors import AlignmentError
from ctkd_core.tokenizers.encoding import Encoding

_SMALLEST: WeakKeyDictionary[Encoding, WeakKeyDictionary[Encoding, NDArray[np.int32]]] = WeakKeyDictionary()


def check_same_text(student: Encoding, teacher: Encoding) -> None:
    """Raise AlignmentError unless both encodings are of one text."""
    if student.text != teacher.text:
        at = next((k for k, (a, b) in enumerate(zip(student.text, teacher.text)) if a != b), None)
        where = f"from character {at} on" if at is not None else "in length"
        raise AlignmentError(
            f"student and teacher must encode one text; theirs differ {where} "
            f"({len(student.text)} and {len(teacher.text)} characters). Encode the same string with both tokenizers."
        )


def span_groups(
    student: Encoding, teacher: Encoding, unit: str = "byte", empty_touch: bool = False
) -> NDArray[np.int32]:
    """Groups int32 [G, 4] in token positions of the whole encodings (special tokens in no group)."""
    s_at, t_at = content_positions(student), content_positions(teacher)
    s = student.spans if unit == "byte" else student.char_spans
    t = teacher.spans if unit == "byte" else teacher.char_spans
    groups = component_ranges(s if s_at is None else s[s_at], t if t_at is None else t[t_at], empty_touch)
    return to_positions(groups, s_at, t_at)


def smallest_groups(student: Encoding, teacher: Encoding) -> NDArray[np.int32]:
    """`span_groups` by bytes, the truth that every method is measured against; kept for as long as both live.

    Every method on one text, and every figure about it, asks for the same ones.
    """
    of_student = _SMALLEST.setdefault(student, WeakKeyDictionary())
    found = of_student.get(teacher)
    if found is None:
        found = of_student[teacher] = span_groups(student, teacher, "byte")
        found.flags.writeable = False
    return found


def component_ranges(
    student_spans: NDArray[np.int64], teacher_spans: NDArray[np.int64], empty_touch: bool = False
) -> NDArray[np.int32]:
    """Contiguous groups int32 [G, 4] of two span lists int64 [n, 2], [m, 2].

    empty_touch: an empty span at p overlaps [a, b) when a <= p < b; else it overlaps nothing.

    One pass for tilings (gaps allowed). Else union-find over the open spans, exact for nested, repeated and empty
    spans too; where components interleave, which only empty or unsorted spans can do, the group is their hull.
    """
    from ctkd_core.alignment.kernels import spans as kernels

    s, t = _as_spans(student_spans), _as_spans(teacher_spans)
    out = np.empty((len(s) + len(t), 4), dtype=np.int32)
    count = kernels.sweep_tilings(s, t, out)
    if count >= 0:
        return out[:count]
    _check_ends(s, "student")
    _check_ends(t, "teacher")
    labels = kernels.overlap_labels(s, t, _by_start(s), _by_start(t), empty_touch)
    return out[: kernels.ranges_of_labels(labels, s, t, out)]


def components(
    student_spans: NDArray[np.int64], teacher_spans: NDArray[np.int64], empty_touch: bool = False
) -> list[tuple[list[int], list[int]]]:
    """Connected components as lists (student tokens, teacher tokens), in text order.

    The exact graph: unlike `component_ranges`, a component need not be contiguous (a token with an empty span is
    alone unless `empty_touch`).
    """
    from ctkd_core.alignment.kernels import spans as kernels

    s, t = _as_spans(student_spans), _as_spans(teacher_spans)
    _check_ends(s, "student")
    _check_ends(t, "teacher")
    labels = kernels.overlap_labels(s, t, _by_start(s), _by_start(t), empty_touch)
    found: dict[int, tuple[list[int], list[int]]] = {}
    n = len(s)
    for node, label in enumerate(labels.tolist()):
        sides = found.setdefault(label, ([], []))
        sides[node >= n].append(node - n if node >= n else node)

    def place(sides: tuple[list[int], list[int]]) -> tuple[int, int, int]:
        spans = [s[i] for i in sides[0]] + [t[j] for j in sides[1]]
        return min(int(x[0]) for x in spans), min(int(x[1]) for x in spans), 0 if sides[0] else 1

    return sorted(found.values(), key=place)


def coverage_notes(student: Encoding, teacher: Encoding) -> tuple[str, ...]:
    """A sentence for each side that leaves bytes of the text uncovered or reads some as special tokens."""
    notes = []
    for side, encoding in (("student", student), ("teacher", teacher)):
        gaps = encoding.uncovered
        if len(gaps):
            count, start = int((gaps[:, 1] - gaps[:, 0]).sum()), int(gaps[0, 0])
            notes.append(
                f"The {side} tokenizer ({encoding.tokenizer}) covers no token on {count} of {encoding.n_bytes} bytes, "
                f"first at byte {start}."
            )
        written = np.flatnonzero(encoding.special & (encoding.spans[:, 1] > encoding.spans[:, 0]))
        if len(written):
            notes.append(
                f"The {side} tokenizer ({encoding.tokenizer}) reads text as special tokens in {len(written)} places "
                f"(first: token {int(written[0])}); no group holds them."
            )
    return tuple(notes)


def content_positions(encoding: Encoding) -> NDArray[np.int64] | None:
    """Positions of the tokens that aren't special, or None when no token is."""
    return np.flatnonzero(~encoding.special) if encoding.special.any() else None


def to_positions(
    groups: NDArray[np.int32], student_at: NDArray[np.int64] | None, teacher_at: NDArray[np.int64] | None
) -> NDArray[np.int32]:
    """Groups over content tokens -> groups over all tokens; a group with a special token inside is split there."""
    if student_at is None and teacher_at is None:
        return groups
    s_at = _identity(groups, 1) if student_at is None else student_at
    t_at = _identity(groups, 3) if teacher_at is None else teacher_at
    moved = np.concatenate([_moved(groups[:, :2], s_at), _moved(groups[:, 2:], t_at)], axis=1)
    holed = (moved[:, 1] - moved[:, 0] != groups[:, 1] - groups[:, 0]) | (
        moved[:, 3] - moved[:, 2] != groups[:, 3] - groups[:, 2]
    )
    if not holed.any():
        return moved
    parts, done = [], 0
    for g in np.flatnonzero(holed).tolist():
        s_runs = _runs(s_at[groups[g, 0] : groups[g, 1]])
        t_runs = _runs(t_at[groups[g, 2] : groups[g, 3]])
        parts += [moved[done:g], np.asarray(_paired(s_runs, t_runs, moved[g]), dtype=np.int32)]
        done = g + 1
    return np.concatenate([*parts, moved[done:]])


def _identity(groups: NDArray[np.int32], column: int) -> NDArray[np.int64]:
    return np.arange(groups[-1, column] if len(groups) else 0)


def _moved(ranges: NDArray[np.int32], at: NDArray[np.int64]) -> NDArray[np.int32]:
    """Ranges over `at` -> ranges over the positions it holds; an empty range follows the token before it."""
    after = np.concatenate([[0], at + 1])  # one past token k - 1
    start = np.where(ranges[:, 0] < ranges[:, 1], np.append(at, 0)[ranges[:, 0]], after[ranges[:, 0]])
    return np.stack([start, after[ranges[:, 1]]], axis=1).astype(np.int32)


def _runs(positions: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Maximal half-open runs of consecutive positions."""
    if not len(positions):
        return []
    cuts = np.flatnonzero(np.diff(positions) != 1) + 1
    return [(int(run[0]), int(run[-1]) + 1) for run in np.split(positions, cuts)]


def _paired(s_runs: list[tuple[int, int]], t_runs: list[tuple[int, int]], whole: NDArray[np.int32]) -> list[list[int]]:
    """The k-th runs of both sides face each other; runs that one side lacks become one-sided."""
    rows = []
    s_here, t_here = int(whole[0]), int(whole[2])
    for k in range(max(len(s_runs), len(t_runs))):
        s0, s_here = s_runs[k] if k < len(s_runs) else (s_here, s_here)
        t0, t_here = t_runs[k] if k < len(t_runs) else (t_here, t_here)
        rows.append([s0, s_here, t0, t_here])
    return rows


def _as_spans(spans: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.ascontiguousarray(spans, dtype=np.int64).reshape(-1, 2)


def _check_ends(spans: NDArray[np.int64], side: str) -> None:
    wrong = np.flatnonzero(spans[:, 1] < spans[:, 0])
    if len(wrong):
        k = int(wrong[0])
        raise AlignmentError(
            f"{side} token {k} has the span {spans[k].tolist()}; a span must not end before it starts."
        )


def _by_start(spans: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tokens by increasing start; equal starts keep their order."""
    starts = spans[:, 0]
    if (starts[1:] >= starts[:-1]).all():
        return np.arange(len(spans))
    return np.argsort(starts, kind="stable")
