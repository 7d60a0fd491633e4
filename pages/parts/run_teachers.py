"""Several teachers in the form of a new run: what is added to the first one, and how all of them are weighed."""

from __future__ import annotations

from typing import Any

import streamlit as st

from ctkd_core import methods
from ctkd_core.distill.config import RUN_OPTIONS, RunConfig
from ctkd_core.distill.further import FurtherTeacher
from ctkd_core.distill.teachers.access import FIELDS
from ctkd_core.methods.row import Method
from pages.parts import state
from pages.parts.forms import option_fields

MOST = 8
TEACHER_FIELDS = ("teacher_weight", "teacher_mix", "teacher_score", "teacher_alpha")
_ACCESS = [option for option in RUN_OPTIONS if option.name in FIELDS]
_MIX = [option for option in RUN_OPTIONS if option.name in TEACHER_FIELDS]


def teacher_fields(base: RunConfig, start: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Draw the fields; returns `teachers` and the settings that weigh them. The first teacher is the bar's."""
    given = list(base.teachers)
    with st.expander("Several teachers", icon=":material/groups:", expanded=bool(given)):
        key = f"{prefix}_teachers"
        st.session_state.setdefault(key, list(range(len(given))))
        places: list[int] = st.session_state[key]
        entries = [_entry(nth, place, given, prefix, key) for nth, place in enumerate(places, start=2)]
        st.button(
            "Add a teacher",
            key=f"{prefix}_add_teacher",
            icon=":material/add:",
            disabled=len(places) >= MOST,
            on_click=_add,
            args=(key,),
            help="It reads the same text under a tokenizer and with a method of its own; the losses are added.",
        )
        if not entries:
            st.caption("The bar above names the only teacher; the weights below count once there are several.")
        values = option_fields(_MIX, start, prefix)
    return values | {"teachers": tuple(entries)}


def _entry(nth: int, place: int, given: list[dict[str, Any]], prefix: str, key: str) -> dict[str, Any]:
    """One further teacher; `place` names its widgets for as long as it is in the form."""
    before = given[place] if place < len(given) else FurtherTeacher(teacher=state.pair()[1]).to_dict()
    own = f"{prefix}_teacher{place}"
    with st.container(border=True, key=f"{own}_card"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**Teacher {nth}**", width="stretch")
            st.button("Remove", key=f"{own}_remove", icon=":material/close:", on_click=_remove, args=(key, place))
        left, middle, right = st.columns(3)
        with left:
            sources = state.sources(before["teacher"])
            at = sources.index(before["teacher"])
            teacher = st.selectbox("its tokenizer", sources, index=at, key=f"{own}_source", accept_new_options=True)
            path = st.text_input(
                "its weights",
                before["teacher_path"],
                key=f"{own}_path",
                help="Folder or hub id; empty: its tokenizer's.",
            )
        with middle:
            able = [row.name for row in methods.training() if row.asks_teacher]
            at = able.index(before["method"]) if before["method"] in able else 0
            row = methods.get(st.selectbox("its method", able, index=at, key=f"{own}_method"))
            at = row.variants.index(before["variant"]) if before["variant"] in row.variants else 0
            variant = st.selectbox("variant", row.variants, index=at, key=f"{own}_{row.name}_variant")
        with right:
            weight = st.number_input("weight", 0.0, 1000.0, float(before["weight"]), key=f"{own}_weight")
            name = st.text_input("name in metrics", before["name"], key=f"{own}_name", help="Empty: its tokenizer's.")
        options = _options(row, variant, before, own)
        with st.popover("Cache, precision, server", icon=":material/storage:"):
            reached = option_fields(_ACCESS, before, own, columns=2)
    entry = {"teacher": teacher, "teacher_path": path, "method": row.name, "variant": variant, "weight": weight}
    kept = before["align_options"] if row.name == before["method"] else {}
    entry |= reached | {"state_learning_rate": before.get("state_learning_rate", 0.0)}
    return entry | {"name": name, "method_options": options, "align_options": kept}


def _options(row: Method, variant: str, before: dict[str, Any], own: str) -> dict[str, Any]:
    if not row.loss_options_of(variant):
        return {}
    same = (row.name, variant) == (before["method"], before["variant"])
    with st.popover(f"Options of {row.name}", icon=":material/tune:"):
        values = before["method_options"] if same else {}
        return option_fields(row.loss_options_of(variant), values, f"{own}_{row.name}_{variant}", 2, variant=variant)


def _add(key: str) -> None:
    places = st.session_state[key]
    st.session_state[key] = [*places, max(places, default=-1) + 1]


def _remove(key: str, place: int) -> None:
    st.session_state[key] = [other for other in st.session_state[key] if other != place]
