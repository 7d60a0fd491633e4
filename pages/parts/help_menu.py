"""The menu Help beside the bar of every page: tours, and the glossary."""

from __future__ import annotations

import streamlit as st

from pages.parts import state, tour
from pages.parts.terms import glossary_dialog
from pages.parts.tours import TOURS

GLOSSARY = "glossary"


def help_menu() -> None:
    """The button and what it opens."""
    chosen = st.menu_button(
        "Help", [*TOURS, GLOSSARY], key="help_menu", icon=":material/help:", width="stretch", format_func=_label
    )
    if chosen in TOURS:
        st.switch_page(state.PAGES[TOURS[chosen].page], query_params=tour.link(TOURS[chosen]))
    elif chosen:
        glossary_dialog()


def _label(name: str) -> str:
    if name in TOURS:
        return f"{TOURS[name].icon} Tour: {TOURS[name].title}"
    return ":material/menu_book: Glossary"


def tour_links() -> None:
    """A link for each tour, which begins it."""
    for each in TOURS.values():
        st.page_link(state.PAGES[each.page], label=each.title, icon=each.icon, query_params=tour.link(each))
