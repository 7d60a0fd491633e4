"""A key for caches of what is made of a vocabulary map: scipy matrices can't be hashed, so the object itself counts."""

from __future__ import annotations

from typing import Any


class SameObject:
    """Equal to another one only if both hold the very same object, which it keeps alive; changes inside go unseen."""

    def __init__(self, value: Any):
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SameObject) and other.value is self.value
