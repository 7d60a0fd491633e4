"""A cache bounded by bytes: what stays, what goes, what is made once."""

from __future__ import annotations

import gc
import sys
import threading
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
import pytest

from ctkd_core.files.sized_cache import MIB, SizedCache, bytes_of, sized_cache
from tests.patience import PATIENCE


class Thing:
    """Compared by identity, as tokenizers are."""

    def __init__(self, size: int = 0) -> None:
        self.data = bytes(size)

    @cached_property
    def later(self) -> bytes:
        return bytes(3 * MIB)


def test_the_least_recently_used_make_room() -> None:
    cache = SizedCache(11 * MIB)
    for k in range(4):
        cache.get(k, lambda: bytes(3 * MIB))
        cache.get(0, lambda: pytest.fail("0 is kept: it is asked for all the time"))
        assert cache.bytes <= cache.most_bytes
    assert len(cache) == 3
    made: list[int] = []
    for k in (3, 2, 1):  # 1 had to go
        cache.get(k, lambda k=k: made.append(k) or b"")
    assert made == [1]


def test_a_value_that_is_too_large_is_given_and_not_kept() -> None:
    cache = SizedCache(MIB)
    cache.get("small", lambda: b"x")
    assert len(cache.get("large", lambda: bytes(2 * MIB))) == 2 * MIB
    assert len(cache) == 1
    assert cache.get("small", lambda: b"y") == b"x"


def test_values_that_grow_are_measured_again() -> None:
    cache = SizedCache(6 * MIB)
    things = [cache.get(k, lambda: Thing(MIB)) for k in range(3)]
    assert len(cache) == 3
    for k, thing in enumerate(things):
        assert cache.get(k, lambda: pytest.fail("it is kept")) is thing
        assert thing.later
    cache.get("new", lambda: b"x")
    assert len(cache) == 2  # one grown thing, 4 MiB, and the new one
    assert cache.bytes <= cache.most_bytes


def test_what_nobody_asked_for_is_measured_now_and_then() -> None:
    """Measuring all at every addition would make the thousandth a thousand times as dear as the first."""
    measured: list[object] = []

    def size(entry: tuple[object, object]) -> int:
        measured.append(entry[0])
        return 1

    cache = SizedCache(10_000, size)
    for k in range(1000):
        cache.get(k, lambda: b"")
    assert len(measured) < 1000 * (2 + 1000 / 32)
    assert min(measured.count(k) for k in range(500)) > 10


def test_a_result_goes_with_the_objects_it_was_made_of() -> None:
    cache = SizedCache(MIB)
    calls: list[int] = []

    @cache.keeps
    def count(thing: Thing, by: int = 1) -> int:
        calls.append(by)
        return len(calls)

    one, other = Thing(), Thing()
    assert (count(one), count(one), count(one, by=2), count(other)) == (1, 1, 2, 3)
    assert len(cache) == 3
    del one
    gc.collect()
    another = Thing()  # may well lie where the first one lay
    assert count(another) == 4
    assert len(cache) == 2


def test_keys_by_value_and_by_spelling() -> None:
    @dataclass(frozen=True)
    class Choice:
        name: str
        options: list[int] = field(default_factory=list)

    calls: list[Choice] = []

    @sized_cache(MIB)
    def made(choice: Choice) -> int:
        calls.append(choice)
        return len(calls)

    assert made(Choice("a", [1])) == made(Choice("a", [1])) == 1
    assert made(Choice("a", [2])) == 2


def test_at_most_so_many_of_what_holds_tokenizers() -> None:
    cache = SizedCache(MIB)
    first = cache.keeps(lambda k: k, most=2)
    for k in range(5):
        first(k)
    cache.get("other", lambda: 1)
    assert len(cache) == 3


def test_threads_wait_for_the_one_that_makes_a_value_and_faults_are_not_kept() -> None:
    cache = SizedCache(MIB)
    begun, go = threading.Event(), threading.Event()
    made: list[int] = []

    def make() -> int:
        made.append(1)
        begun.set()
        assert go.wait(PATIENCE)
        return 7

    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(cache.get("k", make))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert begun.wait(PATIENCE)
    go.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert (found, made) == ([7] * 4, [1])
    with pytest.raises(ZeroDivisionError):
        cache.get("fault", lambda: 1 // 0)
    assert cache.get("fault", lambda: 3) == 3


def test_sizes() -> None:
    class Shared:
        shared = True

        def __init__(self) -> None:
            self.data = bytes(MIB)

    assert bytes_of(np.zeros(MIB, np.uint8)) == MIB
    assert bytes_of(np.zeros(MIB, np.uint8)[:10]) == MIB  # a view keeps the whole
    assert bytes_of(Shared()) == 0
    assert MIB <= bytes_of([Thing(MIB), Shared()]) < MIB + 1000
    one = Thing(MIB)
    assert bytes_of([one, one]) < 1.1 * MIB  # counted once
    texts = [f"{k:08d}" for k in range(100_000)]
    assert bytes_of(texts) == pytest.approx(100_000 * (8 + sys.getsizeof("00000000")), rel=0.05)
    frame = pd.DataFrame({"a": np.arange(100_000), "b": texts})
    assert bytes_of(frame) > 1_500_000
