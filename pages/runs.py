"""Runs: list, new, many at once, one run, several compared. Ids live in the URL, the state of a run in its folder."""

from __future__ import annotations

import streamlit as st

from ctkd_core.lab.code import runs_code
from pages.parts import late_values, state
from pages.parts.frame import framed
from pages.parts.run_compare import run_compare
from pages.parts.run_detail import run_detail
from pages.parts.run_form import run_form
from pages.parts.run_sweep import run_sweep
from pages.parts.run_views import FORM, LIST, SWEEP, VIEWS
from pages.parts.runs_list import runs_list
from pages.parts.share import share


def main() -> None:
    if name := st.query_params.get("run"):
        run_detail(name)
        return
    if names := st.query_params.get("compare"):
        run_compare([part for part in names.split(",") if part])
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title("Runs", anchor=False, width="content")
        view = st.segmented_control(
            "View",
            VIEWS,
            default=LIST,
            key="view",
            required=True,
            bind="query-params",
            on_change=late_values.put_back,
            args=("view",),
            label_visibility="collapsed",
        )
    with state.errors_shown():
        if view == FORM:
            run_form()
        elif view == SWEEP:
            run_sweep()
        else:
            runs_list()
            share("runs", runs_code())


if framed():
    main()
