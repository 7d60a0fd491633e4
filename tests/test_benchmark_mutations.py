"""Faults that were drawn once are put in their own place again, whatever has changed in the source since."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = '''"""A module."""


def area(width, height=1):
    if width > 0:
        return width * height
    return None


def volume(width, height, depth):
    return width * height * depth
'''


@pytest.fixture(scope="module")
def faults() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "benchmarks" / "_mutations.py"
    spec = importlib.util.spec_from_file_location("benchmark _mutations", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_fault_stays_where_nothing_changed(faults: ModuleType) -> None:
    drawn = faults.mutations(SOURCE)
    assert len(drawn) > 5
    assert [faults.found_again(SOURCE, fault) for fault in drawn] == drawn


def test_a_fault_moves_with_its_text(faults: ModuleType) -> None:
    """New code before it has other nodes at the old places."""
    changed = SOURCE.replace("\n\n", "\n\nLIMIT = 7 - 2\n\n", 1)
    for fault in faults.mutations(SOURCE):
        moved = faults.found_again(changed, fault)
        assert moved is not None
        assert (moved.was, moved.now) == (fault.was, fault.now)
        put = ast.unparse(faults.mutated(changed, moved))
        assert put.replace("LIMIT = 7 - 2\n", "") == ast.unparse(faults.mutated(SOURCE, fault))


def test_a_fault_whose_text_is_gone_is_nowhere(faults: ModuleType) -> None:
    (fault,) = (f for f in faults.mutations(SOURCE) if f.operator == "comparison" and f.was == "width > 0")
    assert faults.found_again(SOURCE.replace("width > 0", "width > 1"), fault) is None
