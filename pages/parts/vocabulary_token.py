"""Looking up one student token: its row, and the column of one of its teacher tokens."""

from __future__ import annotations

from typing import Any

import streamlit as st

from ctkd_core.errors import ProjectionError
from ctkd_core.figures.find_token import find_token, query_for
from ctkd_core.figures.vocabulary_tokens import column_table, row_sentence, row_table
from ctkd_core.tokenizers.display import token_text
from pages.parts import address, late_values, state
from pages.parts import vocabulary_data as data
from pages.parts.selections import chosen_row
from pages.parts.vocabulary_map import View

# Where it is among the lost ones: Llama-like vocabularies have it, Qwen-like ones spell it 2, 0, 1 (as in the paper).
FIRST = "201"
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
    first = _first(view)
    if address.came_back():
        # Till the browser has drawn it, it sends what Back has replaced, with whatever else happens on the page.
        late_values.put("token", st.query_params.get("token") or first)
    query = st.text_input(
        "Look up a student token", first, key="token", bind="query-params", help=HELP, on_change=_typed
    )
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


def _first(view: View) -> str:
    """What the field begins with: a token of the class with the most loss, until somebody looks up another one."""
    found = data.opening(view.map, FIRST)
    first, before = found.query if found else FIRST, st.session_state.get("token_first")
    if before is not None and before != first and st.session_state.get("token") == before:
        late_values.put("token", first)  # another pair or map; nobody had chosen the old one
    st.session_state["token_first"] = first
    return first


def guidance(view: View) -> None:
    """A sentence on what is worth a look, and the way to the rest of it."""
    found = data.opening(view.map, FIRST)
    if found is None:
        return

    def list_them() -> None:
        st.session_state["lost_classes"] = [found.title]
        data.open_panel("Lost")

    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="guidance"):
        st.markdown(f":material/explore: {state.plain(found.sentence)}", width="content")
        st.button(f"List {found.title}", key="list_lost", icon=":material/list:", on_click=list_them)


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
        if (chosen := chosen_row(key, ids)) is not None:
            show_token(view, chosen)

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
    late_values.put("token", query_for(view.student, token))
    data.set_window(None)


def _typed() -> None:
    if not late_values.put_back("token"):
        data.set_window(None)
