"""Below what a page shows: the same as Python and as a command, and the view itself, kept here or as a file."""

from __future__ import annotations

from typing import Any

import streamlit as st

from ctkd_core.errors import CtkdError
from ctkd_core.lab import saved_views as views
from ctkd_core.lab.code import Code
from ctkd_core.lab.saved_views import SavedView
from pages.parts import consent, losses_choice, rank_choice, state, tour
from pages.parts.attempts import attempt, show_problem
from pages.parts.downloads import download
from pages.parts.launching import change_button
from pages.parts.plots import FORMATS

CODE_WIDTH = 640  # pixels; less where the window is narrower
FILE_HELP = (
    "One file that holds the text and the tokenizers that aren't the catalog's. It opens on page Start of another "
    "machine, or with `ctkd view open`."
)
RUNS_HELP = (
    "One file that holds configs, figures and samples of these runs, without models and checkpoints; of paths the last "
    "part. It opens on page Start of another machine, or with `ctkd view open`."
)


def share(page: str, code: Code | None = None) -> None:
    """Draw the row: code, where the page has some; the view under an id or as a file; the format of saved figures."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="share"):
        if code is not None:
            with st.popover("Show as code", icon=":material/code:"), st.container(width=CODE_WIDTH):
                _code(code)
        with st.popover("Save this view", icon=":material/bookmark:"):
            _save(page)
        st.segmented_control(
            "Save figures as",
            FORMATS,
            default=FORMATS[0],
            key="figure_format",
            required=True,
            persist_state="session",
            label_visibility="collapsed",
            format_func=lambda kind: f"Figures as {kind}",
            help="What the camera of a figure saves; your browser makes it, without a network",
        )


def go(view: SavedView) -> None:
    """Turn to the page of a view, with its address; ends this run of the script."""
    st.switch_page(state.PAGES[view.page], query_params=link(view))


def link(view: SavedView) -> dict[str, Any]:
    """The parameters of a link to a view, its pair in the form that survives the way."""
    found: dict[str, Any] = {key: v[0] if len(v) == 1 else v for key, v in view.address.items()}
    if view.page == "losses":  # without a name, the page would show again what it showed last
        found = {"example": losses_choice.FIRST} | found
    teacher, student = view.get("teacher"), view.get("student")
    return found | ({state.LINKED_PAIR: f"{teacher},{student}"} if teacher and student else {})


def follow() -> None:
    """Where the address names a saved view, turn to it; before anything of a page is drawn."""
    name = st.query_params.get(views.PARAMETER)
    if not name:
        return
    try:
        view = views.load(name)
    except CtkdError as fault:
        st.query_params.pop(views.PARAMETER)
        st.error(state.plain(str(fault)), icon=":material/link_off:")
        return
    go(view)


def _code(code: Code) -> None:
    st.caption("Python")
    st.code(code.python, language="python", wrap_lines=True)
    if code.cli:
        st.caption("Command line (bash, zsh)")
        st.code(code.cli, language="bash", wrap_lines=True)
    if code.note:
        st.caption(state.plain(code.note))


def _save(page: str) -> None:
    address = _address(page)
    view = _view(page, address)
    stays = views.why_it_stays(view) if view is not None else ""
    # It stands at the end of a page, where a window may show no more than the beginning of what opens.
    told = st.container()
    title = st.text_input("Name", key="view_title", max_chars=views.MOST_TITLE, placeholder="optional")
    with st.container(horizontal=True):
        change_button(
            "Keep it here", key="keep_view", icon=":material/bookmark_add:", on_click=_keep, args=(page, address)
        )
        if not stays:
            download(
                "As a file",
                lambda: _file(page, address, title),
                f"{page}{views.ENDING}",
                "application/json",
                "view_file",
                help=RUNS_HELP if page == "runs" else FILE_HELP,
            )
    if stays:
        st.caption(f"No file: {stays}")
    with told:
        show_problem("view")
        name, digest = st.session_state.get("view_kept") or ("", "")
        # What was kept last may have been another page, or this one before a change.
        if name and view is not None and digest == view.digest:
            st.caption("Kept. On this machine, this address opens it:")
            st.code(f"{_base()}/?{views.PARAMETER}={name}", language=None, wrap_lines=True)


def _address(page: str) -> dict[str, list[str]]:
    """What the address bar holds, and what it leaves out as it is at its default; defaults may change."""
    found = {key: st.query_params.get_all(key) for key in st.query_params}
    found |= {side: [source] for side, source in zip(views.SIDES, state.pair())}
    for passing in (state.LINKED_PAIR, state.LINKED_METHOD, tour.PARAMETER):  # how one came here, not what is shown
        found.pop(passing, None)
    if page == "align":
        found |= dict(zip(("method", "against"), ([name] for name in state.method_names())))
        found["text"] = [st.session_state.get("text") or state.TEXT_NAMES[0]]
    if page == "rank":
        if st.session_state.get(views.MEASURED_ON) == rank_choice.TEXT:
            found["text"] = [st.session_state.get("text") or state.TEXT_NAMES[0]]
        found[views.RANKED] = [str(source) for source in st.session_state.get(views.RANKED) or ()]
    return found


def _view(page: str, address: dict[str, list[str]]) -> SavedView | None:
    """The view of an address; None where it can't be one, which keeping it tells."""
    try:
        return views.make(page, address)
    except CtkdError:
        return None


def _keep(page: str, address: dict[str, list[str]]) -> None:
    def keep() -> None:
        view = views.make(page, address, st.session_state.get("view_title") or "")
        st.session_state["view_kept"] = views.keep(view), view.digest

    attempt("view", keep)


def _file(page: str, address: dict[str, list[str]], title: str) -> bytes:
    try:
        if unasked := consent.missing(address["student"] + address["teacher"]):
            raise CtkdError(f"nobody agreed to read {', '.join(unasked)}; load the pair first.")
        return views.export(views.make(page, address, title))
    except CtkdError as fault:  # the file says it: a download has no other place to tell
        return f"This view couldn't be written: {fault}\n".encode("utf-8", "replace")


def _base() -> str:
    """The address of the app without a page's name."""
    address = str(st.context.url or "").partition("?")[0].rstrip("/")
    head, _, last = address.rpartition("/")
    return head if last in state.PAGES else address
