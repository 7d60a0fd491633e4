"""The options of a fact, of which each must be read: silence about one is how a wrong number passes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


class Options(Mapping[str, Any]):
    """A mapping that knows which of its entries were asked for."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = dict(given)
        self._read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        value = self._given[name]
        self._read.add(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._given)

    def __len__(self) -> int:
        return len(self._given)

    def __contains__(self, name: object) -> bool:
        return name in self._given

    def notes(self, *names: str) -> None:
        """Entries in words, which nothing is computed from."""
        self._read |= set(names)

    def fixed(self, **values: Any) -> None:
        """Entries that have one value here, where they are named. Raises ValueError for another one."""
        for name, value in values.items():
            if self.get(name, value) != value:
                raise ValueError(f"{name} is {value!r} here; the case asks for {self[name]!r}.")

    def choice(self, name: str, choices: Mapping[Any, Any]) -> Any:
        """What the entry stands for. Raises ValueError for an unknown one."""
        if self[name] not in choices:
            raise ValueError(f"{name} {self[name]!r} isn't known; there are {', '.join(map(repr, choices))}.")
        return choices[self[name]]

    def all_read(self) -> None:
        """Raise ValueError where an entry was left unread."""
        if left := sorted(set(self._given) - self._read):
            raise ValueError(f"nothing here reads {', '.join(left)}.")
