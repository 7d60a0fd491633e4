"""A background job on a page: its progress with Cancel, what went wrong with it, and clicks that may fail.

`name` keeps the jobs of a page apart. What a click runs into is kept in the session until the next drawing shows it.
"""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from ctkd_core.background.lifecycle import Job
from ctkd_core.background.status import JobStatus
from ctkd_core.errors import CtkdError
from pages.parts import state
from pages.parts.launching import change_button, check_may_change

TICK = "0.5s"  # how often a page looks at a job


def progress(name: str, job: Job, status: JobStatus) -> None:
    """The bar with its sentence, and the button Cancel."""
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.container(width="stretch"):
            st.progress(status.share, text=f"{state.plain(status.message)} ({status.share:.0%})")
        change_button("Cancel", key=f"cancel_{name}", icon=":material/stop:", on_click=_cancel, args=(name, job))


def faults(name: str, job: Job | None, status: JobStatus | None, problem: str = "") -> bool:
    """Show `problem`, else what the last click ran into, and why the job failed, with its log; whether anything did."""
    if problem := problem or st.session_state.pop(f"{name}_problem", ""):
        st.error(state.plain(problem), icon=":material/error:")
    if job is None or status is None or status.state not in ("failed", "lost", "damaged"):
        return bool(problem)
    st.error(state.plain(status.message), icon=":material/error:")
    if log := job.log_tail():
        with st.expander("Log", icon=":material/terminal:"):
            st.code(log, language=None, height=200)
    return True


def attempt(name: str, action: Callable[[], object], prefix: str = "") -> None:
    """Do what a click asks for, if pages may; a CtkdError or OSError becomes the sentence that `faults` shows."""
    try:
        check_may_change()
        action()
    except (CtkdError, OSError) as fault:
        st.session_state[f"{name}_problem"] = prefix + str(fault)


def _cancel(name: str, job: Job) -> None:
    attempt(name, job.cancel, "The job can't be cancelled: ")
