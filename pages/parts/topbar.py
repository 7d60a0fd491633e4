"""The bar above every page: teacher, swap, student, method A and the method it is compared with."""

from __future__ import annotations

import streamlit as st

from ctkd_core import methods
from ctkd_core.tokenizers.catalog import DEFAULT_PAIR
from pages.parts import consent, state

_SOURCE_HELP = "Choose one, or type a hub id, a folder, or the path of a tokenizer.json. Uploads: page Align."


def top_bar() -> None:
    """Draw the bar; its values live in the URL (`teacher`, `student`, `method`, `against`)."""
    state.warn_of_unknown(state.url_problems())
    teacher, swap, student, method, against = st.columns([5, 2.6, 5, 3, 3.2], vertical_alignment="bottom", gap="small")
    with teacher:
        _source("Teacher", "teacher", DEFAULT_PAIR[1])
    with swap:
        st.button(
            "Swap",
            key="swap",
            icon=":material/swap_horiz:",
            on_click=state.swap_pair,
            shortcut="Alt+S",
            width="stretch",
            wrap=False,
            help="Exchange teacher and student",
        )
    with student:
        _source("Student", "student", DEFAULT_PAIR[0])
    names = [m.name for m in methods.aligning()]
    ideas = "  \n".join(f"**{m.name}**: {m.idea}" for m in methods.aligning())
    with method:
        st.selectbox("Method", names, index=names.index("sedi"), key="method", bind="query-params", help=ideas)
    with against:
        st.selectbox("compared with", names, index=names.index("uld"), key="against", bind="query-params", help=ideas)


def _source(label: str, key: str, default: str) -> None:
    current = st.session_state.get(key) or st.query_params.get(key) or default
    options = state.sources(current)
    st.selectbox(
        label,
        options,
        index=options.index(default),
        key=key,
        bind="query-params",
        accept_new_options=True,
        on_change=consent.chosen_in_bar,
        args=(key,),
        help=_SOURCE_HELP,
    )
