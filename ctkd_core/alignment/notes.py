"""Sentences that X-Token alignments carry, clean and released."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def two_sided(groups: NDArray[np.int32]) -> NDArray[np.bool_]:
    """bool [G]: whether both sides of each group hold tokens."""
    return (groups[:, 0] < groups[:, 1]) & (groups[:, 2] < groups[:, 3])


def flag_notes(groups: NDArray[np.int32], flags: NDArray[np.bool_]) -> tuple[str, ...]:
    """A sentence on the groups whose two sides do not spell the same."""
    both = two_sided(groups)
    wrong = int((both & ~flags).sum())
    if not wrong:
        return ()
    return (
        f"{wrong} of {int(both.sum())} two-sided groups are flagged incorrect: their sides spell different text. The "
        "method trains on them all the same unless it is told to use exact matches only.",
    )


def cut_notes(cuts: int) -> tuple[str, ...]:
    """A sentence on the cuts of a text without anchors."""
    if not cuts:
        return ()
    return (
        f"Stretches without unique 3-grams were too long for one search and were cut at {cuts} byte boundaries common "
        "to both tokenizers; the path is bound to pass through those.",
    )
