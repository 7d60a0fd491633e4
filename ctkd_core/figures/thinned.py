"""Fewer points where a figure has more than anybody could tell apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def thinned(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` of `count` positions, evenly spread, first and last among them; int64."""
    return np.arange(count) if count <= most else np.unique(np.linspace(0, count - 1, most).astype(np.int64))
