"""Asking the models about the text on page Align: a process of its own with progress and cancel; the answer is kept."""

from __future__ import annotations

import streamlit as st

from ctkd_core.background.lifecycle import Job
from ctkd_core.background.status import JobStatus
from ctkd_core.errors import CtkdError
from ctkd_core.lab import evidence as models
from ctkd_core.lab.evidence import Evidence
from ctkd_core.tokenizers.tokenizer import Tokenizer
from pages.parts import loaders, state

TICK = "0.5s"
HELP = (
    "Teacher and student read the text (about 10 s the first time). Their entropies weigh the path of cdm, the "
    "teacher's boundaries serve alm, and the card of a group shows what each of them expects next."
)


def asked(text: str, student: Tokenizer, teacher: Tokenizer) -> Evidence | None:
    """The models' answer about this text when it is there and wanted, else None. Draws nothing."""
    if not st.session_state.get("use_models", True):
        return None
    return loaders.evidence(text, student, teacher)


def models_panel(text: str, student: Tokenizer, teacher: Tokenizer) -> None:
    """A line with the button, the progress, or what was answered."""
    problem = models.problem(text, teacher)
    job = None if problem else models.job(text, student, teacher)
    ready = loaders.evidence(text, student, teacher)
    running = ready is None and job is not None and job.exists and not job.status().ended_already
    # Always mounted, at the top level: a fragment that comes and goes with its timer confuses the browser's side.
    live = st.fragment(_live, run_every=TICK if running else None, key="models")
    live(text, student, teacher, problem, ready is not None, running)
    if ready is not None:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.toggle("use what the models said", value=True, key="use_models", help=HELP)
            st.caption(state.plain(" ".join(ready.notes)), width="content")


def _live(text: str, student: Tokenizer, teacher: Tokenizer, problem: str, ready: bool, was_running: bool) -> None:
    if ready:
        return
    if problem:
        st.caption(f"The models can't be asked: {state.plain(problem)}")
        return
    job = models.job(text, student, teacher)
    status = job.status() if job.exists else None
    running = status is not None and not status.ended_already
    if running != was_running:
        st.rerun()  # it began or ended: mount it again with the timer, or without
    if status is not None and running:
        _progress(job, status)
        return
    if fault := st.session_state.pop("models_problem", ""):
        st.error(state.plain(fault), icon=":material/error:")
    if status is not None and status.state in ("failed", "lost", "damaged"):
        st.error(state.plain(status.message), icon=":material/error:")
        if log := job.log_tail():
            with st.expander("Log", icon=":material/terminal:"):
                st.code(log, language=None, height=200)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            "Ask the models",
            key="ask_models",
            icon=":material/psychology:",
            on_click=_start,
            args=(text, student, teacher),
            help=HELP,
        )
        said = "Cancelled; nothing was kept. " if status is not None and status.state == "cancelled" else ""
        st.caption(f"{said}No logits yet: entropy weights are constant.", width="content")


def _progress(job: Job, status: JobStatus) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.container(width="stretch"):
            st.progress(status.share, text=f"{state.plain(status.message)} ({status.share:.0%})")
        st.button("Cancel", key="cancel_models", icon=":material/stop:", on_click=_cancel, args=(job,))


def _start(text: str, student: Tokenizer, teacher: Tokenizer) -> None:
    try:
        models.start(text, student, teacher)
    except (CtkdError, OSError) as fault:
        st.session_state["models_problem"] = str(fault)


def _cancel(job: Job) -> None:
    try:
        job.cancel()
    except OSError as fault:
        st.session_state["models_problem"] = f"The job can't be cancelled: {fault}"
