"""A background job on a page: its progress with Cancel, and what went wrong with it. `name` keeps several apart."""

from __future__ import annotations

import streamlit as st

from ctkd_core.background.lifecycle import Job
from ctkd_core.background.status import JobStatus
from pages.parts import state
from pages.parts.attempts import attempt, show_problem
from pages.parts.launching import change_button

TICK = "0.5s"  # how often a page looks at a job
QUICK_SECONDS = 0.4  # what is done sooner needs no progress bar


def progress(name: str, job: Job, status: JobStatus) -> None:
    """The bar with its sentence, and the button Cancel."""
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.container(width="stretch"):
            st.progress(status.share, text=f"{state.plain(status.message)} ({status.share:.0%})")
        change_button("Cancel", key=f"cancel_{name}", icon=":material/stop:", on_click=_cancel, args=(name, job))


def faults(name: str, job: Job | None, status: JobStatus | None, problem: str = "") -> bool:
    """Show `problem`, else what the last click ran into, and why the job failed, with its log; whether anything did."""
    if problem:
        state.show_error(problem)
    shown = bool(problem) or show_problem(name)
    if job is None or status is None or status.state not in ("failed", "lost", "damaged"):
        return shown
    state.show_error(status.message)
    if log := job.log_tail():
        with st.expander("Log", icon=":material/terminal:"):
            st.code(log, language=None, height=200, wrap_lines=True)
    return True


def _cancel(name: str, job: Job) -> None:
    attempt(name, job.cancel, "The job can't be cancelled: ")
