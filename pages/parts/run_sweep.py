"""New sweep: methods, seeds and values; how many runs that makes and how long they take; then they are queued."""

from __future__ import annotations

from typing import Any, Literal

import streamlit as st

from ctkd_core import methods
from ctkd_core.distill.config import PRESETS, RUN_OPTIONS
from ctkd_core.distill.runs import Run
from ctkd_core.distill.sweeps.definition import SweepDefinition, duration, plan, seeds_in, values_in
from ctkd_core.distill.sweeps.sweep import about_changed, finished, unmade
from ctkd_core.errors import CtkdError
from ctkd_core.lab.code import sweep_code
from ctkd_core.markup.quantities import between
from pages.parts import address, consent, loaders, state
from pages.parts.attempts import attempt_once, drawn_again, show_problem
from pages.parts.launching import change_button
from pages.parts.run_views import LIST, show_view
from pages.parts.share import share

ASIDE = ("student", "teacher", "method", "seed", "name", "device")  # chosen otherwise
IN_ADDRESS: Literal["query-params"] = "query-params"
MOST_NAME = 60


def run_sweep() -> None:
    """The form; the pair comes from the bar above."""
    if unasked := consent.missing(state.pair()):
        consent.ask(unasked)
        return
    definition = _fields()
    try:
        configs = plan(definition)
        changed: dict[str, list[Run]] = {}
        taken = finished(loaders.store(), configs, changed) if definition.reuse else {}
        low, high = duration(unmade(configs, taken))
    except CtkdError as fault:
        state.show_error(fault)
        return
    reused = f", {len(taken)} of them finished already" if taken else ""
    left = f"{between(low, high)} on this machine" if high else "nothing left to train"
    st.markdown(f"**{len(configs)} runs**{reused}: {left}. They train one after another, in the background.")
    if said := about_changed(changed):
        st.caption(state.plain(said))
    with st.expander("The runs", icon=":material/list:"):
        st.dataframe([{"run": config.name} for config in configs], key="sweep_runs", hide_index=True, alt="The runs")
    change_button(
        f"Queue {len(configs)} runs", key="start_sweep", icon=":material/queue:", on_click=_start, args=(definition,)
    )
    drawn_again("sweep")
    show_problem("sweep")
    share("runs", sweep_code(definition))


def _fields() -> SweepDefinition:
    """The fields; the address holds what isn't at its default, so that a link opens the form filled in."""
    student, teacher = state.pair()
    names = [row.name for row in methods.training()]
    state.tell_unknown({"sweep_preset": ("preset", list(PRESETS)), "sweep_methods": ("method that trains", names)})
    left, middle, right = st.columns(3)
    preset = left.selectbox(
        "What all runs share", list(PRESETS), key="sweep_preset", help="A preset of a run.", bind=IN_ADDRESS
    )
    seeds = middle.text_input(
        "Seeds", "0-2", key="sweep_seeds", help="Numbers and ranges: 0,1,2 or 0-4.", bind=IN_ADDRESS
    )
    name = right.text_input(
        "Name", "", key="sweep_name", placeholder="for people", max_chars=MOST_NAME, bind=IN_ADDRESS
    )
    chosen = _once(st.multiselect("Methods", names, default=["sft", "sedi"], key="sweep_methods", bind=IN_ADDRESS))
    grid = _grid(chosen)
    reuse = st.toggle("Take finished runs with the same config over", key="sweep_reuse", bind=IN_ADDRESS)
    baseline = "sft" if "sft" in chosen or not chosen else chosen[0]
    given: dict[str, Any] = {
        "name": name[:MOST_NAME],
        "base": {"preset": preset, "student": student, "teacher": teacher},
        "methods": chosen,
        "grid": grid,
        "baseline": baseline,
        "reuse": reuse,
    }
    try:
        return SweepDefinition(**given, seeds=seeds_in(seeds))
    except CtkdError as fault:
        state.show_error(fault)
        return SweepDefinition(**given)


def _grid(chosen: list[str]) -> dict[str, Any]:
    """The options that the runs differ in, with their values, as far as some are given."""
    offered = {option.name: option for option in RUN_OPTIONS if option.name not in ASIDE}
    offered |= {f"{m}.{option.name}": option for m in chosen for option in methods.get(m).loss_options}
    state.tell_unknown({"sweep_options": ("option of the chosen methods or of a run", list(offered))})
    varied = _once(
        st.multiselect("Options to vary", list(offered), key="sweep_options", placeholder="none", bind=IN_ADDRESS)
    )
    grid: dict[str, Any] = {}
    for key in varied:
        field, is_free = f"sweep_values_{key.replace('.', '-')}", offered[key].kind == "str"
        if is_free and st.query_params.get(field):
            address.change({field: None})
            st.warning(f"The address gives values of {key}, which may name files or servers: type them.")
        values = st.text_input(
            f"Values of {key}",
            "",
            key=field,
            placeholder="with commas between",
            bind=None if is_free else IN_ADDRESS,  # no link has a file looked at
        )
        if found := values_in(values):
            grid[key] = found
    return grid


def _once(names: list[str]) -> list[str]:
    """Each name once: an address may hold one twice."""
    return list(dict.fromkeys(names))


def _start(definition: SweepDefinition) -> None:
    attempt_once("sweep", lambda: loaders.start_sweep(definition), lambda _: show_view(LIST))
