"""The list of runs: what they are, where they stand, and what can be done with those that are ticked."""

from __future__ import annotations

import hashlib
from typing import Any

import streamlit as st

from ctkd_core.distill.comparison.kinds import FROM_A_FILE
from ctkd_core.distill.sweeps import queue
from ctkd_core.errors import CtkdError
from ctkd_core.figures.words import ago, number
from ctkd_core.lab import opened_runs
from ctkd_core.lab import saved_views as views
from ctkd_core.markup.quantities import duration
from pages.parts import loaders, state
from pages.parts.attempts import attempt, show_problem
from pages.parts.launching import change_button, check_may_change
from pages.parts.run_views import FORM, show_view
from pages.parts.sweeps_list import sweeps_list

# Marks that every font has, for table cells; with colour where Markdown is read.
DOTS = {
    "queued": "○",
    "starting": "◔",
    "running": "▶",
    "finished": "✓",
    "failed": "✕",
    "cancelled": "■",
    "lost": "?",
    "damaged": "!",
}
_COLOURS = {
    "running": "blue",
    "starting": "blue",
    "finished": "green",
    "failed": "red",
    "lost": "orange",
    "damaged": "orange",
}
ALIVE = frozenset({"queued", "starting", "running"})


def dot(status: str) -> str:
    """The mark of a status in its colour, as Markdown."""
    return f":{_COLOURS.get(status, 'gray')}[**{DOTS[status]}**]"


def bits(row: dict[str, Any]) -> str:
    """Bits per byte before and after, in one phrase."""
    found = row["metrics"]
    before, after = found.get("bits_per_byte_before"), found.get("bits_per_byte_after")
    if before is None and after is None:
        return "not evaluated yet"
    return f"{number(before)} → {number(after)} bits per byte"


def when(row: dict[str, Any]) -> str:
    """How long ago the run was made."""
    return ago(row["created"])


def steps(row: dict[str, Any]) -> str:
    """Steps done and all steps; "?" for what a damaged run doesn't tell."""
    return " / ".join("?" if row[key] is None else str(row[key]) for key in ("step", "steps"))


def runs_list() -> None:
    """The table, with a tick for every run, and its buttons; refreshes itself while a run is alive."""
    rows = loaders.run_summaries(archived=True)
    if not rows:
        st.info("No runs yet. The quick preset trains a student in minutes on a laptop.", icon=":material/add_circle:")
        st.button("New run", key="first_run", on_click=show_view, args=(FORM,))
        if not opened_runs.kept():
            return
    alive = any(row["status"] in ALIVE for row in rows)
    st.fragment(_table, run_every="3s" if alive else None)(alive, [rows])


