"""Looking up one student token: its row, and the column of one of its teacher tokens."""

from __future__ import annotations

from typing import Any

import streamlit as st

from ctkd_core.errors import ProjectionError
from ctkd_core.figures.find_token import find_token, query_for
from ctkd_core.figures.vocabulary_tokens import column_table, row_sentence, row_table
from ctkd_core.tokenizers.display import token_text
from pages.parts import state
from pages.parts import vocabulary_data as data
from pages.parts.vocabulary_map import View

FIRST = "201"  # Llama-like vocabularies have it, Qwen-like ones spell it 2, 0, 1: the paper's example
HELP = (
    "The text of a token, written as tokens are shown here: ·the for a leading space, ↵ for a newline, `<F0><9F>` for "
    "bytes. # and a number is an id: #643."
)
COLUMNS: dict[str, Any] = {
    "student_id": "student id",
    "teacher_id": "teacher id",
    "in_samples": st.column_config.NumberColumn("in samples", help="How often it occurs in the chosen samples"),
    "teacher_tokens": st.column_config.NumberColumn("teacher tokens"),
    "student_tokens": st.column_config.NumberColumn("student tokens"),
    "weight": st.column_config.NumberColumn(format="%.4g"),
    "mass": st.column_config.NumberColumn(format="%.1f"),
}
MOST = 1000  # of a column; the rest is counted


def look_up(view: View) -> int | None:
    """The field, the token's row and one column; the id that was found, None without one."""
    query = st.text_input("Look up a student token", FIRST, key="token", bind="query-params", help=HELP, on_change=_new)
    try:
        token = find_token(view.student, query)
    except ProjectionError as fault:
        st.warning(state.plain(str(fault)), icon=":material/search_off:")
        return None
    st.markdown(
        f"**{state.plain(token_text(view.student, token))}** (id {token}) {state.plain(row_sentence(view.map, token))}"
    )
    row = row_table(view.map, token)
    if not len(row):
        return token
    chosen = st.dataframe(
        row,
        key=f"row_{token}",
        on_select="rerun",
        selection_mode="single-row",
        hide_index=True,
        height=min(180, 38 + 35 * len(row)),
        alt="Teacher tokens of this student token, heaviest first",
        column_config=COLUMNS,
    )
    picked = chosen["selection"]["rows"]
    _column(view, int(row["teacher_id"][picked[0] if picked and picked[0] < len(row) else 0]), token)
    return token


def _column(view: View, teacher_id: int, token: int) -> None:
    """Who else points at a teacher token; choosing a row looks that token up."""
    column = column_table(view.map, teacher_id)
    name = state.plain(token_text(view.teacher, teacher_id))
    others = len(column) - 1
    who = f"{others:,} other student token{'' if others == 1 else 's'} point{'s' if others == 1 else ''} at"
    st.caption(f"{who} teacher token **{name}** (id {teacher_id}). Choose a row above for another one.")
    shown = column[column["student_id"] != token].head(MOST)
    if not len(shown):
        return
    ids = shown["student_id"].tolist()
    key = f"column_{teacher_id}_{token}"

    def selected() -> None:
        rows = st.session_state[key]["selection"]["rows"]
        if rows and rows[0] < len(ids):
            show_token(view, ids[rows[0]])

    st.dataframe(
        shown,
        key=key,
        on_select=selected,
        selection_mode="single-row",
        hide_index=True,
        height=min(215, 38 + 35 * len(shown)),
        alt=f"Student tokens that point at teacher token {teacher_id}, heaviest first",
        column_config=COLUMNS,
    )


def show_token(view: View, token: int) -> None:
    """Look up a student id (for callbacks); the window follows it."""
    st.session_state["token"] = query_for(view.student, token)
    _new()


def _new() -> None:
    data.set_window(None)
