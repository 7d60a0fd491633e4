"""The tabs on page Pair. Only the open one computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from ctkd_core.figures.pair import length_figure, length_sentence, length_table
from ctkd_core.figures.pair_matrix import matrix_figure, matrix_table
from ctkd_core.figures.pair_special import fact_table, role_notes, role_table
from ctkd_core.figures.words import progress
from pages.parts import pair_data as data
from pages.parts import state
from pages.parts.pair_chat import chat
from pages.parts.pair_domains import domains
from pages.parts.pair_verdict import View
from pages.parts.plots import figures_last, plot
from pages.parts.selections import chosen_row, clicked
from pages.parts.twin import twin

if TYPE_CHECKING:
    import pandas as pd

TABS = ("Domains", "Special tokens", "Chat templates", "Token lengths", "All pairs")
WAYS = {"canonical": "canonical forms", "bytes": "bytes", "raw": "raw strings"}


@st.fragment
@figures_last()
def details(view: View) -> None:
    """The tabs; the address holds the open one. A click in them reruns only this."""
    tabs = st.tabs(TABS, key="look", on_change="rerun", bind="query-params")
    for tab, draw in zip(tabs, (domains, _special, chat, _lengths, _matrix)):
        if tab.open:
            with tab, state.errors_shown():
                draw(view)


def _special(view: View) -> None:
    rows = view.report.special_tokens
    left, right = st.columns(2, gap="medium")
    with left:
        st.dataframe(role_table(rows), key="roles", hide_index=True, alt="Special tokens of both sides by role")
    with right:
        st.dataframe(
            fact_table(view.student, view.teacher),
            key="facts",
            hide_index=True,
            alt="Number of tokens, highest id, holes and what is added by itself, for both sides",
        )
    st.markdown("\n".join(f"- **{state.plain(role)}**: {state.plain(note)}" for role, note in role_notes(rows)))


def _lengths(view: View) -> None:
    said = length_sentence(view.student, view.teacher)
    plot(lambda: length_figure(view.student, view.teacher), key="lengths", alt=f"Token lengths. {said}")
    st.caption(said)
    twin(
        length_table(view.student, view.teacher),
        "length_table",
        "Tokens of both sides by length in bytes",
        shares=("student share", "teacher share"),
    )


def _matrix(view: View) -> None:  # noqa: ARG001 - like the other tabs
    names = data.offline_names()
    if len(names) < 2:
        st.info("Fewer than two tokenizers of the catalog are installed; there is nothing to compare.")
        return
    pairs = [(s, t) for s in names for t in names if s != t]
    found, place = {}, st.empty()
    for k, (student, teacher) in enumerate(pairs):
        place.progress(progress(k, len(pairs)), f"Comparing {student} with {teacher}")
        found[student, teacher] = data.shares(student, teacher)
    place.empty()
    way = st.segmented_control(
        "Counted by", list(WAYS), format_func=WAYS.__getitem__, default="canonical", key="way", required=True
    )

    def chosen() -> None:
        if points := clicked("pair_matrix"):
            _make_pair(*points[0][:2])

    left, right = st.columns([6, 5], gap="medium")
    with left:
        best = matrix_table(names, found)
        plot(
            lambda: matrix_figure(names, found, way or "canonical", state.pair()),
            key="pair_matrix",
            on_select=chosen,
            selection_mode="points",
            alt=f"Share of shared tokens for {len(pairs)} pairs; the most shared is student {best['student'][0]}, "
            f"teacher {best['teacher'][0]}",
        )
    with right:
        st.caption("Click a cell to make it the pair, or a row of the table.")
        st.page_link(state.PAGES["rank"], label="Rank the pairs on texts", icon=":material/leaderboard:")
        _pair_rows(best)
    if st.session_state.pop("pair_chosen", False):
        st.rerun()  # the whole page: the bar above shows the pair, and loads it


def _pair_rows(table: pd.DataFrame) -> None:
    pairs = list(zip(table["student"], table["teacher"]))

    def chosen() -> None:
        if (pair := chosen_row("pair_rows", pairs)) is not None:
            _make_pair(*pair)

    st.dataframe(
        table,
        key="pair_rows",
        hide_index=True,
        height=460,
        on_select=chosen,
        selection_mode="single-row",
        alt="Shares of every pair of installed tokenizers, the most shared first",
        column_config={way: st.column_config.NumberColumn(WAYS[way], format="percent") for way in WAYS},
    )


def _make_pair(student: str, teacher: str) -> None:
    state.choose_pair(str(student), str(teacher))
    st.session_state["pair_chosen"] = True
