"""Computing what isn't known yet on page Losses: a process of its own with progress and cancel."""

from __future__ import annotations

import streamlit as st

from ctkd_core.background.lifecycle import Job
from ctkd_core.background.status import JobStatus
from ctkd_core.errors import CtkdError
from ctkd_core.lab import question as loss_lab
from ctkd_core.lab.question import Answer, Choice, Question
from pages.parts import state

TICK = "0.5s"
HELP = (
    "Both models read the text once (about 10 s the first time); a changed option computes its method anew. Another "
    "tab that asks the same shares the process."
)


def job_panel(question: Question, choices: list[Choice], answer: Answer) -> None:
    """Button, progress or fault for what is missing; nothing when everything is known."""
    # Always mounted, at the top level: a fragment that comes and goes with its timer confuses the browser's side. The
    # timer runs as long as something is missing: a click on Cancel during the rerun that would mount it gets lost.
    live = st.fragment(_live, run_every=TICK if answer.missing else None, key="lab_job")
    live(question, answer.missing)
    if not choices:
        st.info("Choose one to four methods above.", icon=":material/checklist:")


def _live(question: Question, missing: tuple[Choice, ...]) -> None:
    if not missing:
        return
    job = loss_lab.job(question, missing)
    status = job.status() if job.exists else None
    if status is not None and not status.ended_already:
        _progress(job, status)
        return
    if loss_lab.ask(question, missing).missing != missing:
        st.rerun()  # the answer is there: draw it
    if fault := st.session_state.pop("lab_fault", ""):
        st.error(state.plain(fault), icon=":material/error:")
    if status is not None and status.state in ("failed", "lost", "damaged"):
        st.error(state.plain(status.message), icon=":material/error:")
        if log := job.log_tail():
            with st.expander("Log", icon=":material/terminal:"):
                st.code(log, language=None, height=200)
    names = ", ".join(choice.method for choice in missing)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        label = "Compute" if status is None or status.state == "finished" else "Compute again"
        st.button(
            label, key="compute", icon=":material/play_arrow:", on_click=_start, args=(question, missing), help=HELP
        )
        said = "Cancelled; nothing was kept. " if status is not None and status.state == "cancelled" else ""
        st.caption(f"{said}Not computed with these options and this text: {state.plain(names)}.", width="content")


def _progress(job: Job, status: JobStatus) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.container(width="stretch"):
            st.progress(status.share, text=f"{state.plain(status.message)} ({status.share:.0%})")
        st.button("Cancel", key="cancel_lab", icon=":material/stop:", on_click=_cancel, args=(job,))


def _start(question: Question, missing: tuple[Choice, ...]) -> None:
    try:
        loss_lab.start(question, missing)
    except (CtkdError, OSError) as fault:
        st.session_state["lab_fault"] = str(fault)


def _cancel(job: Job) -> None:
    try:
        job.cancel()
    except OSError as fault:
        st.session_state["lab_fault"] = f"The job can't be cancelled: {fault}"
