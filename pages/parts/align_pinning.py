"""Figures and tables of page Align in which a click or a tick pins a group, and the picture above turns to it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.parts import late_values, state
from pages.parts.plots import plot
from pages.parts.selections import chosen_row, clicked
from pages.parts.terms import columns

if TYPE_CHECKING:
    import pandas as pd

ROWS = 12  # of a page of a table
ROW_PIXELS = 35


def jump(group: int | None) -> None:
    """Pin a group, or none, and let the picture turn to its page."""
    state.pin(group)
    st.session_state.pop("chip_follows", None)


def page_that_follows(name: str, pages: int, followed: Hashable, opens: Callable[[], int] | None) -> int:
    """The page, from 0, of what is shown page by page, with the control that turns it where there are several.

    When `followed` (the pinned group, say) has changed since the last run, or the reader comes back to these pages, the
    page is the one that `opens` gives (None: it stays); else the one that the reader turned to. `name` keeps several
    such controls apart.
    """
    key = f"{name}_page"
    page = st.session_state.get(key) or 1
    if key not in st.session_state or st.session_state.get(f"{name}_follows") != followed:
        st.session_state[f"{name}_follows"] = followed
        if opens is not None:
            page = opens() + 1
    late_values.put(key, min(page, pages))
    return st.pagination(pages, key=key, on_change=late_values.put_back, args=(key,)) - 1 if pages > 1 else 0


def selectable(make: Callable[[], Any], key: str, alt: str) -> None:
    """A figure whose points carry a group as their first customdata."""

    def selected() -> None:
        if points := clicked(key):
            jump(int(points[0][0]))

    plot(make, key=key, on_select=selected, selection_mode="points", alt=alt)


def group_table(
    table: pd.DataFrame, key: str, alt: str, column_config: Mapping[str, Any] | None = None, **settings: Any
) -> None:
    """A table whose column `group` is pinned when a row is chosen."""
    groups = table["group"].tolist()

    def selected() -> None:
        if (chosen := chosen_row(key, groups)) is not None:
            jump(chosen)

    st.dataframe(
        table,
        key=key,
        on_select=selected,
        selection_mode="single-row",
        hide_index=True,
        height=min(ROW_PIXELS * (len(table) + 1) + 3, ROW_PIXELS * (ROWS + 1) + 3),
        alt=alt,
        column_config=columns(table.columns, column_config),
        **settings,
    )
