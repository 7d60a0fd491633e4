"""Kinds of groups by how many tokens each side has, and how each kind looks wherever groups are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.markup.colours import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY

# Kind of a group, student side first. One-sided groups hold tokens that face nothing.
KINDS = ("1-1", "1-n", "n-1", "n-m", "student-only", "teacher-only")


@dataclass(frozen=True)
class KindStyle:
    """How one kind of group looks: colour, CSS border style, hatch of bars, letter, and what it means.

    Colour is never the only mark.
    """

    colour: str
    border: str
    pattern: str
    letter: str
    meaning: str


KIND_STYLES: dict[str, KindStyle] = dict(
    zip(
        KINDS,
        (
            KindStyle(GREY, "solid", "", "", "one student token, one teacher token"),
            KindStyle(BLUE, "dotted", "/", "n", "one student token, several teacher tokens"),
            KindStyle(ORANGE, "dashed", "\\", "n", "several student tokens, one teacher token"),
            KindStyle(PURPLE, "double", "x", "m", "several tokens on both sides"),
            KindStyle(GREEN, "dashed", ".", "s", "student tokens that face nothing"),
            KindStyle(SKY, "dashed", "+", "t", "teacher tokens that face nothing"),
        ),
        strict=True,
    )
)


def kinds_of(sizes: NDArray[Any]) -> NDArray[np.int8]:
    """int8 [G]: index into KINDS of groups with these sizes [G, 2]; one with no token at all counts as student only."""
    s, t = sizes[:, 0], sizes[:, 1]
    return np.select([t == 0, s == 0, (s == 1) & (t == 1), s == 1, t == 1], [4, 5, 0, 1, 2], default=3).astype(np.int8)