def _table(was_alive: bool, read: list[list[dict[str, Any]]]) -> None:
    """`read`: the rows that the page has just read, which the first drawing takes; later ones read anew."""
    every = read.pop() if read else loaders.run_summaries(archived=True)
    sweeps_list(every)
    hidden = sum(row["archived"] for row in every)
    shown = hidden > 0 and st.toggle(f"Archived runs too ({hidden})", key="show_archived")
    rows = [row for row in every if shown or not row["archived"]]
    brought = opened_runs.kept()
    if brought and st.toggle(
        f"Runs from files too ({len(brought)})",
        key="show_opened",
        help="Those that files of views brought: read-only, and apart from the runs of this machine. Tick some of both "
        "to compare them.",
    ):
        rows += loaders.opened_summaries(brought)
    if was_alive and not any(row["status"] in ALIVE for row in rows):
        st.rerun()  # mount it again without the timer
    places = queue_places() if was_alive else {}
    # Ticks are row numbers: when the rows change, another run must not inherit them, nor an open "Delete".
    those = hashlib.sha256(" ".join(map(_word, rows)).encode()).hexdigest()[:12]
    event = st.dataframe(
        [
            {
                "status": f"{DOTS[row['status']]} {row['status']}{', archived' if row['archived'] else ''}"
                + (", asked to stop" if row["asked_to_stop"] else "")
                + (f", {FROM_A_FILE}" if "opened" in row else "")
                + (f", {places[row['run_id']]}. in line" if row["run_id"] in places else ""),
                "run": row["name"] or row["run_id"],
                "method": row["method"],
                "teacher → student": f"{row['teacher']} → {row['student']}" if row["method"] else "",
                "seed": row["seed"],
                "steps": steps(row),
                "loss": row["losses"],
                "bits/byte before": row["metrics"]["bits_per_byte_before"],
                "bits/byte now": row["metrics"]["bits_per_byte_after"],
                "time": duration(row["seconds"]),
                "made": when(row),
                "sweep": (row["sweep"] or "")[-5:],
                "id": row["run_id"],
            }
            for row in rows
        ],
        key=f"runs_table_{those}",
        on_select="rerun",
        selection_mode="multi-row",
        hide_index=True,
        placeholder="–",
        alt="Runs with status, method, pair, loss and bits per byte",
        column_config={
            "loss": st.column_config.LineChartColumn("loss", help="Training loss over the run"),
            "bits/byte before": st.column_config.NumberColumn(format="%.3f"),
            "bits/byte now": st.column_config.NumberColumn(format="%.3f", help="Held-out text; lower is better"),
        },
    )
    for row in rows:
        if row["status"] == "damaged":
            st.caption(f":orange[**!**] {state.plain(row['run_id'])} is {state.plain(row['message'])}")
    ticked = [rows[k] for k in event["selection"]["rows"] if k < len(rows)]
    chosen = [row["run_id"] for row in ticked]
    read_only = any("opened" in row for row in ticked)
    with st.container(horizontal=True):
        if st.button("Open", key="open", icon=":material/open_in_full:", disabled=len(chosen) != 1):
            if read_only:
                st.query_params[views.OPENED] = ticked[0]["opened"].partition(":")[0]
            st.query_params["run"] = chosen[0]
            st.rerun()
        label = f"Compare {len(chosen)}" if len(chosen) > 1 else "Compare"
        if st.button(label, key="compare_button", icon=":material/stacked_line_chart:", disabled=len(chosen) < 2):
            st.query_params["compare"] = ",".join(map(_word, ticked))
            st.rerun()
        if places:
            waiting = bool(chosen) and not read_only and all(name in places for name in chosen)
            for label, key in (("To the front", "first"), ("To the end", "last")):
                change_button(
                    label, key=f"queue_{key}", disabled=not waiting, on_click=_move, args=(tuple(chosen), key)
                )
        back = bool(ticked) and all(row["archived"] for row in ticked)
        label, icon = ("Bring back", ":material/unarchive:") if back else ("Archive", ":material/archive:")
        if change_button(
            label, key="archive", icon=icon, disabled=not chosen or read_only, help="Out of the list; nothing is lost."
        ):
            with state.errors_shown():
                _check(read_only)
                for name in chosen:
                    loaders.store().archive(name, archived=not back)
                st.rerun()
        with st.popover("Delete", key=f"delete_{those}", icon=":material/delete:", disabled=not chosen or read_only):
            count = f"run {chosen[0]}" if len(chosen) == 1 else f"{len(chosen)} runs"
            st.markdown(f"Delete {state.plain(count)} with all checkpoints? There is no way back.")
            if change_button("Delete for good", key="delete"):
                with state.errors_shown():
                    _check(read_only)
                    for name in chosen:
                        loaders.store().remove(name)
                    st.rerun()
    show_problem("queue")
    if read_only:
        st.caption("Runs from files are read-only; they go with the last view of them (`ctkd view rm`).")
    if not chosen:
        st.caption("Tick one run to open it, two or more to compare them.")


def _check(read_only: bool) -> None:
    """Raise CtkdError where these runs may not be changed: a click can be forged."""
    check_may_change()
    if read_only:
        raise CtkdError("runs from files are read-only; tick runs of this machine alone.")


def _word(row: dict[str, Any]) -> str:
    """What names a row's run in an address."""
    return str(row.get("opened") or row["run_id"])


def queue_places() -> dict[str, int]:
    """The place in the queue of each run that waits, counted from 1."""
    return {run.id: k for k, run in enumerate(queue.waiting(loaders.store().root), start=1)}


def _move(names: tuple[str, ...], to: str) -> None:
    attempt("queue", lambda: queue.move(loaders.store().root, names, to))
