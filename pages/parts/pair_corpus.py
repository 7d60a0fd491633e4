"""Measuring a file of one's own on page Pair: upload, progress, cancel, and the domain that comes of it."""

from __future__ import annotations

from typing import Any

import streamlit as st

from ctkd_core.pair.corpus_job import MAX_BYTES, CorpusJob
from ctkd_core.tokenizers.tokenizer import Tokenizer
from pages.parts import state
from pages.parts.pair_verdict import View

ENDINGS = ["txt", "md", "jsonl", "ndjson"]
MAX_MB = MAX_BYTES // 1_000_000
TICK = "0.5s"
QUICK_SECONDS = 0.4  # what is done sooner needs no progress bar


def own_corpus(view: View, method: str) -> dict[str, dict[str, Any]]:
    """The popover for a file; returns its metrics as one more domain once they are there."""
    with st.popover("Measure your own file", icon=":material/upload_file:"):
        file = st.file_uploader(
            f"UTF-8 text or JSON lines (.txt, .md, .jsonl), at most {MAX_MB} MB",
            type=ENDINGS,
            key="corpus_file",
            max_upload_size=MAX_MB,
            on_change=_uploaded,
        )
        st.caption(
            "Text files are read by paragraph; records need text, prompt and completion, or messages. Larger "
            "corpora: `ctkd pair --corpus FILE --workers N`."
        )
    if file is None:
        st.session_state.pop("corpus_job", None)
        return {}
    # A measurement belongs to a pair and a method: choosing others measures the file again.
    job, fresh = _job(view, method, file)
    if fresh and (not job.wait(QUICK_SECONDS) or job.state != "finished"):
        st.rerun()  # the whole page: what stands above the tabs shows progress, or the fault
    if job.state != "finished" or job.result is None:
        return {}
    name = f"your file: {file.name[:40]}"
    if st.session_state.pop("corpus_uploaded", False):
        st.session_state["domain"] = name
    return {name: job.result}


def corpus_progress(view: View, method: str) -> None:
    """Progress of a measurement under way; always mounted: a fragment that comes and goes confuses the browser."""
    job = _running(view, method)
    running = job is not None and job.state == "running"
    st.fragment(_live, run_every=TICK if running else None, key="corpus_live")(job, running)


def _live(job: CorpusJob | None, was_running: bool) -> None:
    if job is None:
        return
    if (job.state == "running") != was_running:
        st.rerun()
    if job.state == "running":
        with st.container(horizontal=True, vertical_alignment="center", key="corpus_progress"):
            with st.container(width="stretch"):
                said = f"Measuring {job.name}: {job.sentence}"
                st.progress(job.share, f"{state.plain(said)} ({job.share:.0%})")
            st.button("Cancel", key="corpus_cancel", icon=":material/close:", on_click=job.cancel)
    elif job.state == "failed":
        st.error(state.plain(job.problem), icon=":material/error:")
    elif job.state == "cancelled":
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"Measuring {state.plain(job.name)} was cancelled.")
            st.button("Measure again", key="corpus_again", on_click=_forget)


def _job(view: View, method: str, file: Any) -> tuple[CorpusJob, bool]:
    key = (file.file_id, id(view.student), id(view.teacher), method)
    kept = st.session_state.get("corpus_job")
    if kept is not None and kept[0] == key:
        return kept[1], False
    _forget()
    job = CorpusJob(view.student, view.teacher, file.getvalue(), file.name, method)
    # The tokenizers are kept with it, so that an `id` can't come to mean another one.
    st.session_state["corpus_job"] = (key, job, view.student, view.teacher)
    return job, True


def _running(view: View, method: str) -> CorpusJob | None:
    """The job of this pair and method, if there is one."""
    kept: tuple[Any, CorpusJob, Tokenizer, Tokenizer] | None = st.session_state.get("corpus_job")
    if kept is None or kept[0][1:] != (id(view.student), id(view.teacher), method):
        return None
    return kept[1]


def _uploaded() -> None:
    st.session_state["corpus_uploaded"] = True


def _forget() -> None:
    kept = st.session_state.pop("corpus_job", None)
    if kept is not None:
        kept[1].cancel()
