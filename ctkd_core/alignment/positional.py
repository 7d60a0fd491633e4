"""Positional pairing (ULD): the i-th student token faces the i-th teacher token, whatever they say."""

from __future__ import annotations

import numpy as np

from ctkd_core.alignment.base import Alignment
from ctkd_core.alignment.components import check_same_text, content_positions
from ctkd_core.tokenizers.encoding import Encoding


def uld(student: Encoding, teacher: Encoding, *, variant: str = "clean") -> Alignment:
    """Pairs (i, i) over the tokens that aren't special; each token of the longer side's tail is a one-sided group.

    Source: Boizard et al., arXiv 2402.12030 (both answers start at index 0, the longer is cut to the shorter).
    Differs: the part that is cut off is kept, as one-sided groups. Raises AlignmentError for two different texts.
    """
    check_same_text(student, teacher)
    s_at, t_at = content_positions(student), content_positions(teacher)
    s = np.arange(len(student)) if s_at is None else s_at
    t = np.arange(len(teacher)) if t_at is None else t_at
    both, longest = min(len(s), len(t)), max(len(s), len(t))
    groups = np.zeros((longest, 4), dtype=np.int32)
    groups[: len(s), 0], groups[: len(s), 1] = s, s + 1
    groups[: len(t), 2], groups[: len(t), 3] = t, t + 1
    # the side that has ended stays at one past its last token
    groups[len(s) :, :2] = s[-1] + 1 if len(s) else 0
    groups[len(t) :, 2:] = t[-1] + 1 if len(t) else 0
    notes: tuple[str, ...] = ()
    if both < longest:
        side = "student" if len(s) > len(t) else "teacher"
        notes = (f"The last {longest - both} {side} tokens face nothing: the other side has only {both}.",)
    return Alignment(
        student=student,
        teacher=teacher,
        method="uld",
        groups=groups,
        pairs=np.stack([s[:both], t[:both]], axis=1).astype(np.int32),
        variant=variant,
        notes=notes,
    )
