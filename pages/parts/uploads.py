"""Uploading a tokenizer.json as student or teacher."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from ctkd_core.tokenizers import snapshots, uploads
from pages.parts import late_values
from pages.parts.attempts import attempt, show_problem
from pages.parts.launching import may_change


def upload_tokenizer() -> None:
    """A popover for each side; the file is checked in a child process, kept by its hash, and then chosen."""
    with st.popover("Upload a tokenizer.json", icon=":material/upload_file:", disabled=not may_change()):
        side = st.segmented_control(
            "Use it as", ["student", "teacher"], default="student", key="upload_side", required=True
        )
        tokenizer_file("tokenizer", _choose)
        st.caption(f"It becomes the {side}. Its text is never executed; a child process reads it first.")
    if st.session_state.pop("tokenizer_chosen", False):
        st.rerun()  # the whole page: the bar above shows the name, and loads it
    show_problem("tokenizer")


def tokenizer_file(name: str, take: Callable[[str], None]) -> None:
    """The field for a file. Its tokenizer is kept, and `take` gets its source before the page is drawn again.

    `name` tells several such fields apart; `attempts.show_problem` says why the last file was refused.
    """
    st.file_uploader(
        "tokenizer.json, at most 40 MB",
        type=["json"],
        key=f"{name}_file",
        max_upload_size=40,
        on_change=_uploaded,
        args=(name, take),
    )


def _uploaded(name: str, take: Callable[[str], None]) -> None:
    file = st.session_state.get(f"{name}_file")
    if file is None:
        return
    attempt(name, lambda: take(uploads.source_of(snapshots.save_tokenizer(file.getvalue(), file.name))))


def _choose(source: str) -> None:
    late_values.put(st.session_state.get("upload_side") or "student", source)
    st.session_state["tokenizer_chosen"] = True
