"""X-Token's dynamic program: equal tokens, and one token over the pieces of the other side that spell it.

D(i, j) is the best of: 3 for equal canonical strings (-3 for unequal ones), 1.5 k for one token that k tokens of the
other side spell together (2 <= k <= 4), -1.5 for a token that faces nothing; ties go to the diagonal, then to a student
token without partner, then to a teacher token; spans win only when they are strictly better. 3-grams that occur once on
either side pin the path, and what does not agree is repaired afterwards.
Source: X-Token, arXiv 2605.21699; NVIDIA NeMo-RL before its aligner read offsets (methods page: "Paper and code").
Differs (variant "clean"): special tokens take no part, canonical strings are made from bytes, pins begin at the same
byte on both sides, groups whose bytes agree count as correct, and the blank that a tokenizer puts before a text is no
part of its first token.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ctkd_core.alignment.base import Alignment
from ctkd_core.alignment.components import check_same_text, content_positions, coverage_notes, to_positions
from ctkd_core.alignment.notes import cut_notes, flag_notes, two_sided
from ctkd_core.alignment.repair import repaired
from ctkd_core.alignment.spellings import MAX_SPAN, Spellings, agreement, span_pairs
from ctkd_core.tokenizers.canonical import canonical_bytes
from ctkd_core.tokenizers.encoding import Encoding


def xtoken(
    student: Encoding,
    teacher: Encoding,
    *,
    variant: str = "clean",
    max_span: int = MAX_SPAN,
    anchors: bool = True,
    repair: bool = True,
) -> Alignment:
    """Groups of the dynamic program over canonical token strings, and for each whether its sides agree (`flags`).

    max_span  most tokens that one token of the other side may face
    anchors   pin the path where a 3-gram is unique on both sides
    repair    fuse runs of groups that do not agree, and search small windows whose texts agree once more

    Stretches without anchors that have over 4,096 x 4,096 cells are cut at common byte boundaries. Raises
    AlignmentError for two different texts, or when a stretch without common boundaries is too long to search.
    """
    check_same_text(student, teacher)
    if variant == "released":
        from ctkd_core.alignment.released import xtoken as released

        return released.xtoken(student, teacher, max_span=max_span, anchors=anchors, repair=repair)
    s_at, t_at = content_positions(student), content_positions(teacher)
    s_raw, t_raw = _raw(student, s_at), _raw(teacher, t_at)
    compared = _canonical(s_raw), _canonical(t_raw)
    spans = _spans(student, s_at), _spans(teacher, t_at)
    pairs, cuts = span_pairs(*compared, max_span, anchors, spans)
    judged = (compared, (Spellings.of(s_raw), Spellings.of(t_raw)))
    if repair:
        pairs = repaired(pairs, compared, judged, max_span)
    groups = to_positions(pairs, s_at, t_at)
    flags = agreement(_content(groups, (s_at, t_at)), judged) & two_sided(groups)
    return Alignment(
        student=student,
        teacher=teacher,
        method="xtoken",
        groups=groups,
        variant=variant,
        options={"max_span": max_span, "anchors": anchors, "repair": repair},
        notes=(*coverage_notes(student, teacher), *cut_notes(cuts), *flag_notes(groups, flags)),
        flags=flags,
    )


def _raw(encoding: Encoding, at: NDArray[np.int64] | None) -> list[bytes]:
    """Bytes of the tokens at these positions, without the blank that stands before the text but not in it."""
    raw = encoding.bytes_in_text
    return list(raw) if at is None else [raw[k] for k in at.tolist()]


def _canonical(raw: Sequence[bytes]) -> Spellings:
    forms = {x: canonical_bytes(x).encode("utf-8", "surrogateescape") for x in set(raw)}
    return Spellings.of([forms[x] for x in raw])


def _spans(encoding: Encoding, at: NDArray[np.int64] | None) -> NDArray[np.int64]:
    return encoding.spans if at is None else encoding.spans[at]


def _content(groups: NDArray[np.int32], at: Sequence[NDArray[np.int64] | None]) -> NDArray[np.int32]:
    """Groups over all tokens -> groups over content tokens (int32 [G, 4] both)."""
    out = groups.copy()
    for side, positions in enumerate(at):
        if positions is not None:
            columns = slice(2 * side, 2 * side + 2)
            out[:, columns] = np.searchsorted(positions, groups[:, columns])
    return out
