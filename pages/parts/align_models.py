"""Asking the models about the text on page Align: a process of its own with progress and cancel; the answer is kept."""

from __future__ import annotations

import streamlit as st

from ctkd_core.lab import evidence as models
from ctkd_core.lab.evidence import Evidence
from ctkd_core.tokenizers.tokenizer import Tokenizer
from pages.parts import job as jobs
from pages.parts import loaders, state
from pages.parts.attempts import attempt
from pages.parts.launching import change_button

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
    live = st.fragment(_live, run_every=jobs.TICK if running else None, key="models")
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
        jobs.progress("models", job, status)
        return
    jobs.faults("models", job, status)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        change_button(
            "Ask the models",
            key="ask_models",
            icon=":material/psychology:",
            on_click=_start,
            args=(text, student, teacher),
            help=HELP,
        )
        said = "Cancelled; nothing was kept. " if status is not None and status.state == "cancelled" else ""
        st.caption(f"{said}No logits yet: entropy weights are constant.", width="content")


def _start(text: str, student: Tokenizer, teacher: Tokenizer) -> None:
    attempt("models", lambda: models.start(text, student, teacher))
