"""What a comparison with another program is: two calls on the same inputs, and how their answers are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

VALUE, GRADIENT = (
    1e-4,
    1e-2,
)  # relative differences that still count as equal; sorted losses have ties, hence the second


@dataclass(frozen=True)
class Sides:
    """One call of ours and one of the peer's; `differences` takes what both return and says how far apart they are.

    It returns names and relative differences; ALLOWED says up to where they count as none. `clear` drops the gradients
    that a call left, which the next one would replace.
    """

    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    differences: Callable[[Any, Any], Mapping[str, float]]
    clear: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Comparison:
    """A row of the table.

    name   what is computed; kind "loss", "alignment" or "transport"
    peer   by whom, as the table says it
    needs  key in `_installed.PEERS`, "" for plain forms that need nothing
    sizes  names that `make` knows, the largest last
    make   Sides of one size
    memory sizes at which extra memory is measured too
    setting  environment of the process
    note   what isn't the same on both sides
    """

    name: str
    kind: str
    peer: str
    needs: str
    sizes: tuple[str, ...]
    make: Callable[[str], Sides]
    memory: tuple[str, ...] = ()
    setting: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


ALLOWED = {"value": VALUE, "gradient": GRADIENT, "groups": 0.0, "path": 0.0}


def agrees(differences: Mapping[str, float]) -> bool:
    """Whether all differences are allowed."""
    return all(value <= ALLOWED[name] for name, value in differences.items())
