"""Kinds of groups by how many tokens each side has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    pass


# Kind of a group, student side first. One-sided groups hold tokens that face nothing.
KINDS = ("1-1", "1-n", "n-1", "n-m", "student-only", "teacher-only")


def kinds_of(sizes: NDArray[Any]) -> NDArray[np.int8]:
    """int8 [G]: index into KINDS of groups with these sizes [G, 2]; one with no token at all counts as student only."""
    s, t = sizes[:, 0], sizes[:, 1]
    return np.select([t == 0, s == 0, (s == 1) & (t == 1), s == 1, t == 1], [4, 5, 0, 1, 2], default=3).astype(np.int8)
