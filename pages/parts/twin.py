"""The table below a figure, folded away: its twin for those who can't see it, or want its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.parts.terms import columns

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator


def folded(label: str = "As a table") -> DeltaGenerator:
    """What tables lie in until somebody opens it."""
    return st.expander(label, icon=":material/table:")


def twin(table: Any, key: str, alt: str, shares: tuple[str, ...] = (), **settings: Any) -> None:
    """A figure's numbers as a table, folded away: a data frame, or rows by column; `shares`: columns in percent."""
    with folded():
        given = {name: st.column_config.NumberColumn(format="percent") for name in shares}
        names = table.columns if hasattr(table, "columns") else dict.fromkeys(name for row in table for name in row)
        st.dataframe(table, key=key, hide_index=True, alt=alt, column_config=columns(names, given), **settings)
