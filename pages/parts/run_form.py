"""New run: a preset, what one would change first, everything else folded away; then the pre-flight list."""

from __future__ import annotations

from typing import Any

import streamlit as st

from ctkd_core import methods
from ctkd_core.distill.config import PRESET_TITLES, PRESETS, RUN_OPTIONS, RunConfig
from ctkd_core.errors import CtkdError
from ctkd_core.figures.words import duration
from pages.parts import carry, consent, loaders, state
from pages.parts.forms import option_fields
from pages.parts.launching import REFUSAL, change_button, check_may_change, may_change
from pages.parts.runs_list import show_view

# What a first run changes; the rest of RUN_OPTIONS follows in its own order.
MAIN = ("method", "student_model", "steps", "seed", "learning_rate", "name")
BAR = ("student", "teacher")
MARKS = {True: ":red[:material/close:]", False: ":orange[:material/warning:]"}


def run_form() -> None:
    """The form; the pair comes from the bar above."""
    if unasked := consent.missing(state.pair()):
        consent.ask(unasked)
        return
    choice = st.segmented_control(
        "Preset", list(PRESETS), default=next(iter(PRESETS)), key="preset", required=True, bind="query-params"
    )
    name = choice or next(iter(PRESETS))
    base = _base(name)
    st.caption(
        "  \n".join(f"**{PRESET_TITLES.get(key, key)}.** {_estimate(PRESETS[key])}" for key in PRESETS),
        help="Measured on this machine's processor; the first run also converts the teacher.",
    )
    values = _fields(name, base)
    config = _config(base, values)
    if config is None:
        return
    st.markdown(
        f"**{state.plain(config.teacher)} → {state.plain(config.student)}**, {config.steps} steps of {config.method}. "
        f"{_estimate(config)}"
    )
    allowed = may_change()  # the list reads the files that the form names: not for anybody who can reach the page
    ready = allowed and _preflight(config)
    if not allowed:
        st.warning(REFUSAL, icon=":material/lock:")
    change_button(
        "Start run",
        key="start_run",
        icon=":material/play_arrow:",
        disabled=not ready,
        on_click=_start,
        args=(config,),
        shortcut="Alt+Enter",
    )
    if problem := st.session_state.pop("start_problem", None):
        st.error(state.plain(problem), icon=":material/error:")


def _base(name: str) -> RunConfig:
    """The preset, or the run that is being copied."""
    source = st.query_params.get("copy")
    if source:
        with state.errors_shown():
            return loaders.store().get(source).config
    base = PRESETS[name]
    if word := st.query_params.get(carry.PARAMETER):
        with state.errors_shown():
            return carry.into(base, word)
    asked = state.method_names()[0]
    return base.replace(method=asked) if methods.get(asked).can_train else base


def _fields(name: str, base: RunConfig) -> dict[str, Any]:
    prefix = f"new_{st.query_params.get('copy') or name + st.query_params.get(carry.PARAMETER, '')}"
    table = {option.name: option for option in RUN_OPTIONS}
    start = base.to_dict()
    values = option_fields([table[n] for n in MAIN if n in table], start, prefix)
    row = methods.get(values.get("method", base.method))
    if row.loss_options:
        with st.expander(f"Options of {row.name}", icon=":material/tune:"):
            st.caption(state.plain(f"{row.idea} {row.groups_note}".strip()))
            variant = st.session_state.get(f"{prefix}_variant", base.variant)
            variant = variant if variant in row.variants else row.variants[0]
            given = base.replace(variant=variant).method_options if row.name == base.method else {}
            key, options = f"{prefix}_{row.name}", row.loss_options_of(variant)
            own = [o for o in options if variant == "released" and o.released is not None]  # its own default, own key
            values["method_options"] = option_fields([o for o in options if o not in own], given, key)
            values["method_options"] |= option_fields(own, given, f"{key}_{variant}") if own else {}
    else:
        values["method_options"] = {}
    rest = [o for o in RUN_OPTIONS if o.name not in (*MAIN, *BAR)]
    with st.expander("Everything else", icon=":material/settings:"):
        values |= option_fields([o for o in rest if not o.advanced], start, prefix)
        st.caption("Rarely changed")
        values |= option_fields([o for o in rest if o.advanced], start, prefix)
    return values


def _config(base: RunConfig, values: dict[str, Any]) -> RunConfig | None:
    student, teacher = state.pair()
    try:
        return base.replace(**values, student=student, teacher=teacher)
    except CtkdError as fault:
        st.error(state.plain(str(fault)), icon=":material/error:")
        return None


def _estimate(config: RunConfig) -> str:
    seconds = loaders.estimate(config)
    return "" if seconds is None else f"About {duration(seconds)} on this machine."


def _preflight(config: RunConfig) -> bool:
    """Draw the list; True when nothing stands in the way."""
    try:
        checks = loaders.preflight_checks(config)
    except CtkdError as fault:
        st.error(state.plain(str(fault)), icon=":material/error:")
        return False
    ready = all(check.ok or not check.fatal for check in checks)
    good = all(check.ok for check in checks)
    title = f"Pre-flight: {sum(check.ok for check in checks)} of {len(checks)} checks passed"
    with st.expander(title, expanded=not good, icon=":material/check_circle:" if ready else ":material/cancel:"):
        for check in checks:
            mark = ":green[:material/check:]" if check.ok else MARKS[check.fatal]
            st.markdown(f"{mark} **{state.plain(check.name)}** {state.plain(check.detail)}")
            if not check.ok and check.fix:
                st.caption(f"To do: {state.plain(check.fix)}")
    return ready


def _start(config: RunConfig) -> None:
    try:
        check_may_change()
        run = loaders.start(config)
    except (CtkdError, OSError) as fault:
        st.session_state["start_problem"] = str(fault)
        return
    st.query_params.pop("copy", None)
    st.query_params.pop(carry.PARAMETER, None)
    show_view("All runs", run=run.id)
