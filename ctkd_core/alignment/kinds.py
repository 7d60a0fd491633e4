"""Kinds of groups by how many tokens each side has, and how each kind looks wherever groups are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.markup.colours import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY

# Kind of a group, student side first: keys of files and JSON. One-sided groups hold tokens that face nothing.
# People read `KindStyle.name`: the teacher stands above the student wherever groups are drawn, so that "1-n" alone
# would be read the wrong way round.
KINDS = ("1-1", "1-n", "n-1", "n-m", "student-only", "teacher-only")


@dataclass(frozen=True)
class KindStyle:
    """How one kind of group looks: colour, CSS border style, hatch of bars, letter, its name for people, its meaning.

    Colour is never the only mark.
    """

    colour: str
    border: str
    pattern: str
    letter: str
    name: str
    meaning: str


KIND_STYLES: dict[str, KindStyle] = dict(
    zip(
        KINDS,
        (
            KindStyle(GREY, "solid", "", "", "1 student : 1 teacher", "one student token, one teacher token"),
            KindStyle(BLUE, "dotted", "/", "n", "1 student : n teacher", "one student token, several teacher tokens"),
            KindStyle(
                ORANGE, "dashed", "\\", "n", "n student : 1 teacher", "several student tokens, one teacher token"
            ),
            KindStyle(PURPLE, "double", "x", "m", "n student : m teacher", "several tokens on both sides"),
            KindStyle(GREEN, "dashed", ".", "s", "student alone", "student tokens that face nothing"),
            KindStyle(SKY, "dashed", "+", "t", "teacher alone", "teacher tokens that face nothing"),
        ),
        strict=True,
    )
)
# The mark of a two-sided group whose sides don't spell the same bytes of the text, whatever its kind; a hatch goes
# with it.
UNEQUAL, UNEQUAL_MEANING = "≠", "the two sides spell different bytes"


def kinds_of(sizes: NDArray[Any]) -> NDArray[np.int8]:
    """int8 [G]: index into KINDS of groups with these sizes [G, 2]; one with no token at all counts as student only."""
    s, t = sizes[:, 0], sizes[:, 1]
    return np.select([t == 0, s == 0, (s == 1) & (t == 1), s == 1, t == 1], [4, 5, 0, 1, 2], default=3).astype(np.int8)
