"""The sweeps above the list of runs: where each stands, and what can be done with it as a whole."""

from __future__ import annotations

from typing import Any

import streamlit as st

from ctkd_core.distill.sweeps import queue
from ctkd_core.distill.sweeps.sweep import Sweep, sweeps
from ctkd_core.errors import CtkdError
from pages.parts import job as jobs
from pages.parts import loaders, state
from pages.parts.launching import change_button

SHOWN = 5  # newest ones


def sweeps_list() -> None:
    """One line a sweep with its buttons; nothing where there is none."""
    found = sweeps(loaders.store())
    if not found:
        return
    if problem := st.session_state.pop("sweep_problem", None):
        st.error(state.plain(problem), icon=":material/error:")
    running = any(row["states"].keys() & {"queued", "starting", "running"} for row in map(_summary, found[:SHOWN]))
    with st.expander(f"Sweeps ({len(found)})", icon=":material/grid_view:", expanded=running):
        for sweep in found[:SHOWN]:
            with state.errors_shown():
                _one(sweep)
        if len(found) > SHOWN:
            st.caption(f"{len(found) - SHOWN} older ones: `ctkd sweep ls`.")


def _summary(sweep: Sweep) -> dict[str, Any]:
    try:
        return sweep.summary()
    except CtkdError:
        return {"states": {}}


def _one(sweep: Sweep) -> None:
    found = sweep.summary()
    states = found["states"]
    alive = bool(states.keys() & {"queued", "starting", "running"})
    # Runs wait, but no process does: the computer was switched off, or somebody ended all of them.
    waiting = [run for run in sweep.runs() if run.status().state == "queued"]
    stands = bool(waiting) and not states.keys() & {"starting", "running"} and not any(map(queue.has_process, waiting))
    with st.container(horizontal=True, vertical_alignment="center"):
        words = ", ".join(f"{count} {name}" for name, count in states.items())
        st.markdown(f"**{state.plain(found['name'] or found['sweep_id'])}** · {found['total']} runs: {words}")
        if st.button("Compare", key=f"compare_{sweep.id}", disabled=found["total"] < 2):
            st.query_params["compare"] = ",".join(found["runs"])
            st.rerun()
        if stands or states.keys() & {"lost", "cancelled"}:
            change_button("Go on", key=f"resume_{sweep.id}", on_click=_attempt, args=(sweep.resume,))
        if waiting:
            change_button("To the front", key=f"first_{sweep.id}", on_click=_attempt, args=(sweep.move, "first"))
        if alive:
            change_button("Cancel all", key=f"cancel_{sweep.id}", on_click=_attempt, args=(sweep.cancel,))


def _attempt(action: Any, *values: str) -> None:
    jobs.attempt("sweep", lambda: action(*values))
