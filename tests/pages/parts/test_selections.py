"""What comes back from a click on a figure or a row, in each form in which the browser sends it."""

from __future__ import annotations

from typing import Any

import pytest
import streamlit as st

from pages.parts.selections import chosen_row, clicked


def shown(monkeypatch: pytest.MonkeyPatch, **selection: Any) -> None:
    monkeypatch.setattr(st, "session_state", {"key": {"selection": selection}})


def test_customdata_of_points_as_a_list_whatever_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [{"x": 1}, {"customdata": None}, {"customdata": [3, "a"]}, {"customdata": {"0": 4}}, {"customdata": 5}]
    shown(monkeypatch, points=points)
    assert clicked("key") == [[3, "a"], [4], [5]]
    shown(monkeypatch, points=[])
    assert clicked("key") == []


def test_the_value_of_the_chosen_row(monkeypatch: pytest.MonkeyPatch) -> None:
    shown(monkeypatch, rows=[1])
    assert chosen_row("key", [7, 0]) == 0
    assert chosen_row("key", [7]) is None, "the table has become shorter"
    shown(monkeypatch, rows=[])
    assert chosen_row("key", [7]) is None
