"""Computing what isn't known yet on page Losses: a process of its own with progress and cancel."""

from __future__ import annotations

import streamlit as st

from ctkd_core.lab import question as loss_lab
from ctkd_core.lab.question import Answer, Choice, Question
from pages.parts import job as jobs
from pages.parts import state
from pages.parts.attempts import attempt
from pages.parts.launching import change_button

HELP = (
    "Both models read the text once (about 10 s the first time); a changed option computes its method anew. Another "
    "tab that asks the same shares the process."
)


def job_panel(question: Question, choices: list[Choice], answer: Answer) -> None:
    """Button, progress or fault for what is missing; nothing when everything is known."""
    # Always mounted, at the top level: a fragment that comes and goes with its timer confuses the browser's side. The
    # timer runs as long as something is missing: a click on Cancel during the rerun that would mount it gets lost.
    live = st.fragment(_live, run_every=jobs.TICK if answer.missing else None, key="lab_job")
    live(question, answer.missing)
    if not choices:
        st.info("Choose one to four methods above.", icon=":material/checklist:")


def _live(question: Question, missing: tuple[Choice, ...]) -> None:
    if not missing:
        return
    job = loss_lab.job(question, missing)
    status = job.status() if job.exists else None
    if status is not None and not status.ended_already:
        jobs.progress("lab", job, status)
        return
    if loss_lab.ask(question, missing).missing != missing:
        st.rerun()  # the answer is there: draw it
    jobs.faults("lab", job, status)
    names = ", ".join(choice.method for choice in missing)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        label = "Compute" if status is None or status.state == "finished" else "Compute again"
        change_button(
            label, key="compute", icon=":material/play_arrow:", on_click=_start, args=(question, missing), help=HELP
        )
        said = "Cancelled; nothing was kept. " if status is not None and status.state == "cancelled" else ""
        st.caption(f"{said}Not computed with these options and this text: {state.plain(names)}.", width="content")


def _start(question: Question, missing: tuple[Choice, ...]) -> None:
    attempt("lab", lambda: loss_lab.start(question, missing))
