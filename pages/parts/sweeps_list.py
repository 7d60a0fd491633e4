"""The sweeps above the list of runs: where each stands, and what can be done with it as a whole."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import streamlit as st

from ctkd_core.distill.runs import Run
from ctkd_core.distill.sweeps import queue
from ctkd_core.distill.sweeps.sweep import Sweep, sweeps
from pages.parts import loaders, state
from pages.parts.attempts import attempt, show_problem
from pages.parts.launching import change_button

SHOWN = 5  # newest ones
ALIVE = ("queued", "starting", "running")


def sweeps_list(rows: list[dict[str, Any]]) -> None:
    """One line a sweep with its buttons, from the summaries of all runs; nothing where there is no sweep."""
    found = sweeps(loaders.store())
    if not found:
        return
    show_problem("sweep")
    mine = {sweep.id: [r for r in rows if r["sweep"] == sweep.id or r["run_id"] in sweep.reused] for sweep in found}
    alive = any(row["status"] in ALIVE for sweep in found[:SHOWN] for row in mine[sweep.id])
    with st.expander(f"Sweeps ({len(found)})", icon=":material/grid_view:", expanded=alive):
        for sweep in found[:SHOWN]:
            _one(sweep, mine[sweep.id][::-1])
        if len(found) > SHOWN:
            st.caption(f"{len(found) - SHOWN} older ones: `ctkd sweep ls`.")


def _one(sweep: Sweep, rows: list[dict[str, Any]]) -> None:
    states = Counter(row["status"] for row in rows)
    waiting = [row for row in rows if row["status"] == "queued"]
    alive = [row for row in rows if row["status"] in ALIVE]
    asked = sum(row["asked_to_stop"] for row in alive)
    # Runs wait, but no process does: the computer was switched off, or somebody ended all of them.
    still = bool(waiting) and not states["starting"] + states["running"] and not _any_process(waiting)
    with st.container(horizontal=True, vertical_alignment="center"):
        words = ", ".join(f"{count} {name}" for name, count in states.items())
        words += f" ({asked} asked to stop)" if asked else ""
        name = sweep.definition.name or sweep.id
        st.markdown(f"**{state.plain(name)}** · {len(rows)} runs: {words}", width="content")
        if st.button("Compare", key=f"compare_{sweep.id}", disabled=len(rows) < 2):
            st.query_params["compare"] = ",".join(row["run_id"] for row in rows)
            st.rerun()
        if still or states["lost"] or states["cancelled"]:
            change_button("Go on", key=f"resume_{sweep.id}", on_click=_attempt, args=(sweep.resume,))
        if waiting:
            change_button("To the front", key=f"first_{sweep.id}", on_click=_attempt, args=(sweep.move, "first"))
        if len(alive) > asked:
            change_button("Cancel all", key=f"cancel_{sweep.id}", on_click=_attempt, args=(sweep.cancel,))


def _any_process(rows: list[dict[str, Any]]) -> bool:
    return any(queue.has_process(Run(Path(row["run_dir"]))) for row in rows)


def _attempt(action: Any, *values: str) -> None:
    attempt("sweep", lambda: action(*values))
