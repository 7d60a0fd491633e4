"""Alignments of one text under two tokenizers."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from ctkd_core import methods
from ctkd_core.alignment.base import Alignment, CostSurface
from ctkd_core.alignment.kinds import KINDS
from ctkd_core.errors import AlignmentError

if TYPE_CHECKING:
    from ctkd_core.tokenizers.encoding import Encoding
    from ctkd_core.tokenizers.tokenizer import Tokenizer

__all__ = ["KINDS", "Alignment", "CostSurface", "align", "align_encodings"]


def align(
    text: str,
    *,
    student: Tokenizer,
    teacher: Tokenizer,
    method: str = "sedi",
    variant: str = "clean",
    special_tokens: bool = False,
    student_entropy: Any = None,
    teacher_entropy: Any = None,
    teacher_space_probability: Any = None,
    **options: Any,
) -> Alignment:
    """Align `text` under two tokenizers: what `load_tokenizer` gives, or fast tokenizers of transformers.

    `student_entropy`, `teacher_entropy`: optional float [n] in nats, one per token, for methods that weight by it
    (methods without such weights ignore them). `teacher_space_probability`: optional float [n], the probability by the
    teacher that what follows each of its tokens begins with a space or the like (`alm.log_space_probability`), for
    methods that merge by it. Without `special_tokens` neither side gets BOS, EOS and the like.

    Raises AlignmentError for an unknown method, variant or option, TokenizerError for a slow tokenizer.
    """
    from ctkd_core.tokenizers.load import as_pair

    if not isinstance(text, str):
        raise AlignmentError(f"the text must be a str; got {type(text).__name__}. Decode bytes first.")
    student, teacher = as_pair(student, teacher)
    _chosen(method, variant, options)  # before the text is encoded, which takes longer
    return align_encodings(
        student.encode(text, special_tokens=special_tokens),
        teacher.encode(text, special_tokens=special_tokens),
        method=method,
        variant=variant,
        student_entropy=student_entropy,
        teacher_entropy=teacher_entropy,
        teacher_space_probability=teacher_space_probability,
        **options,
    )


def align_encodings(
    student: Encoding,
    teacher: Encoding,
    *,
    method: str = "sedi",
    variant: str = "clean",
    student_entropy: Any = None,
    teacher_entropy: Any = None,
    teacher_space_probability: Any = None,
    **options: Any,
) -> Alignment:
    """`align` of a text that both tokenizers have encoded already: several methods on one text encode it once.

    Raises AlignmentError for an unknown method, variant or option, and for encodings of two texts.
    """
    aligner, inputs, resolved = _chosen(method, variant, options)
    if "entropy" in inputs:
        resolved |= {"student_entropy": student_entropy, "teacher_entropy": teacher_entropy}
    if "space_probability" in inputs:
        resolved |= {"teacher_space_probability": teacher_space_probability}
    return methods.load(aligner)(student, teacher, variant=variant, **resolved)


def _chosen(method: str, variant: str, options: dict[str, Any]) -> tuple[str, Collection[str], dict[str, Any]]:
    """Where the aligner is, what it can weigh by, and its options with their defaults."""
    row = methods.aligner(method, AlignmentError)
    row.check_variant(variant, AlignmentError)
    return row.aligner or "", row.aligner_inputs, dict(row.resolve_align(options, AlignmentError, variant))
