"""What a server loads once is there for good: collecting garbage doesn't look at it again."""

from __future__ import annotations

import gc
import weakref

import pytest

from pages.parts import warm


class Node:
    """Something that holds itself, so that only a collection frees it."""

    def __init__(self) -> None:
        self.itself = self


def test_what_is_loaded_is_kept_and_later_garbage_is_collected() -> None:
    try:
        before = weakref.ref(Node())
        warm.keep_out_of_collections()
        assert before() is None  # garbage of before isn't kept
        kept = gc.get_freeze_count()
        assert kept > 10_000
        assert len(gc.get_objects()) < kept
        later = weakref.ref(Node())
        gc.collect()
        assert later() is None
        assert gc.get_freeze_count() <= kept
    finally:
        gc.unfreeze()


def test_the_collector_is_told_even_when_nothing_can_be_prepared(monkeypatch) -> None:
    told = []

    def fails() -> None:
        raise ImportError("no numba")

    monkeypatch.setattr(warm, "_prepare", fails)
    monkeypatch.setattr(warm, "keep_out_of_collections", lambda: told.append(True))
    with pytest.raises(ImportError):
        warm._prepare_and_keep()
    assert told == [True]
