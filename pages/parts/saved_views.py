"""Saved views on page Start: those that are kept here, and a file from elsewhere to open."""

from __future__ import annotations

import streamlit as st

from ctkd_core.figures.words import ago
from ctkd_core.lab import saved_views as views
from ctkd_core.lab.saved_views import SavedView
from pages.parts import state
from pages.parts.attempts import attempt, show_problem
from pages.parts.launching import may_change
from pages.parts.share import link

SHOWN = 6


def saved_views() -> None:
    """The newest views as links, and the field for a file."""
    st.header("Saved views", anchor=False)
    show_problem("view")
    _opened()
    found = views.kept()
    if not found:
        st.caption("None yet. “Save this view”, below what the other pages show, keeps one.")
    for _, view in found[:SHOWN]:
        _link(view)
    if len(found) > SHOWN:
        st.caption(f"and {len(found) - SHOWN} more: ctkd view ls lists them")
    with st.popover("Open a view from a file", icon=":material/upload_file:", disabled=not may_change()):
        st.file_uploader(
            f"A file that ends in {views.ENDING}, at most {views.MOST_FILE // 2**20} MB",
            type=["json"],
            key="view_upload",
            max_upload_size=views.MOST_FILE // 2**20,
            on_change=_uploaded,
        )
        st.caption("It is checked first: texts by their hashes, tokenizers in a child process, as uploads are.")


def _opened() -> None:
    """The view of the file that was uploaded last. A link, since the bar above holds the pair of this page."""
    if name := st.session_state.get("view_opened"):
        with state.errors_shown():
            view = views.load(name)
            st.success("The file is sound, and its view is kept here. Open it:", icon=":material/check_circle:")
            _link(view)
        for note in st.session_state.get("view_notes", ()):
            st.warning(state.plain(note), icon=":material/info:")


def _link(view: SavedView) -> None:
    shown = f"{view.get('teacher')} → {view.get('student')}"
    if view.page == "runs":
        compared = len(view.get(views.COMPARED).split(","))
        shown = view.get(views.RUN) or (f"{compared} compared" if view.get(views.COMPARED) else view.get("view"))
    words = f"**{state.plain(view.title)}** · " if view.title else ""
    # Without a name, views of one pair are told apart by their methods and their time.
    with_methods = ", ".join(filter(None, map(view.get, state.DEFAULT_METHODS))) if view.page == "align" else ""
    told = shown, with_methods, ago(view.made)
    st.page_link(
        state.PAGES[view.page],
        label=" · ".join([f"{words}{view.page.capitalize()}", *(state.plain(one) for one in told if one)]),
        icon=state.ICONS[view.page],
        query_params=link(view),
    )


def _uploaded() -> None:
    file = st.session_state.get("view_upload")
    if file is None:
        return

    def keep() -> None:
        name, _, notes = views.open_file(file.getvalue(), file.name)
        st.session_state["view_opened"], st.session_state["view_notes"] = name, notes

    attempt("view", keep)
