"""Span alignment (SeDi): tokens whose text overlaps belong together.

Nodes are tokens, edges join a student and a teacher token whose half-open spans intersect, groups are the connected
components. Spans are compared by UTF-8 bytes (exact inside characters that a tokenizer cuts) or by characters (the
paper). Source: Wang et al., AAAI-26, section 3. Differs: tokens without a partner are kept, as one-sided groups.
"""

from __future__ import annotations

from ctkd_core.alignment.base import Alignment
from ctkd_core.alignment.components import check_same_text, coverage_notes, span_groups
from ctkd_core.errors import AlignmentError, unknown
from ctkd_core.tokenizers.encoding import Encoding

UNITS = ("byte", "char")
EMPTY_SPANS = ("apart", "touch")


def sedi(
    student: Encoding, teacher: Encoding, *, variant: str = "clean", unit: str = "byte", empty_spans: str = "apart"
) -> Alignment:
    """Connected components of span overlap.

    Special tokens are in no group; every other token is in exactly one; groups are in text order.

    empty_spans  "apart": a token that covers nothing overlaps nothing; it gets a one-sided group, except between two
                 tokens of one group, which it joins. "touch": at p it overlaps a token over [a, b) when a <= p < b, as
                 in the released program

    Raises AlignmentError when the encodings are of different texts, or for an unknown `unit` or `empty_spans`.
    """
    for name, value, known in (("unit", unit, UNITS), ("empty_spans", empty_spans, EMPTY_SPANS)):
        if value not in known:
            raise unknown(f"value of {name!r}", value, known, AlignmentError)
    check_same_text(student, teacher)
    groups = span_groups(student, teacher, unit, empty_spans == "touch")
    return Alignment(
        student=student,
        teacher=teacher,
        method="sedi",
        groups=groups,
        variant=variant,
        options={"unit": unit, "empty_spans": empty_spans},
        notes=coverage_notes(student, teacher),
    )
