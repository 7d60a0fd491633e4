"""Uploading a tokenizer.json as student or teacher."""

from __future__ import annotations

import streamlit as st

from ctkd_core.errors import CtkdError
from ctkd_core.tokenizers import snapshots, uploads
from pages.parts import state
from pages.parts.launching import check_may_change, may_change


def upload_tokenizer() -> None:
    """A popover for each side; the file is checked in a child process, kept by its hash, and then chosen."""
    with st.popover("Upload a tokenizer.json", icon=":material/upload_file:", disabled=not may_change()):
        side = st.segmented_control(
            "Use it as", ["student", "teacher"], default="student", key="upload_side", required=True
        )
        st.file_uploader(
            "tokenizer.json, at most 40 MB",
            type=["json"],
            key="tokenizer_file",
            max_upload_size=40,
            on_change=_uploaded,
        )
        st.caption(f"It becomes the {side}. Its text is never executed; a child process reads it first.")
    if st.session_state.pop("tokenizer_chosen", False):
        st.rerun()  # the whole page: the bar above shows the name, and loads it
    if problem := st.session_state.pop("tokenizer_problem", None):
        st.error(state.plain(problem), icon=":material/error:")


def _uploaded() -> None:
    file = st.session_state.get("tokenizer_file")
    if file is None:
        return
    try:
        check_may_change()
        path = snapshots.save_tokenizer(file.getvalue(), file.name)
    except CtkdError as fault:
        st.session_state["tokenizer_problem"] = str(fault)
        return
    st.session_state[st.session_state.get("upload_side") or "student"] = uploads.source_of(path)
    st.session_state["tokenizer_chosen"] = True
