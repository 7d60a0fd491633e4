"""Measuring texts of one's own on page Pair: an upload or a path, progress, cancel, and the domain of it."""

from __future__ import annotations

from typing import Any

import streamlit as st

from ctkd_core.errors import CtkdError
from ctkd_core.pair import corpus_job
from ctkd_core.pair.corpus_job import Measurement
from ctkd_core.tokenizers.tokenizer import Tokenizer
from pages.parts import late_values, state
from pages.parts.attempts import attempt
from pages.parts.corpus_fields import file_field, path_field
from pages.parts.job import QUICK_SECONDS, TICK
from pages.parts.launching import change_button, check_may_change, may_change
from pages.parts.pair_verdict import View


def own_corpus(view: View, method: str) -> dict[str, dict[str, Any]]:
    """The popover for a file; returns its metrics as one more domain once they are there."""
    with st.popover("Measure your own file", icon=":material/upload_file:", disabled=not may_change()):
        file = file_field("corpus", _uploaded)
        path = path_field("corpus", _uploaded)
        fields = st.text_input(
            "Tell records apart by these fields, too",
            key="corpus_fields",
            placeholder="language, source",
            help="Names with commas between. Script and class of token are told apart in any case.",
            on_change=_uploaded,
        )
        st.caption(
            "Text files are read by paragraph; records need text, prompt and completion, or messages. Sets of the hub "
            "and clusters: `ctkd pair --corpus`."
        )
    if file is None and not path:
        st.session_state.pop("corpus_job", None)
        st.session_state.pop("corpus_problem", None)
        return {}
    # A measurement belongs to a pair and a method: choosing others measures the file again.
    by = tuple(dict.fromkeys(part.strip() for part in fields.split(",") if part.strip()))
    job, fresh = _job(view, method, file or path, by)
    if job is None:
        return {}
    status = job.wait(QUICK_SECONDS) if fresh else job.status()
    if fresh and status.state != "finished":
        st.rerun()  # the whole page: what stands above the tabs shows progress, or the fault
    result = job.result() if status.state == "finished" else None
    if result is None and status.state == "finished" and not fresh:  # its file was damaged: measure it anew
        _forget()
        st.rerun()
    if result is None:
        return {}
    name = f"your file: {job.name[:40]}"
    if st.session_state.pop("corpus_uploaded", False):
        late_values.put("domain", name)
    return {name: result}


def corpus_progress(view: View, method: str) -> None:
    """Progress of a measurement under way; always mounted: a fragment that comes and goes confuses the browser."""
    job = _running(view, method)
    running = job is not None and not job.status().ended_already
    st.fragment(_live, run_every=TICK if running else None, key="corpus_live")(job, running)


def _live(job: Measurement | None, was_running: bool) -> None:
    if problem := st.session_state.get("corpus_problem"):
        state.show_error(problem)
    if job is None:
        return
    status = job.status()
    if status.ended_already == was_running:
        st.rerun()
    if not status.ended_already:
        with st.container(horizontal=True, vertical_alignment="center", key="corpus_progress"):
            with st.container(width="stretch"):
                said = f"Measuring {job.name}: {status.message}"
                st.progress(status.share, f"{state.plain(said)} ({status.share:.0%})")
            change_button("Cancel", key="corpus_cancel", icon=":material/close:", on_click=_cancel, args=(job,))
    elif status.state == "cancelled":
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"Measuring {state.plain(job.name)} was cancelled. What was measured is kept.")
            st.button("Go on", key="corpus_again", on_click=_forget)
    elif status.state != "finished":
        with st.container(horizontal=True, vertical_alignment="center"):
            state.show_error(status.message)
            if status.state != "failed":
                st.button("Go on", key="corpus_again", on_click=_forget)


def _job(view: View, method: str, file: Any, by: tuple[str, ...]) -> tuple[Measurement | None, bool]:
    """The measurement of this file and choice, and whether it was begun just now; None where it can't be."""
    key = ((getattr(file, "file_id", file), by), id(view.student), id(view.teacher), method)
    kept = st.session_state.get("corpus_job")
    if kept is not None and kept[0] == key:
        return kept[1], False
    _forget()
    job: Measurement | None = None
    try:
        check_may_change()
        if isinstance(file, str):  # a path that was typed here
            job = corpus_job.start_source(view.student, view.teacher, file, method, by)
        else:
            job = corpus_job.start(view.student, view.teacher, file.getvalue(), file.name, method, by)
    except CtkdError as fault:
        st.session_state["corpus_problem"] = str(fault)
    # The tokenizers are kept with it, so that an `id` can't come to mean another one.
    st.session_state["corpus_job"] = (key, job, view.student, view.teacher)
    if job is None:
        st.rerun()  # the whole page: what stands above the tabs shows the fault
    return job, True


def _running(view: View, method: str) -> Measurement | None:
    """The job of this pair and method, if there is one."""
    kept: tuple[Any, Measurement | None, Tokenizer, Tokenizer] | None = st.session_state.get("corpus_job")
    if kept is None or kept[0][1:] != (id(view.student), id(view.teacher), method):
        return None
    return kept[1]


def _uploaded() -> None:
    st.session_state["corpus_uploaded"] = True


def _forget() -> None:
    kept = st.session_state.pop("corpus_job", None)
    st.session_state.pop("corpus_problem", None)
    if kept is not None and kept[1] is not None:
        _cancel(kept[1])


def _cancel(job: Measurement) -> None:
    attempt("corpus", job.cancel, "The measurement can't be cancelled: ")
