"""What a reader chose in a figure or a table: for callbacks, which run before the page is drawn again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import streamlit as st

T = TypeVar("T")


def clicked(key: str) -> list[list[Any]]:
    """What the points chosen in a figure carry as customdata, point by point; points without any are left out."""
    points = st.session_state[key]["selection"]["points"]
    return [_values(point["customdata"]) for point in points if point.get("customdata") is not None]


def chosen_row(key: str, values: Sequence[T]) -> T | None:
    """The value of the row chosen in a table; None without one, or for a row that the table has no more."""
    rows = st.session_state[key]["selection"]["rows"]
    return values[rows[0]] if rows and rows[0] < len(values) else None


def _values(data: Any) -> list[Any]:
    """Customdata as a list: it arrives as a list, a dict or a single value."""
    if isinstance(data, dict):
        return list(data.values())
    return data if isinstance(data, list) else [data]
