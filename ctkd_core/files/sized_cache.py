"""A cache in memory that is bounded by bytes: what was not asked for the longest makes room for what is new.

Results of pages and tables of tokenizers are kept for as long as they fit. A text of one megabyte makes an alignment of
fifty, so the number of entries says nothing about what a server needs.
"""

from __future__ import annotations

import functools
import sys
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

MIB = 2**20
_FULL = 0.875  # of the bound is what is left when room was made: entries may grow until the next one comes
_TURNS = 32  # additions after which every entry of a small cache was measured again
_OTHERS = 16  # entries that nobody asked for are measured at an addition, at most
_SAMPLE = 64  # elements of a long list that are measured
_FLAT = frozenset({str, bytes, int, float, bool})
_OPAQUE = (type, ModuleType, FunctionType, BuiltinFunctionType, MethodType)


@dataclass
class _Entry:
    value: Any
    alive: tuple[weakref.ref[Any], ...]  # objects that the key names by identity
    size: int = 0  # when it was measured last
    asked: int = 2  # additions before which it is measured again: who got it may let it grow


class SizedCache:
    """Values by key, at most `most_bytes` of them by `size`; threads share it, and each value is made once.

    A value that alone is larger isn't kept. Values may grow after they were made (cached properties): those that were
    asked for are measured again when the next one is added, and a few of the others in turn.
    """

    def __init__(self, most_bytes: int, size: Callable[[Any], int] | None = None) -> None:
        self.most_bytes = most_bytes
        self._size = size or bytes_of
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}
        self._dead: deque[Hashable] = (
            deque()
        )  # keys whose objects are gone; a deque, as weak references call at any time
        self._turn = 0
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """What is kept now, in bytes."""
        with self._lock:
            return self._total()

    def __len__(self) -> int:
        return len(self._entries)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()

    def get(self, key: Hashable, make: Callable[[], T], alive: tuple[Any, ...] = (), most: int = 0) -> T:
        """What is kept under `key`, else what `make` gives; other threads that ask for it wait.

        alive  objects that the key names by identity: when one of them goes, so does the entry
        most   how many entries may begin with the same word as `key`, a tuple; 0 for as many as there is room
        """
        found = self._found(key)
        if found is not None:
            return found.value
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            found = self._found(key)
            if found is not None:
                return found.value
            try:
                value = make()
                self._add(key, value, alive, most)
            finally:
                with self._lock:
                    self._making.pop(key, None)
            return value

    def keeps(self, function: Callable[P, T], most: int = 0) -> Callable[P, T]:
        """Decorator: results of a function by its arguments, which it must not change.

        Arguments that are compared by identity (tokenizers, alignments) are not kept alive: a result goes with them.
        A result that itself holds tokenizers, which count nothing, needs a bound on its number: at `most` so many.
        """
        name = f"{function.__module__}.{function.__qualname__}"

        @functools.wraps(function)
        def cached(*args: P.args, **kwargs: P.kwargs) -> T:
            given = (*args, *(part for name in sorted(kwargs) for part in (name, kwargs[name])))
            key = (name, *map(_part, given))
            alive = tuple(value for value in given if _by_identity(value))
            return self.get(key, lambda: function(*args, **kwargs), alive, most)

        return cached

    def _found(self, key: Hashable) -> _Entry | None:
        with self._lock:
            while self._dead:
                self._entries.pop(self._dead.popleft(), None)
            found = self._entries.get(key)
            if found is not None:
                found.asked = 2
                self._entries.move_to_end(key)
            return found

    def _add(self, key: Hashable, value: Any, alive: tuple[Any, ...], most: int) -> None:
        def gone(_: object) -> None:
            self._dead.append(key)

        with self._lock:
            self._entries[key] = _Entry(value, tuple(weakref.ref(one, gone) for one in alive))
            if most:
                alike = [k for k in self._entries if k[0] == key[0]]  # type: ignore[index]
                for old in alike[:-most]:
                    del self._entries[old]
            self._measure()
            total = sum(entry.size for entry in self._entries.values())
            if self._entries[key].size > self.most_bytes:
                total -= self._entries.pop(key).size
            while total > _FULL * self.most_bytes and len(self._entries) > 1:
                total -= self._entries.popitem(last=False)[1].size

    def _measure(self) -> None:
        self._turn += 1
        turns = max(_TURNS, len(self._entries) // _OTHERS)
        for place, (key, entry) in enumerate(self._entries.items()):
            if entry.asked or (place - self._turn) % turns == 0:
                entry.size, entry.asked = self._size((key, entry.value)), max(0, entry.asked - 1)

    def _total(self) -> int:
        return sum(self._size((key, entry.value)) for key, entry in self._entries.items())


def sized_cache(most_bytes: int, most: int = 0) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorator: `SizedCache.keeps` with a cache of the function's own."""
    return lambda function: SizedCache(most_bytes).keeps(function, most)


def _by_identity(value: Any) -> bool:
    kind = type(value)
    return kind.__eq__ is object.__eq__ and not isinstance(value, _OPAQUE) and kind.__weakrefoffset__ != 0


def _part(value: Any) -> Hashable:
    """What an argument is in a key."""
    if _by_identity(value):
        return (type(value).__qualname__, id(value))
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return value


def bytes_of(value: Any) -> int:
    """Bytes that a value takes in memory, about: arrays and texts as they are, of long lists a sample.

    Objects whose type has `shared = True` (tokenizers) count nothing: others keep them.
    """
    return _bytes_of(value, {})


def _bytes_of(value: Any, seen: dict[int, Any]) -> int:
    if (
        id(value) in seen
        or value is None
        or isinstance(value, _OPAQUE)
        or getattr(type(value), "shared", False) is True
    ):
        return 0
    seen[id(value)] = value  # kept, for another object would get the number of one that is gone
    if isinstance(value, (str, bytes, bytearray, int, float, complex)):
        return sys.getsizeof(value)
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return sys.getsizeof(value) + _elements(list(value), seen)
    if isinstance(getattr(value, "nbytes", None), int):  # arrays and tensors; a view keeps what it is a view of
        owner = getattr(value, "base", None)
        held = max(value.nbytes, getattr(owner, "nbytes", 0))
        objects = getattr(getattr(value, "dtype", None), "kind", "") == "O"
        return held + (_elements(value.ravel().tolist(), seen) if objects else 0)
    if isinstance(value, Mapping):
        return sys.getsizeof(value) + _elements(list(value.items()), seen)
    if hasattr(value, "memory_usage") and hasattr(value, "columns"):  # a table
        return sum(_bytes_of(value[name].to_numpy(), seen) for name in value.columns)
    inner = getattr(value, "__dict__", None)
    own = sys.getsizeof(value, 64)
    return own + (sum(_bytes_of(part, seen) for part in list(inner.values())) if inner else 0)


def _elements(parts: list[Any], seen: dict[int, Any]) -> int:
    step = max(1, len(parts) // _SAMPLE)
    sample = parts[::step]
    if _FLAT.issuperset(map(type, sample)):  # most lists are long ones of texts
        return sum(map(sys.getsizeof, sample)) * len(parts) // max(1, len(sample))
    return sum(_bytes_of(part, seen) for part in sample) * len(parts) // max(1, len(sample))
