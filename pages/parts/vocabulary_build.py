"""Choosing a vocabulary map, and building it: at once where that is quick, else in a process with progress."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import streamlit as st

from ctkd_core.errors import CtkdError, ProjectionError
from ctkd_core.tokenizers.tokenizer import Tokenizer
from ctkd_core.vocabulary import MAPS, Projection, map_options
from ctkd_core.vocabulary import build as builds
from pages.parts import address, state
from pages.parts import job as jobs
from pages.parts import vocabulary_data as data
from pages.parts.attempts import attempt
from pages.parts.forms import option_fields, put_fields
from pages.parts.launching import change_button

VARIANT_HELP = "clean: the rules of the paper. released: as the public program does it; each option shows what differs."


@dataclass(frozen=True)
class Choice:
    """A pair, a map and all its options."""

    student: Tokenizer
    teacher: Tokenizer
    method: str
    options: dict[str, Any]


def choose(student: Tokenizer, teacher: Tokenizer) -> Choice | None:
    """The map and its options; None when the options don't fit (the sentence is shown)."""
    names = list(MAPS)
    ideas = "  \n".join(f"**{row.name}**: {state.plain(row.idea)}" for row in MAPS.values())
    which, variants, options, idea = st.columns([2.4, 2.4, 2, 6.4], vertical_alignment="bottom", gap="small")
    with which:
        method = st.selectbox(
            "Map", names, index=names.index(data.DEFAULT_MAP), key="map", bind="query-params", help=ideas
        )
    row = MAPS[method]
    variant = "clean"
    if len(row.variants) > 1:
        with variants:
            variant = st.selectbox("Variant", row.variants, key="variant", bind="query-params", help=VARIANT_HELP)
    given: dict[str, Any] = {}
    if row.options:
        preset = map_options(method, {}, variant)
        start = _options_of_address(method, variant, preset)
        if address.newly_arrived("map_options") and address.came_back():
            put_fields(row.options, start, f"map_{method}_{variant}")
        with options, st.popover("Options", icon=":material/tune:", width="stretch"):
            given = _fields(row.options, start, f"map_{method}_{variant}")
        changed = {name: value for name, value in given.items() if value != preset[name]}
        data.set_options(method, variant, changed)
    with idea:
        st.caption(state.plain(row.idea))
    try:
        return Choice(student, teacher, method, map_options(method, given, variant))
    except ProjectionError as fault:
        state.show_error(fault)
        return None


def _options_of_address(method: str, variant: str, preset: dict[str, Any]) -> dict[str, Any]:
    """The preset with what the address changes, if that fits this map."""
    try:
        return map_options(method, data.options(method, variant), variant)
    except ProjectionError as fault:
        st.warning(f"The options in the address don't fit: {state.plain(str(fault))}", icon=":material/link_off:")
        return preset


def _fields(options: Any, preset: dict[str, Any], prefix: str) -> dict[str, Any]:
    values = option_fields([o for o in options if not o.advanced], preset, prefix, columns=2)
    advanced = [o for o in options if o.advanced]
    if advanced:
        st.caption("Rarely changed")
        values |= option_fields(advanced, preset, prefix, columns=2, above=values)
    return values


def build_panel(choice: Choice) -> Projection | None:
    """The map if it can be had at once; else what there is to do or to wait for, and None."""
    found, problem = None, ""
    try:
        if builds.is_quick(choice.student, choice.teacher, choice.method):
            found = data.quick_map(choice.student, choice.teacher, choice.method, choice.options)
        else:
            found = data.stored_map(choice.student, choice.teacher, choice.method, choice.options)
    except CtkdError as fault:
        problem = str(fault)
    build = builds.find(choice.student, choice.teacher, choice.method, choice.options)
    running = found is None and build is not None and not build.status().ended_already
    # Always mounted, at the top level: a fragment that comes and goes with its timer confuses the browser's side.
    st.fragment(_live, run_every=jobs.TICK if running else None, key="build")(
        choice, found is not None, problem, running
    )
    return found


def _live(choice: Choice, ready: bool, problem: str, was_running: bool) -> None:
    if ready:
        return
    build = builds.find(choice.student, choice.teacher, choice.method, choice.options)
    status = build.status() if build is not None else None
    running = status is not None and not status.ended_already
    if running != was_running:
        st.rerun()  # it began or ended: mount it again with the timer, or without
    if build is not None and status is not None and running:
        jobs.progress("build", build.job, status)
        st.caption(
            "The build is a process of its own: closing this page doesn't stop it, another tab shows the same one."
        )
        return
    fault = jobs.faults("build", build.job if build is not None else None, status, problem)
    if status is not None and status.state == "cancelled":
        st.info("The build was cancelled; nothing was kept.", icon=":material/cancel:")
    elif not fault:
        st.info(
            f"There is no map “{state.plain(MAPS[choice.method].title)}” for this pair yet: "
            f"{choice.student.n_ids:,} student ids by {choice.teacher.n_ids:,} teacher ids. It is built once and kept.",
            icon=":material/grid_off:",
        )
    label = "Build the map" if status is None or status.state == "finished" else "Build it again"
    change_button(label, key="build_map", icon=":material/construction:", on_click=_start, args=(choice,))


def _start(choice: Choice) -> None:
    student, teacher = state.pair()
    attempt("build", lambda: builds.start(student, teacher, choice.method, choice.options))
