"""MinED: dynamic time warping with plain edit distance, and which of its pairs a loss may copy.

D(i, j) = Lev(s_i, t_j) + min(D(i-1, j-1), D(i, j-1), D(i-1, j)), no weights. Source: FuseLLM (Wan et al., ICLR 2024,
arXiv 2401.10491) and its released code; DSKD's baseline searches the same path, FuseChat breaks ties the other way.
Differs (variant "clean"): strings are compared as text rather than as vocabularies spell them, groups are the connected
components of the path, and a pair counts as usable only where both sides have read the text up to the same byte.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctkd_core.alignment.base import Alignment
from ctkd_core.alignment.components import check_same_text, coverage_notes
from ctkd_core.alignment.costs import TokenCosts, content_strings, token_costs
from ctkd_core.alignment.dtw import positions, search_notes, warp
from ctkd_core.alignment.surface import DtwSurface
from ctkd_core.errors import AlignmentError, unknown
from ctkd_core.tokenizers.encoding import Encoding

# Which way equal costs go after the diagonal: FuseLLM and DSKD drop a teacher token first, FuseChat a student token.
TIES = ("teacher", "student")
# When a teacher row may be copied: equal strings; these or the map says so (FuseLLM); the map says so (DSKD).
ACCEPTANCE = ("hard", "soft", "map")


def mined(
    student: Encoding,
    teacher: Encoding,
    *,
    variant: str = "clean",
    ties: str = "teacher",
    same_end: bool = True,
    window: int = 0,
) -> Alignment:
    """Unweighted DTW over the tokens that aren't special.

    ties      "teacher" (FuseLLM, DSKD) or "student" (FuseChat)
    same_end  a usable pair must end at the same byte on both sides (variant "released" never asks that)
    window    longest stretch in tokens searched at once; 0: the whole text up to 4,096 x 4,096 cells

    `pairs` holds the path, `groups` its connected components, `cost` the surface; `flags` says which groups are one
    token against one usable token. Raises AlignmentError for two different texts or an unknown `ties`.
    """
    if ties not in TIES:
        raise unknown("value of 'ties'", ties, TIES, AlignmentError)
    check_same_text(student, teacher)
    released = variant == "released"
    costs = _costs(student, teacher, released)
    blocks, groups, pairs = warp(student, teacher, costs, window, ties)
    usable = _usable(pairs, costs, None if released or not same_end else (student.spans, teacher.spans))
    one_to_one = (groups[:, 1] - groups[:, 0] == 1) & (groups[:, 3] - groups[:, 2] == 1)
    flags = one_to_one & (np.append(usable, -1)[groups[:, 0]] == groups[:, 2])
    notes = [*coverage_notes(student, teacher), *search_notes(blocks), _usable_note(usable, student)]
    if released:
        notes.append(
            "Every byte is compared as one character, as in byte-level vocabularies; the released program compares the "
            "vocabulary's own strings."
        )
    return Alignment(
        student=student,
        teacher=teacher,
        method="mined",
        groups=groups,
        pairs=pairs,
        cost=DtwSurface(costs, blocks, positions(student), positions(teacher), unit="edits", ties=ties),
        variant=variant,
        options={"ties": ties, "same_end": same_end, "window": window},
        notes=tuple(notes),
        flags=flags,
    )


def usable_rows(
    alignment: Alignment, accept: str = "hard", teacher_to_student: NDArray[np.int64] | None = None
) -> NDArray[np.int32]:
    """int32 [student tokens]: the teacher token whose row a student token may copy, -1 where none.

    A student token needs exactly one partner on the path, and that partner its string ("hard"), or its string or its
    id through the map ("soft", FuseLLM), or its id through the map ("map", DSKD). teacher_to_student int [Vt]: student
    id of each teacher id, -1 without one. The alignment's `same_end` holds here too.

    Raises AlignmentError for an alignment without pairs, an unknown `accept`, or a map that is missing or too short.
    """
    if accept not in ACCEPTANCE:
        raise unknown("value of 'accept'", accept, ACCEPTANCE, AlignmentError)
    if alignment.pairs is None:
        raise AlignmentError(f"an alignment by {alignment.method!r} has no pairs; use one by 'mined'.")
    released = alignment.variant == "released"
    costs = _costs(alignment.student, alignment.teacher, released)
    spans = None
    if alignment.options.get("same_end", True) and not released:
        spans = alignment.student.spans, alignment.teacher.spans
    equal = _usable(alignment.pairs, costs, spans)
    if accept == "hard":
        return equal
    if not len(alignment.teacher):
        return np.full(len(alignment.student), -1, dtype=np.int32)
    mapped = np.asarray([] if teacher_to_student is None else teacher_to_student)
    teacher_ids = alignment.teacher.ids
    if len(mapped) <= int(teacher_ids.max()):
        raise AlignmentError(
            f"accept={accept!r} needs teacher_to_student with an entry for every teacher id, up to "
            f"{int(teacher_ids.max())}; got {len(mapped)} entries."
        )
    partner = _usable(alignment.pairs, None, spans, len(alignment.student))
    hit = (partner >= 0) & (mapped[teacher_ids[partner]] == alignment.student.ids)
    return np.where(hit, partner, equal if accept == "soft" else np.int32(-1)).astype(np.int32)


def _costs(student: Encoding, teacher: Encoding, released: bool) -> TokenCosts:
    s, t = (_byte_strings(x) if released else content_strings(x) for x in (student, teacher))
    return token_costs(s, t, np.ones(len(student)), np.ones(len(teacher)))


def _byte_strings(encoding: Encoding) -> list[str]:
    """One character a byte, blanks deleted."""
    return [piece.decode("latin-1").replace(" ", "") for piece in encoding.token_bytes]


def _usable(
    pairs: NDArray[np.int32],
    costs: TokenCosts | None,
    spans: tuple[NDArray[np.int64], NDArray[np.int64]] | None,
    count: int = 0,
) -> NDArray[np.int32]:
    """int32 [n]: the only partner of each student token where it has one of equal string and end, else -1.

    costs None: any string will do (then `count` is n); spans None: any end will do.
    """
    n = count if costs is None else len(costs.student_codes)
    out = np.full(n, -1, dtype=np.int32)
    s, t = pairs[np.bincount(pairs[:, 0], minlength=n)[pairs[:, 0]] == 1].T
    kept = np.ones(len(s), dtype=np.bool_)
    if spans is not None:
        kept &= spans[0][s, 1] == spans[1][t, 1]
    if costs is not None:
        kept &= _equal_strings(costs, s, t)
    out[s[kept]] = t[kept]
    return out


def _equal_strings(costs: TokenCosts, s: NDArray[np.int32], t: NDArray[np.int32]) -> NDArray[np.bool_]:
    number = {string: k for k, string in enumerate(costs.student_strings)}
    known = np.array([number.get(string, -1) for string in costs.teacher_strings], dtype=np.int64)
    return costs.student_codes[s] == known[costs.teacher_codes[t]]


def _usable_note(usable: NDArray[np.int32], student: Encoding) -> str:
    content = int((~student.special).sum())
    return (
        f"{int((usable >= 0).sum())} of {content} student tokens face one teacher token of the same string: there the "
        "loss copies the teacher's distribution, elsewhere it learns the text's own next token."
    )
