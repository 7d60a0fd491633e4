"""Exposure bias: how much further a student is from its teacher behind its own words than behind the teacher's.

ExAccErr of Arora et al. 2022 (arXiv 2204.01171): with e(t) the mean KL(teacher || student) at place t of a text that
the teacher wrote, and r(t) the same on a text that the student wrote,

    ExAccErr(l) = 100 * (sum of r(t) over t <= l - sum of e(t)) / sum of e(t)      in percent

0: its own words don't lead it astray; 100: its error behind them is twice as large. Their KL is over one vocabulary;
ours is over next bytes (`agreement`), and the places are the boundaries that both tokenizers have in common. A text
counts up to its end; a length has a figure as long as half of the texts of both kinds are that long.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LENGTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
FEWEST = 4  # texts of a mean
FEW_TEXTS = (
    f"no figure: it takes {FEWEST} texts of a common length by the student and as many by the teacher, and places "
    "where they differ."
)


def excess_errors(
    own: Sequence[NDArray[np.float64]],
    forced: Sequence[NDArray[np.float64]],
    lengths: Sequence[int] = LENGTHS,
) -> dict[str, float]:
    """ExAccErr in percent by length; {} where no length has enough texts, or the teacher-forced error is 0.

    own, forced  KL at each place of each text that the student, or the teacher, wrote
    """
    (regret, own_texts), (error, forced_texts) = _means(own), _means(forced)
    longest = min(len(regret), len(error))
    found = {}
    for length in lengths:
        if length > longest:
            break
        if not (_enough(own_texts[length - 1], len(own)) and _enough(forced_texts[length - 1], len(forced))):
            break
        base = float(error[:length].sum())
        if base > 0:
            found[str(length)] = 100 * (float(regret[:length].sum()) - base) / base
    return found


def _means(texts: Sequence[NDArray[np.float64]]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Mean over the texts that are so long, [l], and how many these are, int64 [l]."""
    longest = max((len(text) for text in texts), default=0)
    sums, counts = np.zeros(longest), np.zeros(longest, dtype=np.int64)
    for text in texts:
        sums[: len(text)] += text
        counts[: len(text)] += 1
    return sums / np.maximum(counts, 1), counts


def _enough(reached: int, texts: int) -> bool:
    return reached >= FEWEST and 2 * reached >= texts
