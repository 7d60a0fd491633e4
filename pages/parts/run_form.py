"""New run: a preset, what one would change first, everything else folded away; then the pre-flight list."""

from __future__ import annotations

import json
from typing import Any

import streamlit as st

from ctkd_core import methods
from ctkd_core.distill.checks import Pending
from ctkd_core.distill.config import PRESET_TITLES, PRESETS, RUN_OPTIONS, RunConfig
from ctkd_core.distill.devices import asking_memory
from ctkd_core.errors import CtkdError
from ctkd_core.lab.code import config_code
from ctkd_core.markup.quantities import between, duration
from ctkd_core.tokenizers.catalog import DEFAULT_PAIR
from pages.parts import carry, consent, late_values, loaders, state
from pages.parts.attempts import attempt_once, drawn_again, show_problem
from pages.parts.forms import fields_of_variant, option_fields
from pages.parts.job import TICK
from pages.parts.launching import REFUSAL, change_button, may_change
from pages.parts.run_teachers import TEACHER_FIELDS, teacher_fields
from pages.parts.run_views import LIST, show_view
from pages.parts.share import share

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
        "Preset",
        list(PRESETS),
        default=next(iter(PRESETS)),
        key="preset",
        required=True,
        bind="query-params",
        on_change=late_values.put_back,
        args=("preset",),
    )
    name = choice or next(iter(PRESETS))
    base = _base(name)
    st.caption(
        "  \n".join(
            f"**{PRESET_TITLES.get(key, key)}.** {_estimate(each)}{_kept(each)}" for key, each in PRESETS.items()
        ),
        help="From the speed of this machine's processor. Preparing is loading, aligning the data and, at first, "
        "converting the teacher; other programs that are busy make everything longer.",
    )
    _own_pair(PRESETS[name])
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
    drawn_again("start")
    show_problem("start")
    share("runs", config_code(config))


def _own_pair(preset: RunConfig) -> None:
    """A button for the pair that a preset is about, where another one is chosen in the bar."""
    wanted = preset.student, preset.teacher
    if wanted not in (DEFAULT_PAIR, state.pair()):
        label = f"Use its pair: {preset.teacher} → {preset.student}"
        st.button(label, key="preset_pair", icon=":material/join_inner:", on_click=state.choose_pair, args=wanted)


def _base(name: str) -> RunConfig:
    """The preset, or the run that is being copied, with the method that the address or the bar of page Align names."""
    base, asked = PRESETS[name], st.query_params.get("method")
    if source := st.query_params.get("copy"):
        with state.errors_shown():
            base = loaders.store().get(source).config.with_effect()
    elif word := st.query_params.get(carry.PARAMETER):
        with state.errors_shown():
            return carry.into(base, word)
    else:
        asked = asked or state.method_names()[0]
    trains = asked in (row.name for row in methods.training())
    return base.replace(method=asked, variant=_variant(base, asked)) if asked and trains else base


def _variant(base: RunConfig, method: str) -> str:
    return base.variant if base.variant in methods.get(method).variants else methods.get(method).variants[0]


def _fields(name: str, base: RunConfig) -> dict[str, Any]:
    # Another link, another form: what was typed into the one before isn't what this one promises.
    asked = (st.query_params.get(key) or "" for key in ("copy", carry.PARAMETER, "method"))
    prefix = f"new_{name}{''.join(asked)}"
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
            options, key = row.loss_options_of(variant), f"{prefix}_{row.name}"
            values["method_options"] = fields_of_variant(options, given, key, variant)
    else:
        values["method_options"] = {}
    values |= teacher_fields(base, start, prefix)
    rest = [o for o in RUN_OPTIONS if o.name not in (*MAIN, *BAR, *TEACHER_FIELDS)]
    with st.expander("Everything else", icon=":material/settings:"):
        values |= option_fields([o for o in rest if not o.advanced], start, prefix)
        st.caption("Rarely changed")
        values |= option_fields([o for o in rest if o.advanced], start, prefix)
        values["trainer"] = _trainer_field(base, prefix)
    return values


def _trainer_field(base: RunConfig, prefix: str) -> str:
    """Further TrainingArguments, as lines of text; which there are is transformers' to say."""
    lines = [f"{name}: {json.dumps(value)}" for name, value in base.trainer.items()]
    return st.text_area(
        "trainer",
        "\n".join(lines),
        key=f"{prefix}_trainer",
        placeholder="lr_scheduler_type: linear\nreport_to: tensorboard",
        help="Further TrainingArguments of transformers, one `name: value` a line; the list of checks says what it "
        "takes. TensorBoard files land in the folder of the run.",
    )


def _config(base: RunConfig, values: dict[str, Any]) -> RunConfig | None:
    student, teacher = state.pair()
    try:
        return base.replace(**values, student=student, teacher=teacher)
    except CtkdError as fault:
        state.show_error(fault)
        return None


def _estimate(config: RunConfig) -> str:
    found = loaders.estimate(config)
    return f"{between(*found.between)} on this machine, {duration(found.preparation)} of it before the first step."


def _kept(config: RunConfig) -> str:
    return "" if config.save_student else " The student isn't kept (`save_student`)."


def _preflight(config: RunConfig) -> bool:
    """Draw the list; True when nothing stands in the way."""
    try:
        checks = loaders.preflight_checks(config)
    except CtkdError as fault:
        state.show_error(fault)
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
    pending = any(isinstance(check, Pending) for check in checks)
    st.fragment(_look_again, run_every=TICK if pending else None, key="preflight_pending")(config.device, pending)
    return ready


def _look_again(device: str, pending: bool) -> None:
    """Draw the page anew when a GPU has told how much of its memory is free: the list was drawn without that."""
    if pending and not asking_memory(device):
        st.rerun()


def _start(config: RunConfig) -> None:
    attempt_once(
        "start", lambda: loaders.start(config).id, lambda run: show_view(LIST, **({"run": run} if run else {}))
    )
